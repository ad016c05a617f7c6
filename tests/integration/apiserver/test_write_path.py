"""What attackers and conformance tests do to the write path."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import pytest

from tests.integration.apiserver.test_access import create, pod
from tests.integration.apiserver.test_groups import REQUESTS, signing_request

RBAC = "/apis/rbac.authorization.k8s.io/v1"
MERGE = {"content-type": "application/merge-patch+json"}


def test_who_may_write_approvals_may_not_approve_for_every_signer(http: httpx.Client) -> None:
    """Admission looks at writes to parts of an object as at any other."""
    joe, name = {"impersonate-user": "joe"}, f"r-{uuid.uuid4().hex[:8]}"
    resources = [f"certificatesigningrequests/{part}" for part in ("approval", "status")]
    rule = {"apiGroups": ["certificates.k8s.io"], "resources": resources, "verbs": ["update", "patch"]}
    create(http, f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}
    binding = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
    create(http, f"{RBAC}/clusterrolebindings", binding)
    try:
        obj = create(http, REQUESTS, signing_request(name))
        approved = {**obj, "status": {"conditions": [{"type": "Approved", "status": "True"}]}}
        refused = http.put(f"{REQUESTS}/{name}/approval", json=approved, headers=joe)
        text = 'user not permitted to approve requests with signerName "example.com/x"'
        assert (refused.status_code, refused.json()["message"].endswith(text)) == (403, True)
        failed = {**obj, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}
        refused = http.put(f"{REQUESTS}/{name}/status", json=failed, headers=joe)
        assert refused.json()["message"].endswith('user not permitted to sign requests with signerName "example.com/x"')
        dry = http.put(f"{REQUESTS}/{name}/approval", json=approved, params={"dryRun": "All"})
        assert dry.json()["status"]["conditions"]
        assert http.get(f"{REQUESTS}/{name}").json()["status"] == {}
        assert http.put(f"{REQUESTS}/{name}/approval", json=approved).status_code == 200
    finally:
        for path in (f"{RBAC}/clusterroles", f"{RBAC}/clusterrolebindings", REQUESTS):
            http.delete(f"{path}/{name}")


def test_nothing_begins_in_a_namespace_that_ends(http: httpx.Client, namespace: str) -> None:
    """Subresources that do something are creates, and are looked at as such."""
    path = f"/api/v1/namespaces/{namespace}"
    held = pod("p", automountServiceAccountToken=False)
    create(http, f"{path}/pods", {**held, "metadata": {"name": "p", "finalizers": ["example.com/held"]}})
    http.delete(path)
    sent: dict[str, dict[str, Any]] = {
        "pods/p/eviction": {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}},
        "pods/p/binding": {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}},
        "serviceaccounts/default/token": {"spec": {}},
    }
    for name, body in sent.items():
        answer = http.post(f"{path}/{name}", json=body)
        assert answer.status_code == 403, answer.text
        assert "because it is being terminated" in answer.json()["message"]
    http.patch(f"{path}/pods/p", json={"metadata": {"finalizers": None}}, headers=MERGE)


def nested(levels: int) -> dict[str, Any]:
    data: Any = 1
    for _ in range(levels):
        data = {"a": data}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "r"},
        "revision": 1,
        "data": data,
    }


def test_what_is_nested_comes_back_in_every_form(http: httpx.Client, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
    sent = nested(150)
    assert create(http, path, sent)["data"] == sent["data"]
    yaml = http.get(f"{path}/r", headers={"accept": "application/yaml"})
    assert yaml.status_code == 200
    put = http.put(f"{path}/r", content=yaml.content, headers={"content-type": "application/yaml"})
    assert (put.status_code, put.json()["data"]) == (200, sent["data"])


@pytest.mark.parametrize("levels", [201, 253, 900, 2000])
def test_what_is_nested_too_deeply_is_refused_in_every_form(http: httpx.Client, namespace: str, levels: int) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
    create(http, path, nested(1))
    deep = json.dumps(nested(0)).replace('"data": 1', '"data": ' + '{"a":' * levels + "1" + "}" * levels).encode()
    for method, where, content_type in (
        ("POST", path, "application/json"),
        ("POST", path, "application/yaml"),
        ("PUT", f"{path}/r", "application/json"),
        ("PATCH", f"{path}/r", "application/merge-patch+json"),
        ("PATCH", f"{path}/r", "application/strategic-merge-patch+json"),
        ("PATCH", f"{path}/r?fieldManager=m", "application/apply-patch+yaml"),
        ("PATCH", f"{path}/new?fieldManager=m", "application/apply-patch+yaml"),
    ):
        body = deep.replace(b'"name": "r"', b'"name": "new"') if "new" in where else deep
        answer = http.request(method, where, content=body, headers={"content-type": content_type})
        # That data may not change is found out before it is written, and so before it is found too deep.
        assert answer.status_code == 400 or "field is immutable" in answer.text, (method, content_type, answer.text)
    assert http.get(f"{path}/r").json()["data"] == {"a": 1}


@pytest.mark.parametrize("text", ["[", "- ", "{a: ", "? "])
def test_a_body_of_brackets_ends_no_server(http: httpx.Client, text: str) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = http.post(path, content=text * 500_000, headers={"content-type": "application/yaml"})
    assert answer.status_code == 400
    assert http.get("/readyz").status_code == 200


def test_many_are_deleted_as_if_each_were_deleted_alone(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = [create(http, path, {"metadata": {"name": name, "labels": {"t": "x"}}}) for name in ("a", "b")]
    body = {"preconditions": {"uid": made[0]["metadata"]["uid"]}}  # type: ignore[index]
    answer = http.request("DELETE", path, json=body, params={"labelSelector": "t=x"})
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    left = http.get(path, params={"labelSelector": "t=x"}).json()["items"]
    assert [obj["metadata"]["name"] for obj in left] == ["b"], "the other is not the one that was meant"
    assert http.delete("/api/v1/namespaces", params={"labelSelector": "none=such"}).status_code == 405


def test_a_name_that_is_being_freed_is_worth_waiting_for(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    create(http, path, {"metadata": {"name": "a", "finalizers": ["example.com/held"]}})
    http.delete(f"{path}/a")
    answer = http.post(path, json={"metadata": {"name": "a"}})
    assert answer.json()["message"] == 'object is being deleted: configmaps "a" already exists'
    http.patch(f"{path}/a", json={"metadata": {"finalizers": None}}, headers=MERGE)
