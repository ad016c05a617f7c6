"""The verbs over HTTP, with upstream's codes and words."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.conftest import ApiServer


def config_map(name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **more}, "data": {"a": "1"}}


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def test_create_get_update_delete(http: httpx.Client, path: str, namespace: str) -> None:
    created = http.post(path, json=config_map("a"))
    assert created.status_code == 201
    metadata = created.json()["metadata"]
    assert metadata["namespace"] == namespace
    assert {"uid", "creationTimestamp", "resourceVersion"} <= metadata.keys()
    got = http.get(f"{path}/a")
    assert got.json() == created.json()

    changed = got.json() | {"data": {"a": "2"}}
    updated = http.put(f"{path}/a", json=changed)
    assert updated.status_code == 200
    assert int(updated.json()["metadata"]["resourceVersion"]) > int(metadata["resourceVersion"])
    assert updated.json()["metadata"]["uid"] == metadata["uid"]

    gone = http.delete(f"{path}/a")
    assert gone.status_code == 200
    assert gone.json()["status"] == "Success"
    assert gone.json()["details"] == {"name": "a", "kind": "configmaps", "uid": metadata["uid"]}
    missing = http.get(f"{path}/a")
    assert missing.status_code == 404
    assert missing.json()["message"] == 'configmaps "a" not found'


def test_a_second_create_is_refused(http: httpx.Client, path: str) -> None:
    http.post(path, json=config_map("a"))
    again = http.post(path, json=config_map("a"))
    assert again.status_code == 409
    assert again.json()["reason"] == "AlreadyExists"
    assert again.json()["message"] == 'configmaps "a" already exists'


def test_generated_names_differ(http: httpx.Client, path: str) -> None:
    body = config_map("") | {"metadata": {"generateName": "x-"}}
    names = {http.post(path, json=body).json()["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("x-") and len(name) == 7 for name in names)


def test_stale_update_conflicts_and_unconditional_does_not(http: httpx.Client, path: str) -> None:
    first = http.post(path, json=config_map("a")).json()
    second = http.put(f"{path}/a", json=first | {"data": {"a": "2"}}).json()
    stale = http.put(f"{path}/a", json=first | {"data": {"a": "3"}})
    assert stale.status_code == 409
    assert stale.json()["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    del second["metadata"]["resourceVersion"]
    assert http.put(f"{path}/a", json=second | {"data": {"a": "4"}}).json()["data"] == {"a": "4"}


def test_an_update_that_changes_nothing_writes_nothing(http: httpx.Client, path: str) -> None:
    first = http.post(path, json=config_map("a")).json()
    assert http.put(f"{path}/a", json=first).json() == first


def test_put_of_what_is_not_there(http: httpx.Client, path: str) -> None:
    assert http.put(f"{path}/a", json=config_map("a")).status_code == 404


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/merge-patch+json", '{"data":{"b":"2"}}'),
        ("application/strategic-merge-patch+json", '{"data":{"b":"2"}}'),
        ("application/json-patch+json", '[{"op":"add","path":"/data/b","value":"2"}]'),
    ],
)
def test_patch(http: httpx.Client, path: str, content_type: str, body: str) -> None:
    http.post(path, json=config_map("a"))
    patched = http.patch(f"{path}/a", content=body, headers={"content-type": content_type})
    assert patched.status_code == 200
    assert patched.json()["data"] == {"a": "1", "b": "2"}


def test_a_patch_must_leave_a_valid_object(http: httpx.Client, path: str) -> None:
    http.post(path, json=config_map("a"))
    merge = {"content-type": "application/merge-patch+json"}
    wrong = http.patch(f"{path}/a", content='{"data":{"a":1}}', headers=merge)
    assert wrong.status_code == 422
    assert wrong.json()["reason"] == "Invalid"
    unknown = http.patch(f"{path}/a", content='{"nothing":1}', headers=merge)
    assert unknown.status_code == 200
    assert unknown.headers["warning"] == '299 - "unknown field \\"nothing\\""'
    strict = http.patch(f"{path}/a", content='{"nothing":1}', headers=merge, params={"fieldValidation": "Strict"})
    assert strict.status_code == 422
    gone = http.patch(f"{path}/a", content='{"metadata":null}', headers=merge)
    assert gone.status_code == 400


def test_unknown_patch_type(http: httpx.Client, path: str) -> None:
    http.post(path, json=config_map("a"))
    answer = http.patch(f"{path}/a", content="x", headers={"content-type": "application/apply-patch+cbor"})
    assert answer.status_code == 415
    assert answer.json()["reason"] == "UnsupportedMediaType"


def test_finalizers_hold_an_object(http: httpx.Client, path: str) -> None:
    http.post(path, json=config_map("a", finalizers=["example.com/hold"]))
    held = http.delete(f"{path}/a")
    assert held.status_code == 200
    assert held.json()["metadata"]["deletionTimestamp"]
    added = held.json()
    added["metadata"]["finalizers"].append("example.com/more")
    refused = http.put(f"{path}/a", json=added)
    assert refused.status_code == 422
    assert "no new finalizers can be added if the object is being deleted" in refused.json()["message"]
    released = held.json()
    released["metadata"]["finalizers"] = []
    assert http.put(f"{path}/a", json=released).status_code == 200
    assert http.get(f"{path}/a").status_code == 404


@pytest.mark.parametrize(("policy", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
def test_propagation_policies(http: httpx.Client, path: str, policy: str, finalizer: str) -> None:
    http.post(path, json=config_map("a"))
    held = http.request("DELETE", f"{path}/a", json={"propagationPolicy": policy}).json()
    assert held["metadata"]["finalizers"] == [finalizer]
    body = [{"op": "remove", "path": "/metadata/finalizers"}]
    http.patch(f"{path}/a", json=body, headers={"content-type": "application/json-patch+json"})
    assert http.get(f"{path}/a").status_code == 404


def test_preconditions_of_a_delete(http: httpx.Client, path: str) -> None:
    http.post(path, json=config_map("a"))
    refused = http.request("DELETE", f"{path}/a", json={"preconditions": {"uid": "other"}})
    assert refused.status_code == 409
    assert "the UID in the precondition (other) does not match the UID in record" in refused.json()["message"]


def test_delete_collection(http: httpx.Client, path: str) -> None:
    for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
        http.post(path, json=config_map(name, labels={"app": app}))
    deleted = http.delete(path, params={"labelSelector": "app=x"})
    assert [item["metadata"]["name"] for item in deleted.json()["items"]] == ["a", "b"]
    assert [item["metadata"]["name"] for item in http.get(path).json()["items"]] == ["c"]


def test_dry_run_changes_nothing(http: httpx.Client, path: str) -> None:
    assert http.post(path, json=config_map("a"), params={"dryRun": "All"}).status_code == 201
    assert http.get(f"{path}/a").status_code == 404
    http.post(path, json=config_map("a"))
    assert http.post(path, json=config_map("a"), params={"dryRun": "All"}).status_code == 409
    assert http.delete(f"{path}/a", params={"dryRun": "All"}).status_code == 200
    assert http.get(f"{path}/a").status_code == 200


def test_pods_end_gracefully_once_a_node_has_them(http: httpx.Client, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "busybox"}], "automountServiceAccountToken": False},
    }
    assert http.post(pods, json=pod).status_code == 201
    http.delete(f"{pods}/p")
    assert http.get(f"{pods}/p").status_code == 404

    pod["spec"]["nodeName"] = "somewhere"
    assert http.post(pods, json=pod).status_code == 201
    ending = http.delete(f"{pods}/p").json()
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 30
    sooner = http.request("DELETE", f"{pods}/p", json={"gracePeriodSeconds": 5}).json()
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 5
    assert (
        http.request("DELETE", f"{pods}/p", json={"gracePeriodSeconds": 20}).json()["metadata"][
            "deletionGracePeriodSeconds"
        ]
        == 5
    )
    http.request("DELETE", f"{pods}/p", json={"gracePeriodSeconds": 0})
    assert http.get(f"{pods}/p").status_code == 404


def test_status_and_scale(http: httpx.Client, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    created = http.post(path, json=body).json()
    assert created["metadata"]["generation"] == 1
    merge = {"content-type": "application/merge-patch+json"}
    change = '{"spec":{"replicas":9},"status":{"observedGeneration":1,"replicas":2}}'
    patched = http.patch(f"{path}/d/status", content=change, headers=merge).json()
    assert (patched["spec"]["replicas"], patched["status"]["replicas"]) == (2, 2)
    assert patched["metadata"]["generation"] == 1

    scale = http.get(f"{path}/d/scale").json()
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 2},
        {"replicas": 2, "selector": "a=b"},
    )
    scaled = http.patch(f"{path}/d/scale", content='{"spec":{"replicas":5}}', headers=merge)
    assert scaled.json()["spec"] == {"replicas": 5}
    now = http.get(f"{path}/d").json()
    assert (now["spec"]["replicas"], now["metadata"]["generation"], now["status"]["replicas"]) == (5, 2, 2)
    negative = http.patch(f"{path}/d/scale", content='{"spec":{"replicas":-1}}', headers=merge)
    assert negative.status_code == 422


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (config_map("Bad_Name"), 422, "a lowercase RFC 1123 subdomain must consist of"),
        (config_map("a", labels={"a": "b c"}), 422, "metadata.labels"),
        (config_map("a", namespace="other"), 400, "the namespace of the provided object does not match"),
        (config_map(""), 422, "name or generateName is required"),
        ({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}, 400, "Secret"),
    ],
)
def test_bad_objects(http: httpx.Client, path: str, body: dict[str, Any], code: int, text: str) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == code, answer.text
    assert answer.json()["kind"] == "Status"
    assert text in answer.json()["message"]


def test_bad_requests(http: httpx.Client, path: str) -> None:
    json = {"content-type": "application/json"}
    for answer, code in (
        (http.post(path, content="{", headers=json), 400),
        (http.post(path, content=b"x" * (3 * 1024 * 1024 + 1), headers=json), 413),
        (http.post(path, content="k8s", headers={"content-type": "application/vnd.kubernetes.protobuf"}), 400),
        (http.post(path, content="x", headers={"content-type": "text/plain"}), 415),
        (http.get("/api/v1/nothings"), 404),
        (http.get("/nothing"), 404),
        (http.put(path, json=config_map("a")), 405),
        (http.get(path, params={"labelSelector": "a in"}), 400),
        (http.get(path, params={"fieldSelector": "spec.x=1"}), 400),
        (http.get(path, params={"resourceVersion": "x"}), 400),
        (http.get(path, params={"continue": "x"}), 400),
        (http.get(path, headers={"impersonate-user": "jane"}), 403),
        (http.get(path, headers={"accept": "application/xml"}), 406),
    ):
        assert answer.status_code == code, answer.text
        assert answer.json()["kind"] == "Status"
        assert answer.json()["code"] == code


def test_only_the_head_of_an_answer(http: httpx.Client, path: str) -> None:
    """Resources have no such verb (upstream installs none); pages have."""
    assert http.head(path).status_code == 405
    assert http.head("/api/v1/namespaces/default").status_code == 405
    assert http.head("/api/v1/nothings").status_code == 404
    for page in ("/healthz", "/openapi/v2"):
        answer = http.head(page)
        assert (answer.status_code, answer.content) == (200, b"")


def test_who_may_do_what(http_as: Callable[[str | None], httpx.Client]) -> None:
    nobody = http_as(None)
    assert nobody.get("/healthz").text == "ok"
    assert nobody.get("/version").json()["minor"] == "32"
    for path in ("/api/v1/pods", "/metrics", "/apis"):
        answer = nobody.get(path)
        assert (answer.status_code, answer.json()["message"]) == (401, "Unauthorized")
    scheduler = http_as("scheduler")
    assert scheduler.get("/api/v1/pods").status_code == 200
    refused = scheduler.get("/api/v1/namespaces/default/secrets")
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        'secrets is forbidden: User "system:kube-scheduler" cannot list resource "secrets" in API group "" '
        'in the namespace "default"'
    )


def test_health_and_metrics(http: httpx.Client) -> None:
    ready = http.get("/readyz?verbose").text
    for check in ("ping", "etcd", "poststarthook/rbac/bootstrap-roles"):
        assert f"[+]{check} ok" in ready
    assert http.get("/readyz/etcd").text == "ok"
    http.get("/api/v1/namespaces")
    assert 'apiserver_request_total{code="200"' in http.get("/metrics").text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": 5}}),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {"user": "u", "extra": "x"}}),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {"resourceAttributes": []}}),
        ("POST", "/api/v1/namespaces/{}/serviceaccounts/default/token", {"spec": {"boundObjectRef": "x"}}),
        ("POST", "/api/v1/namespaces/{}/pods/p/eviction", {"deleteOptions": {"preconditions": "x"}}),
        ("POST", "/api/v1/namespaces/{}/pods/p/binding", {"target": ["n"]}),
        ("PUT", "/api/v1/namespaces/{}/pods/p/ephemeralcontainers", {"spec": {"ephemeralContainers": ["x"]}}),
        ("PUT", "/apis/apps/v1/namespaces/{}/deployments/d/scale", {"spec": [1]}),
        ("DELETE", "/api/v1/namespaces/{}/pods/p", {"preconditions": "x"}),
        ("DELETE", "/api/v1/namespaces/{}/pods/p", {"dryRun": 5}),
        ("DELETE", "/api/v1/namespaces/{}/pods/p", ["x"]),
    ],
)
def test_bodies_of_the_wrong_type_are_bad_requests(
    http: httpx.Client, namespace: str, method: str, path: str, body: Any
) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert http.post(f"/api/v1/namespaces/{namespace}/pods", json=pod).status_code == 201
    answer = http.request(method, path.format(namespace), json=body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest"), answer.text
    assert "json: cannot unmarshal" in answer.json()["message"]


def test_what_a_patch_makes_of_ephemeral_containers_is_checked(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert http.post(path, json=pod).status_code == 201
    headers = {"content-type": "application/merge-patch+json"}

    def patched(container: dict[str, Any], **params: str) -> httpx.Response:
        content = json.dumps({"spec": {"ephemeralContainers": [container]}})
        return http.patch(f"{path}/p/ephemeralcontainers", content=content, headers=headers, params=params)

    wrong = patched({"name": "e", "image": "i", "command": "sh"})
    assert (wrong.status_code, wrong.json()["reason"]) == (422, "Invalid"), wrong.text
    strange = patched({"name": "e", "image": "i", "nonsense": 1}, fieldValidation="Strict")
    assert (strange.status_code, strange.json()["reason"]) == (422, "Invalid"), strange.text
    warned = patched({"name": "e", "image": "i", "nonsense": 1})
    assert (warned.status_code, "nonsense" in warned.headers["warning"]) == (200, True)
    assert "nonsense" not in warned.json()["spec"]["ephemeralContainers"][0]


def test_a_yaml_bomb_does_not_go_off(http: httpx.Client) -> None:
    nine = (", ".join([f"*a{i}"] * 9) for i in range(8))
    lines = [
        "a0: &a0 [x]",
        *(f"a{i}: &a{i} [{line}]" for i, line in enumerate(nine, 1)),
        "metadata: {annotations: *a8}",
    ]
    headers = {"content-type": "application/yaml"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer = http.post(path, content="\n".join(lines), headers=headers)
    assert answer.status_code == 400
    assert "excessive aliasing" in answer.json()["message"]


@pytest.mark.parametrize(
    "params",
    [
        {"resourceVersion": "9" * 5000},
        {"resourceVersion": "9" * 19, "resourceVersionMatch": "Exact"},
        {"limit": "9" * 30},
        {"timeoutSeconds": "1_0"},
        {"continue": "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MWUzMCwic3RhcnQiOiJhIn0"},
    ],
)
def test_numbers_that_nothing_can_hold_are_bad_requests(http: httpx.Client, path: str, params: dict[str, str]) -> None:
    answer = http.get(path, params=params)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest"), answer.text


def test_a_watch_may_ask_for_any_time(http: httpx.Client, path: str) -> None:
    assert http.post(path, json=config_map("a")).status_code == 201
    params = {"watch": "1", "timeoutSeconds": str((1 << 63) - 1)}
    with http.stream("GET", path, params=params) as answer:
        assert b'"ADDED"' in next(answer.iter_bytes())


def test_a_patch_of_a_thousand_levels_is_no_failure_of_the_server(http: httpx.Client, path: str) -> None:
    assert http.post(path, json=config_map("a")).status_code == 201
    deep = '{"a":' * 1000 + "1" + "}" * 1000
    headers = {"content-type": "application/merge-patch+json"}
    assert http.patch(f"{path}/a", content=deep, headers=headers).status_code == 400


def test_an_endless_head_is_cut_off(apiserver: ApiServer) -> None:
    context = ssl.create_default_context(cafile=str(apiserver.pki / "ca.crt"))
    address = (httpx.URL(apiserver.url).host, httpx.URL(apiserver.url).port or 443)
    plain = socket.create_connection(address, timeout=20)
    with context.wrap_socket(plain, server_hostname=address[0]) as tls:
        tls.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: ")
        for _ in range(65):
            tls.sendall(b"x" * 16384)
        assert tls.recv(1000).startswith(b"HTTP/1.1 431 ")
        assert tls.recv(1000) == b""


def test_large_bodies_and_many_requests_on_one_connection_are_not(http: httpx.Client, path: str) -> None:
    for name in ("a", "b", "c"):
        large = {**config_map(name), "data": {"a": "x" * 900_000}}
        assert http.post(path, json=large).status_code == 201
