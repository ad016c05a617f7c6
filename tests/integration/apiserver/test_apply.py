"""Server-side apply and field tracking over HTTP, and with the kubectl of seven years."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.integration.conftest import ApiServer, kubectl_of

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
BINARIES = ["kubectl", *(b for b in (f"kubectl.1.{minor}" for minor in range(27, 34)) if shutil.which(b))]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Send = Callable[..., httpx.Response]


@pytest.fixture
def apply(http: httpx.Client) -> Send:
    def send(path: str, obj: Any, manager: str = "me", **params: Any) -> httpx.Response:
        content = obj if isinstance(obj, str) else yaml.safe_dump(obj)
        params = {"fieldManager": manager, **params}
        return http.patch(path, content=content, headers={"content-type": APPLY}, params=params)

    return send


@pytest.fixture
def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.fixture
def deployments(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


def config_map(data: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", **metadata}, "data": data}


def deployment(replicas: int | None = None, image: str = "nginx:1") -> dict[str, Any]:
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}]},
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def entries(obj: dict[str, Any]) -> dict[tuple[str, str, str], Any]:
    found = obj["metadata"].get("managedFields") or []
    return {(e["manager"], e["operation"], e.get("subresource", "")): e["fieldsV1"] for e in found}


def test_apply_creates_changes_and_removes(apply: Send, http: httpx.Client, maps: str) -> None:
    created = apply(f"{maps}/a", config_map({"a": "1", "b": "2"}))
    assert created.status_code == 201, created.text
    assert created.json()["metadata"]["uid"]
    changed = apply(f"{maps}/a", config_map({"b": "3"}))
    assert changed.status_code == 200
    assert changed.json()["data"] == {"b": "3"}
    assert entries(changed.json()) == {("me", "Apply", ""): {"f:data": {"f:b": {}}}}
    assert http.get(f"{maps}/a").json() == changed.json()


def test_an_apply_that_changes_nothing_writes_nothing(apply: Send, http: httpx.Client, deployments: str) -> None:
    first = apply(f"{deployments}/web", deployment(2)).json()
    again = apply(f"{deployments}/web", deployment(2))
    assert again.json() == first
    defaulted = deployment(2)
    defaulted["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1000m"}}
    once = apply(f"{deployments}/web", defaulted).json()
    assert apply(f"{deployments}/web", defaulted).json() == once  # though it is stored as "1"


def test_a_conflict_says_with_whom_and_where(apply: Send, http: httpx.Client, deployments: str) -> None:
    agent = {"user-agent": "maker/1.0"}
    assert http.post(deployments, json=deployment(2), headers=agent).status_code == 201
    refused = apply(f"{deployments}/web", deployment(3, "nginx:2"))
    assert refused.status_code == 409
    status = refused.json()
    field = '.spec.template.spec.containers[name="c"].image'
    manager = '"maker" using apps/v1'
    assert status["reason"] == "Conflict"
    assert status["message"] == (
        f"Apply failed with 2 conflicts: conflicts with {manager}:\n- .spec.replicas\n- {field}"
    )
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
        for path in (".spec.replicas", field)
    ]
    forced = apply(f"{deployments}/web", deployment(3, "nginx:2"), force="true")
    assert forced.status_code == 200
    assert forced.json()["spec"]["replicas"] == 3
    assert "f:replicas" not in entries(forced.json())["maker", "Update", ""]["f:spec"]


def test_a_dry_run_stores_nothing(apply: Send, http: httpx.Client, maps: str) -> None:
    dry = apply(f"{maps}/a", config_map({"a": "1"}), dryRun="All")
    assert dry.status_code == 201
    assert http.get(f"{maps}/a").status_code == 404
    apply(f"{maps}/a", config_map({"a": "1"}))
    assert apply(f"{maps}/a", config_map({"a": "2"}), dryRun="All").json()["data"] == {"a": "2"}
    assert http.get(f"{maps}/a").json()["data"] == {"a": "1"}


@pytest.mark.parametrize(
    ("body", "params", "code", "message"),
    [
        (config_map({}), {"fieldManager": ""}, 422, "fieldManager: Required value: is required for apply patch"),
        (config_map({}), {"fieldManager": "a" * 129}, 422, "fieldManager: Too long: may not be more than 128 bytes"),
        (config_map({}), {"fieldManager": "a\tb"}, 422, "invalid character U+0009 (at position 1)"),
        ("a: b: c", {}, 400, "error decoding YAML: error converting YAML to JSON: yaml: "),
        ("[]", {}, 400, "error decoding YAML: "),
        ("apiVersion: v1\nkind: ConfigMap\nn: .nan", {}, 400, "error decoding YAML: "),
        ({**config_map({}), "kind": "Secret"}, {}, 400, "invalid object type: v1, Kind=Secret"),
        (config_map({}, managedFields=[]), {}, 400, "metadata.managedFields must be nil"),
        (config_map({}, name="b"), {}, 400, "the name of the object (b) does not match the name on the URL (a)"),
        (config_map({}, name=None), {}, 400, "name must be provided"),
        (config_map({}, namespace="x"), {}, 400, "does not match the namespace"),
        (config_map({}, uid="x"), {}, 409, "uid mismatch: the provided object specified uid x, and no existing object"),
        ({**config_map({}), "foo": 1}, {}, 500, ".foo: field not declared in schema"),
        ({**config_map({}), "data": "x"}, {}, 500, ".data: expected map, got &{x}"),
    ],
)
def test_what_cannot_be_applied(
    apply: Send, maps: str, body: Any, params: dict[str, str], code: int, message: str
) -> None:
    refused = apply(f"{maps}/a", body, **params)
    assert refused.status_code == code, refused.text
    assert message in refused.json()["message"]


def test_force_is_of_apply_alone(http: httpx.Client, apply: Send, maps: str) -> None:
    apply(f"{maps}/a", config_map({"a": "1"}))
    refused = http.patch(f"{maps}/a", json={}, headers={"content-type": MERGE}, params={"force": "true"})
    assert refused.status_code == 422
    assert "force: Forbidden: may not be specified for non-apply patch" in refused.json()["message"]


def test_preconditions_in_what_is_applied(apply: Send, maps: str) -> None:
    apply(f"{maps}/a", config_map({"a": "1"}))
    stale = apply(f"{maps}/a", config_map({"a": "2"}, resourceVersion="1"))
    assert stale.status_code == 409
    assert "the object has been modified" in stale.json()["message"]
    other = apply(f"{maps}/a", config_map({"a": "2"}, uid="other"))
    assert other.status_code == 422
    assert "metadata.uid: Invalid value" in other.json()["message"]


def test_duplicate_fields_by_field_validation(apply: Send, maps: str) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: '1'\n  a: '2'\n"
    strict = apply(f"{maps}/a", text, fieldValidation="Strict")
    assert strict.status_code == 400
    assert 'line 6: key "a" already set in map' in strict.json()["message"]
    warned = apply(f"{maps}/a", text)
    assert warned.status_code == 201
    assert 'key \\"a\\" already set in map' in warned.headers["warning"]
    assert "warning" not in apply(f"{maps}/a", text, fieldValidation="Ignore").headers


def test_who_may_not_create_does_not_by_applying(
    http: httpx.Client, http_as: Callable[[str | None], httpx.Client], maps: str, namespace: str
) -> None:
    base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}
    http.post(f"{base}/roles", json={"metadata": {"name": "patcher"}, "rules": [rule]})
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "system:kube-scheduler"}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"}
    http.post(f"{base}/rolebindings", json={"metadata": {"name": "patcher"}, "roleRef": ref, "subjects": [subject]})
    client = http_as("scheduler")
    options: dict[str, Any] = {"headers": {"content-type": APPLY}, "params": {"fieldManager": "x"}}
    refused = client.patch(f"{maps}/a", json=config_map({"a": "1"}), **options)
    assert refused.status_code == 403
    assert 'cannot create resource "configmaps"' in refused.json()["message"]
    http.post(maps, json=config_map({}))
    assert client.patch(f"{maps}/a", json=config_map({"a": "1"}), **options).status_code == 200


def test_every_write_is_tracked(http: httpx.Client, deployments: str) -> None:
    http.post(deployments, json=deployment(2), params={"fieldManager": "create"})
    path = f"{deployments}/web"
    present = http.get(path).json()
    present["metadata"]["labels"] = {"x": "1"}
    http.put(path, json=present, params={"fieldManager": "put"})
    status = {
        "status": {"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]},
        "spec": {"paused": True},
    }
    http.patch(f"{path}/status", json=status, headers={"content-type": MERGE}, params={"fieldManager": "kcm"})
    scaled = http.patch(
        f"{path}/scale", json={"spec": {"replicas": 5}}, headers={"content-type": MERGE}, params={"fieldManager": "hpa"}
    )
    assert scaled.status_code == 200, scaled.text
    add = [{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]
    http.patch(path, json=add, headers={"content-type": JSON_PATCH, "user-agent": "agent/1"})
    found = entries(http.get(path).json())
    assert "f:replicas" not in found.pop(("create", "Update", ""))["f:spec"]
    assert found.pop(("kcm", "Update", "status")).keys() == {"f:status"}
    assert found == {
        ("put", "Update", ""): {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}},
        ("hpa", "Update", "scale"): {"f:spec": {"f:replicas": {}}},
        ("agent", "Update", ""): {"f:metadata": {"f:annotations": {".": {}, "f:a": {}}}},
    }


def test_status_and_scale_are_applied_too(apply: Send, http: httpx.Client, deployments: str) -> None:
    apply(f"{deployments}/web", deployment(2))
    status = deployment() | {"status": {"observedGeneration": 7}}
    done = apply(f"{deployments}/web/status", status, "controller")
    assert done.status_code == 200, done.text
    assert done.json()["status"]["observedGeneration"] == 7
    fields = entries(done.json())["controller", "Apply", "status"]
    assert fields == {"f:status": {"f:observedGeneration": {}}}
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 4}}
    refused = apply(f"{deployments}/web/scale", scale, "hpa")
    assert refused.status_code == 409
    assert refused.json()["message"] == 'Apply failed with 1 conflict: conflict with "me": .spec.replicas'
    assert apply(f"{deployments}/web/scale", scale, "hpa", force="true").json()["spec"]["replicas"] == 4
    found = entries(http.get(f"{deployments}/web").json())
    assert found["hpa", "Apply", "scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in found["me", "Apply", ""]["f:spec"]
    absent = apply(f"{deployments}/none/status", deployment(), "controller")
    assert absent.status_code == 404


def test_what_admission_puts_in_belongs_to_nobody(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    pod = http.post(path, json=body, headers={"user-agent": "maker"}).json()
    fields = entries(pod)["maker", "Update", ""]
    assert pod["spec"]["serviceAccountName"] == "default"
    assert not fields["f:spec"].keys() & {"f:serviceAccountName", "f:tolerations", "f:volumes"}
    assert "f:status" not in fields
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert http.post(f"{path}/p/binding", json=binding).status_code == 201
    assert http.get(f"{path}/p").json()["metadata"]["managedFields"] == pod["metadata"]["managedFields"]
    debug = {"spec": {"ephemeralContainers": [{"name": "d", "image": "i"}]}}
    headers = {"content-type": MERGE, "user-agent": "debugger"}
    added = http.patch(f"{path}/p/ephemeralcontainers", json=debug, headers=headers)
    assert added.status_code == 200, added.text
    own = entries(added.json())["debugger", "Update", "ephemeralcontainers"]
    assert own["f:spec"]["f:ephemeralContainers"].keys() == {".", 'k:{"name":"d"}'}


def test_managed_fields_can_be_cleared_and_corrected(http: httpx.Client, apply: Send, maps: str) -> None:
    http.post(maps, json=config_map({"a": "1"}), params={"fieldManager": "maker"})
    path = f"{maps}/a"
    entry = http.get(path).json()["metadata"]["managedFields"][0]
    patch = {"metadata": {"managedFields": [{**entry, "manager": "other"}]}}
    renamed = http.patch(path, json=patch, headers={"content-type": MERGE}).json()
    assert list(entries(renamed)) == [("other", "Update", "")]
    long = {"metadata": {"managedFields": [{**entry, "manager": "a" * 129}]}}
    refused = http.patch(path, json=long, headers={"content-type": MERGE})
    assert refused.status_code == 422
    assert "metadata.managedFields[0].manager: Too long" in refused.json()["message"]
    wrong = {"metadata": {"managedFields": [{**entry, "operation": "Delete"}]}}
    assert entries(http.patch(path, json=wrong, headers={"content-type": MERGE}).json()) == entries(renamed)
    cleared = http.patch(path, json={"metadata": {"managedFields": [{}]}}, headers={"content-type": MERGE})
    assert "managedFields" not in cleared.json()["metadata"]
    untracked = http.patch(path, json={"data": {"b": "2"}}, headers={"content-type": MERGE}).json()
    assert "managedFields" not in untracked["metadata"]
    first = entries(apply(path, config_map({"c": "3"})).json())
    assert first["before-first-apply", "Update", ""] == {"f:data": {".": {}, "f:a": {}, "f:b": {}}}


def test_an_object_that_its_owners_would_make_too_large_has_none(http: httpx.Client, maps: str) -> None:
    data = {f"{i:060}": "x" * 40 for i in range(9600)}
    created = http.post(maps, json=config_map(data))
    assert created.status_code == 201, created.text
    assert "managedFields" not in created.json()["metadata"]
    small = http.post(maps, json=config_map({}, name="b") | {"data": {"k": "v"}}).json()
    grown = http.put(f"{maps}/b", json=small | {"data": data})
    assert grown.status_code == 200, grown.text
    assert "managedFields" not in grown.json()["metadata"]


def test_an_event_has_owners_in_both_versions(http: httpx.Client, namespace: str) -> None:
    core = f"/api/v1/namespaces/{namespace}/events"
    regarding = {"kind": "Pod", "namespace": namespace, "name": "p"}
    body = {"metadata": {"name": "e"}, "involvedObject": regarding, "reason": "R", "message": "m", "type": "Normal"}
    made = http.post(core, json=body, params={"fieldManager": "old"})
    assert made.status_code == 201, made.text
    new = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/e"
    fixed = http.patch(new, json={"note": "n"}, headers={"content-type": MERGE})
    assert fixed.status_code == 422, fixed.text  # of the new version, nothing but the series changes
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}
    changed = http.patch(
        new, json={"series": series}, headers={"content-type": MERGE}, params={"fieldManager": "new"}
    ).json()
    found = {e["manager"]: e for e in changed["metadata"]["managedFields"]}
    assert found["new"]["apiVersion"] == "events.k8s.io/v1"
    assert found["new"]["fieldsV1"] == {"f:series": {".": {}, "f:count": {}, "f:lastObservedTime": {}}}
    assert "f:message" in found["old"]["fieldsV1"]


@pytest.mark.parametrize("binary", BINARIES)
def test_kubectl_goes_from_client_side_to_server_side_and_back(
    binary: str, apiserver: ApiServer, http: httpx.Client, namespace: str, deployments: str, tmp_path: Path
) -> None:
    kubectl = kubectl_of(apiserver, tmp_path, binary=binary)
    path = f"{deployments}/web"

    def run(*words: str, replicas: int = 2, image: str = "nginx:1", check: bool = True) -> Any:
        text = yaml.safe_dump(deployment(replicas, image))
        return kubectl("-n", namespace, *words, "-f", "-", input=text, check=check)

    assert "deployment.apps/web created" in run("apply").stdout
    assert list(entries(http.get(path).json())) == [("kubectl-client-side-apply", "Update", "")]
    shown = run("diff", "--server-side", image="nginx:2", check=False)
    assert shown.returncode == 1, shown.stderr
    assert "+      - image: nginx:2" in shown.stdout
    assert "serverside-applied" in run("apply", "--server-side", image="nginx:2").stdout
    live = http.get(path).json()
    assert "kubectl" in {manager for manager, _, _ in entries(live)}
    assert "kubectl-client-side-apply" not in {manager for manager, _, _ in entries(live)}
    assert '"image":"nginx:2"' in live["metadata"]["annotations"][LAST_APPLIED]
    refused = run("apply", "--server-side", "--field-manager=ci", image="nginx:3", check=False)
    assert 'conflict with "kubectl": .spec.template.spec.containers[name="c"].image' in refused.stderr
    run("apply", "--server-side", "--field-manager=ci", "--force-conflicts", image="nginx:3")
    assert "deployment.apps/web configured" in run("apply", image="nginx:4").stdout
    view = kubectl("-n", namespace, "apply", "view-last-applied", "deployment/web").stdout
    assert "image: nginx:4" in view
    kubectl("-n", namespace, "scale", "deployment/web", "--replicas=5")
    refused = run("apply", "--server-side", "--force-conflicts=false", replicas=3, image="nginx:4", check=False)
    assert 'with subresource "scale" using apps/v1: .spec.replicas' in refused.stderr
    run("apply", "--server-side", "--force-conflicts", "--dry-run=server", replicas=3, image="nginx:4")
    assert http.get(path).json()["spec"]["replicas"] == 5


def test_openapi_says_what_can_be_applied(http: httpx.Client) -> None:
    v2 = http.get("/openapi/v2").json()["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert APPLY in v2["consumes"]
    v3 = http.get("/openapi/v3/apis/apps/v1").json()["paths"]
    for suffix in ("", "/status", "/scale"):
        item = v3["/apis/apps/v1/namespaces/{namespace}/deployments/{name}" + suffix]
        assert APPLY in item["patch"]["requestBody"]["content"]
