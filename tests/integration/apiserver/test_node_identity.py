"""What a node's certificate opens, and what not: the node authorizer and NodeRestriction, against the real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.integration.apiserver.test_access import create, pod
from tests.integration.conftest import NODE, eventually

As = Callable[[str | None], httpx.Client]
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
def pods(http: httpx.Client, namespace: str) -> Iterator[str]:
    """The path of the pods ``own`` on the node and ``other`` on another."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    for name, node in (("own", NODE), ("other", "elsewhere")):
        create(http, path, pod(name, nodeName=node, automountServiceAccountToken=False))
    yield path
    for name in ("own", "other"):
        http.delete(f"{path}/{name}", params={"gracePeriodSeconds": 0})


def test_a_node_sees_its_own_pods(http_as: As, pods: str) -> None:
    node = http_as(f"kubelet-{NODE}")
    found = node.get(pods, params={"fieldSelector": f"spec.nodeName={NODE}"}).json()["items"]
    assert [p["metadata"]["name"] for p in found] == ["own"]
    assert node.get(f"{pods}/own").status_code == 200
    for path, params in (
        (pods, {}),
        ("/api/v1/pods", {}),
        (pods, {"fieldSelector": "spec.nodeName=elsewhere"}),
        (pods, {"fieldSelector": "metadata.name=other", "watch": "1"}),
        (f"{pods}/other", {}),
        (pods.replace("/api/v1", "/api/v1/watch") + "/other", {}),
    ):
        assert node.get(path, params=params).status_code == 403, (path, params)


def test_a_nodes_rights_are_no_rules(http_as: As) -> None:
    node, path = http_as(f"kubelet-{NODE}"), "/apis/authorization.k8s.io/v1"
    body = {"spec": {"namespace": "default"}}
    assert create(node, f"{path}/selfsubjectrulesreviews", body)["status"]["incomplete"] is True  # type: ignore[index]
    asked = {"verb": "list", "resource": "pods", "namespace": "default"}
    own = {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": [NODE]}]}
    for selector, allowed in (({"fieldSelector": own}, True), ({}, False)):
        body = {"spec": {"resourceAttributes": {**asked, **selector}}}
        answer = create(node, f"{path}/selfsubjectaccessreviews", body)
        assert answer["status"]["allowed"] is allowed  # type: ignore[index]


def test_a_node_writes_to_its_own_pods_alone(http: httpx.Client, http_as: As, pods: str) -> None:
    node = http_as(f"kubelet-{NODE}")

    def status(name: str, body: dict[str, Any]) -> str:
        answer = node.patch(f"{pods}/{name}/status", json=body, headers=MERGE)
        return "" if answer.status_code == 200 else str(answer.json()["message"])

    assert status("own", {"status": {"message": "m"}}) == ""
    assert "only update pod status for pods with spec.nodeName set to itself" in status("other", {"status": {}})
    assert "cannot update labels through pod status" in status("own", {"metadata": {"labels": {"app": "web"}}})
    evict = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "other"}}
    refused = node.post(f"{pods}/other/eviction", json=evict).json()["message"]
    assert refused == f'pods "other" is forbidden: node {NODE} can only evict pods with spec.nodeName set to itself'
    assert node.delete(f"{pods}/other").status_code == 403
    assert node.delete(pods, params={"fieldSelector": f"spec.nodeName={NODE}"}).status_code == 403
    evict["metadata"] = {"name": "own"}
    assert node.post(f"{pods}/own/eviction", json=evict).status_code == 201


def test_a_node_gets_tokens_for_its_own_pods(http: httpx.Client, http_as: As, pods: str) -> None:
    node, path = http_as(f"kubelet-{NODE}"), pods.removesuffix("/pods") + "/serviceaccounts/default/token"

    def token(**ref: str) -> str:
        bound = {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", **ref}} if ref else {}
        answer = node.post(path, json={"spec": bound})
        return "" if answer.status_code == 201 else str(answer.json()["message"])

    uids = {name: http.get(f"{pods}/{name}").json()["metadata"]["uid"] for name in ("own", "other")}
    assert token(name="own", uid=uids["own"]) == ""
    assert token().endswith("node requested token not bound to a pod")
    assert token(name="own").endswith("node requested token with a pod binding without a uid")
    assert token(name="other", uid=uids["other"]).endswith("bound to a pod scheduled on a different node")
    assert node.get(path.removesuffix("/token")).status_code == 403


def test_a_node_reads_what_its_pods_use(http: httpx.Client, http_as: As, namespace: str) -> None:
    node, base = http_as(f"kubelet-{NODE}"), f"/api/v1/namespaces/{namespace}"
    for name in ("used", "unused"):
        create(http, f"{base}/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}})
    assert node.get(f"{base}/secrets/used").status_code == 403
    volume = {"name": "v", "secret": {"secretName": "used"}}
    create(http, f"{base}/pods", pod("p", nodeName=NODE, volumes=[volume]))
    eventually(lambda: node.get(f"{base}/secrets/used").status_code == 200)
    answer = node.get(f"{base}/secrets/unused")
    assert answer.status_code == 403
    assert answer.json()["message"].endswith(f"no relationship found between node '{NODE}' and this object")
    other = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "somebody-else"}}
    assert node.post("/api/v1/nodes", json=other).status_code == 403
    http.delete(f"{base}/pods/p", params={"gracePeriodSeconds": "0"})
