"""What a node may write, and what of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from apiserver.admission.node_restriction import NodeRestriction
from apiserver.types import AdmissionRequest, User
from common.api.node_labels import may_label
from common.api.status import Forbidden, NotFound
from tests.unit.apiserver.fakes import MemoryRegistry, review


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [{"name": "c"}], **spec}}


KUBELET = User("system:node:n1", groups=("system:nodes",))


@pytest.mark.parametrize(
    ("operation", "plural", "obj", "old", "subresource", "allowed"),
    [
        ("CREATE", "nodes", {"metadata": {"name": "n1"}}, None, "", True),
        ("CREATE", "nodes", {"metadata": {"name": "n2"}}, None, "", False),
        (
            "UPDATE",
            "nodes",
            {"metadata": {"name": "n1"}, "spec": {"taints": [{}]}},
            {"metadata": {"name": "n1"}},
            "",
            False,
        ),
        ("UPDATE", "pods", pod(nodeName="n1"), pod(nodeName="n1"), "status", True),
        ("UPDATE", "pods", pod(nodeName="n1"), pod(nodeName="n1"), "", False),
        ("UPDATE", "pods", pod(nodeName="n2"), pod(nodeName="n2"), "status", False),
        ("DELETE", "pods", None, pod(nodeName="n1"), "", True),
        ("DELETE", "pods", None, pod(nodeName="n2"), "", False),
        ("CREATE", "pods", pod(nodeName="n1"), None, "", False),
    ],
)
async def test_a_node_writes_what_is_its_own(
    operation: Any, plural: str, obj: Any, old: Any, subresource: str, allowed: bool
) -> None:
    request = review(operation, "", plural, obj, old=old, user=KUBELET, subresource=subresource)
    plugin = NodeRestriction(MemoryRegistry())
    assert plugin.handles(request)
    if allowed:
        await plugin.validate(request)
    else:
        with pytest.raises(Forbidden):
            await plugin.validate(request)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"serviceAccountName": "default"}, "a service account"),
        ({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]}, "secrets"),
        ({"containers": [{"name": "c", "env": [{"valueFrom": {"configMapKeyRef": {"name": "s"}}}]}]}, "configmaps"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]}, "persistentvolumeclaims"),
    ],
)
async def test_a_nodes_own_pods_refer_to_nothing(spec: dict[str, Any], what: str) -> None:
    obj = pod(nodeName="n1", **spec)
    obj["metadata"] |= {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [OWNER]}
    with pytest.raises(Forbidden, match=f'node "n1" can not create pods that reference {what}'):
        await _restriction().validate(review("CREATE", "", "pods", obj, user=KUBELET))


OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "uid-n1", "controller": True}


def _restriction() -> NodeRestriction:
    registry = MemoryRegistry()
    registry.put("", "nodes", "n1")
    return NodeRestriction(registry)


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        ([OWNER], ""),
        ([{**OWNER, "blockOwnerDeletion": False}], ""),
        ([], 'node "n1" can only create pods with an owner reference set to itself'),
        ([OWNER, OWNER], 'node "n1" can only create pods with a single owner reference set to itself'),
        ([{**OWNER, "name": "n2"}], 'node "n1" can only create pods with an owner reference set to itself'),
        ([{**OWNER, "kind": "Pod"}], 'node "n1" can only create pods with an owner reference set to itself'),
        ([{**OWNER, "apiVersion": "v2"}], 'node "n1" can only create pods with an owner reference set to itself'),
        (
            [{**OWNER, "controller": False}],
            'node "n1" can only create pods with a controller owner reference set to itself',
        ),
        ([{**OWNER, "blockOwnerDeletion": True}], 'node "n1" must not set blockOwnerDeletion on an owner reference'),
        ([{**OWNER, "uid": "old"}], "node n1 UID mismatch: expected old got uid-n1"),
    ],
)
async def test_a_mirror_pod_belongs_to_its_node(owners: list[dict[str, Any]], message: str) -> None:
    obj = pod(nodeName="n1")
    obj["metadata"] |= {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": owners}
    request = review("CREATE", "", "pods", obj, user=KUBELET)
    if not message:
        await _restriction().validate(request)
        return
    with pytest.raises(Forbidden, match=f"{re.escape(message)}$"):
        await _restriction().validate(request)


def test_a_node_labels_itself_within_bounds() -> None:
    allowed = "a example.com/a kubernetes.io.example/a kubernetes.io/hostname beta.kubernetes.io/arch"
    allowed += " topology.kubernetes.io/zone node.kubernetes.io/a x.kubelet.kubernetes.io/a xkubernetes.io/a"
    refused = "kubernetes.io/a x.kubernetes.io/a k8s.io/a x.k8s.io/a node-role.kubernetes.io/control-plane"
    refused += " node-restriction.kubernetes.io/a x.node-restriction.kubernetes.io/a xnode.kubernetes.io/a"
    assert [key for key in (allowed + " " + refused).split() if not may_label(key)] == refused.split()


async def test_a_nodes_labels_are_checked_as_they_change() -> None:
    def node(**labels: str) -> dict[str, Any]:
        return {"metadata": {"name": "n1", "labels": {f"x.k8s.io/{k}": v for k, v in labels.items()}}}

    plugin = _restriction()
    with pytest.raises(
        Forbidden, match=r'node "n1" is not allowed to set the following labels: x.k8s.io/a, x.k8s.io/b'
    ):
        await plugin.validate(review("CREATE", "", "nodes", node(b="1", a="1"), user=KUBELET))
    await plugin.validate(review("UPDATE", "", "nodes", node(a="1"), old=node(a="1"), user=KUBELET))
    for after in (node(), node(a="2"), node(a="1", b="1")):
        with pytest.raises(Forbidden, match=r"is not allowed to modify labels: x.k8s.io/[ab]$"):
            await plugin.validate(review("UPDATE", "", "nodes", after, old=node(a="1"), user=KUBELET))


async def test_a_node_makes_its_own_csi_node() -> None:
    plugin = _restriction()

    def csi_node(name: str) -> AdmissionRequest:
        return review("CREATE", "storage.k8s.io", "csinodes", {"metadata": {"name": name}}, user=KUBELET)

    assert plugin.handles(csi_node("n1"))
    await plugin.validate(csi_node("n1"))
    with pytest.raises(Forbidden, match="can only access CSINode with the same name as the requesting node"):
        await plugin.validate(csi_node("n2"))


def labelled(**labels: str) -> dict[str, Any]:
    obj = pod(nodeName="n1")
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({**labelled(a="1"), "status": {"phase": "Running"}}, ""),
        (labelled(a="2"), 'node "n1" cannot update labels through pod status'),
        (labelled(), 'node "n1" cannot update labels through pod status'),
        (
            {**labelled(a="1"), "status": {"resourceClaimStatuses": [{"name": "c"}]}},
            'node "n1" cannot update resource claim statues',
        ),
    ],
)
async def test_a_node_reports_a_pods_status_and_changes_nothing_else(new: dict[str, Any], message: str) -> None:
    request = review("UPDATE", "", "pods", new, old=labelled(a="1"), user=KUBELET, subresource="status")
    await judged(request, message)


async def judged(request: AdmissionRequest, message: str, registry: MemoryRegistry | None = None) -> None:
    """Refused with the message, or let pass when there is none."""
    plugin = NodeRestriction(registry or MemoryRegistry())
    assert plugin.handles(request)
    if not message:
        await plugin.validate(request)
        return
    with pytest.raises(Forbidden, match=f"{re.escape(message)}$"):
        await plugin.validate(request)


def claim(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "data", "namespace": "default"}, "spec": {}, "status": {"phase": "Bound", **status}}


CLAIM = 'node "n1" is not allowed to update fields other than status.capacity and status.conditions'


@pytest.mark.parametrize(
    ("new", "subresource", "message"),
    [
        (claim(capacity={"storage": "2Gi"}, conditions=[{"type": "x"}], allocatedResourceStatuses={}), "status", ""),
        (claim(phase="Lost"), "status", CLAIM),
        ({**claim(), "spec": {"volumeName": "v"}}, "status", CLAIM),
        ({**claim(), "metadata": {"name": "data", "namespace": "default", "labels": {"a": "b"}}}, "status", CLAIM),
        (claim(), "", "may only update PVC status"),
    ],
)
async def test_a_node_says_how_large_a_claim_is(new: dict[str, Any], subresource: str, message: str) -> None:
    request = review("UPDATE", "", "persistentvolumeclaims", new, old=claim(), user=KUBELET, subresource=subresource)
    await judged(request, message)


@pytest.mark.parametrize(
    ("name", "message"), [("own", ""), ("other", "node n1 can only evict pods with spec.nodeName set to itself")]
)
async def test_a_node_evicts_its_own_pods(name: str, message: str) -> None:
    registry = MemoryRegistry()
    registry.put("", "pods", "own", "default", spec={"nodeName": "n1"})
    registry.put("", "pods", "other", "default", spec={"nodeName": "n2"})
    eviction = {"metadata": {"name": name, "namespace": "default"}}
    await judged(review("CREATE", "", "pods", eviction, user=KUBELET, subresource="eviction"), message, registry)


async def test_other_parts_of_a_pod_are_not_a_nodes_business() -> None:
    request = review("CREATE", "", "pods", {"metadata": {"name": "p"}}, user=KUBELET, subresource="binding")
    await judged(request, "unexpected pod subresource \"binding\", only 'status' and 'eviction' are allowed")


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ({"name": "own", "uid": "uid-own"}, ""),
        ({}, "node requested token not bound to a pod"),
        ({"kind": "Node", "name": "n1", "uid": "uid-n1"}, "node requested token not bound to a pod"),
        ({"name": "own"}, "node requested token with a pod binding without a uid"),
        ({"name": "own", "uid": "old"}, "The object might have been deleted and then recreated"),
        ({"name": "other", "uid": "uid-other"}, "node requested token bound to a pod scheduled on a different node"),
    ],
)
async def test_a_nodes_tokens_are_bound_to_its_pods(ref: dict[str, str], message: str) -> None:
    registry = MemoryRegistry()
    registry.put("", "pods", "own", "default", spec={"nodeName": "n1"})
    registry.put("", "pods", "other", "default", spec={"nodeName": "n2"})
    wanted = {"metadata": {}, "spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", **ref}} if ref else {}}
    request = review("CREATE", "", "serviceaccounts", wanted, user=KUBELET, subresource="token")
    await judged(request, message, registry)


async def test_a_token_for_a_pod_that_is_not_there() -> None:
    ref = {"apiVersion": "v1", "kind": "Pod", "name": "none", "uid": "u"}
    wanted = {"metadata": {}, "spec": {"boundObjectRef": ref}}
    with pytest.raises(NotFound):
        await judged(review("CREATE", "", "serviceaccounts", wanted, user=KUBELET, subresource="token"), "x")


async def test_a_node_without_a_name_is_none() -> None:
    nameless = User("system:node:", groups=("system:nodes",))
    for obj in (None, pod()):
        request = review("DELETE" if obj is None else "CREATE", "", "pods", obj, old=pod(), user=nameless)
        await judged(request, 'could not determine node from user "system:node:"')
