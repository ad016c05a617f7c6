"""NodeRestriction: a node writes its own Node, CSINode and lease, the pods bound to it, and no other's.

Beside what the node authorizer lets it write, this looks at what is written: the authorizer sees no objects.
https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from typing import Any

from apiserver.admission.plugin import Refuses, new_object, refuse
from apiserver.authz.node import NODES_GROUP, node_of
from apiserver.authz.references import MIRROR_ANNOTATION, is_mirror, references
from apiserver.types import AdmissionRequest, Object, Registry
from common.api import node_labels

REFERENCES = {
    "serviceaccounts": "a service account",
    "secrets": "secrets",
    "configmaps": "configmaps",
    "persistentvolumeclaims": "persistentvolumeclaims",
}
"""What a node's own pods may not refer to, since a node reads what its pods refer to; and what upstream calls it."""
OF_A_RESIZE = frozenset({"capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"})
"""Fields of a claim's status that a node reports when it has grown the claim's file system."""
SERVERS_OWN = frozenset({"managedFields", "resourceVersion"})


class NodeRestriction(Refuses):
    name = "NodeRestriction"

    def __init__(self, registry: Registry) -> None:
        self._nodes = registry.store("", "nodes")
        self._pods = registry.store("", "pods")

    def handles(self, request: AdmissionRequest) -> bool:
        groups = ("", "coordination.k8s.io", "storage.k8s.io")
        return NODES_GROUP in request.user.groups and request.resource.group in groups

    async def validate(self, request: AdmissionRequest) -> None:
        node = node_of(request.user)
        if not node:
            raise refuse(request, f'could not determine node from user "{request.user.name}"')
        match request.resource.plural, request.subresource:
            case "pods", "":
                await self._check_pod(request, node)
            case "pods", "status":
                _check_pod_status(request, node)
            case "pods", "eviction":
                await self._check_eviction(request, node)
            case "pods", subresource:
                text = f"unexpected pod subresource \"{subresource}\", only 'status' and 'eviction' are allowed"
                raise refuse(request, text)
            case "nodes", _:
                _check_node(request, node)
            case "persistentvolumeclaims", "status":
                _check_claim_status(request, node)
            case "persistentvolumeclaims", _:
                raise refuse(request, "may only update PVC status")
            case "serviceaccounts", "token":
                await self._check_token(request, node)
            case "leases", _:
                _check_lease(request, node)
            case "csinodes", _:
                if _name(request) != node:
                    raise refuse(request, "can only access CSINode with the same name as the requesting node")

    # ---- pods ----

    async def _check_pod(self, request: AdmissionRequest, node: str) -> None:
        if request.operation == "CREATE":
            await self._check_new_pod(request, node)
        elif request.operation == "DELETE":
            if _bound_to(request.old_object) != node:
                raise refuse(request, f'node "{node}" can only delete pods with spec.nodeName set to itself')
        else:
            text = f'unexpected operation "{request.operation}", node "{node}" can only create and delete mirror pods'
            raise refuse(request, text)

    async def _check_new_pod(self, request: AdmissionRequest, node: str) -> None:
        pod = new_object(request)
        if not is_mirror(pod):
            raise refuse(
                request,
                f'pod does not have "{MIRROR_ANNOTATION}" annotation, node "{node}" can only create mirror pods',
            )
        if _bound_to(pod) != node:
            raise refuse(request, f'node "{node}" can only create pods with spec.nodeName set to itself')
        await self._check_owner(request, pod, node)
        refers_to = {plural for plural, _, _ in references(pod)}
        for plural, shown in REFERENCES.items():
            if plural in refers_to:
                raise refuse(request, f'node "{node}" can not create pods that reference {shown}')

    async def _check_owner(self, request: AdmissionRequest, pod: Object, node: str) -> None:
        """The Node owns its mirror pods, so that they go when it does: the Node there is now, not an earlier one."""
        owners = pod["metadata"].get("ownerReferences") or []
        if len(owners) > 1:
            raise refuse(request, f'node "{node}" can only create pods with a single owner reference set to itself')
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise refuse(request, f'node "{node}" can only create pods with an owner reference set to itself')
        if not owner.get("controller"):
            raise refuse(request, f'node "{node}" can only create pods with a controller owner reference set to itself')
        if owner.get("blockOwnerDeletion"):
            raise refuse(request, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
        current, given = (await self._nodes.get("", node))["metadata"].get("uid", ""), owner.get("uid", "")
        if given != current:
            raise refuse(request, f"node {node} UID mismatch: expected {given} got {current}")

    async def _check_eviction(self, request: AdmissionRequest, node: str) -> None:
        pod = await self._pods.get(request.namespace, request.name)
        if _bound_to(pod) != node:
            raise refuse(request, f"node {node} can only evict pods with spec.nodeName set to itself")

    async def _check_token(self, request: AdmissionRequest, node: str) -> None:
        """Of the accounts of its pods a node gets tokens that are bound to such a pod, and die with it."""
        ref = (new_object(request).get("spec") or {}).get("boundObjectRef") or {}
        if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod") or not ref.get("name"):
            raise refuse(request, "node requested token not bound to a pod")
        if not ref.get("uid"):
            raise refuse(request, "node requested token with a pod binding without a uid")
        pod = await self._pods.get(request.namespace, ref["name"])
        if ref["uid"] != pod["metadata"].get("uid"):
            text = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. "
            raise refuse(request, text + "The object might have been deleted and then recreated")
        if _bound_to(pod) != node:
            raise refuse(request, "node requested token bound to a pod scheduled on a different node")


def _check_pod_status(request: AdmissionRequest, node: str) -> None:
    new, old = new_object(request), request.old_object or {}
    if _bound_to(old) != node:
        raise refuse(request, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself')
    if _labels(new) != _labels(old):  # by its labels a pod becomes part of a Service, or of a ReplicaSet
        raise refuse(request, f'node "{node}" cannot update labels through pod status')
    claims, before = ((pod.get("status") or {}).get("resourceClaimStatuses") or [] for pod in (new, old))
    if claims != before:
        raise refuse(request, f'node "{node}" cannot update resource claim statues')


def _check_node(request: AdmissionRequest, node: str) -> None:
    new, old = request.object or {}, request.old_object
    if _name(request) != node:
        raise refuse(request, f'node "{node}" is not allowed to modify node "{_name(request)}"')
    if request.operation == "UPDATE" and _taints(old) != _taints(new):
        raise refuse(request, f'node "{node}" is not allowed to modify taints')
    if changed := _forbidden_labels(new, old):
        what = "is not allowed to modify labels"
        if request.operation == "CREATE":
            what = f'node "{node}" is not allowed to set the following labels'
        raise refuse(request, f"{what}: {', '.join(changed)}")


def _check_claim_status(request: AdmissionRequest, node: str) -> None:
    if _without_resize(new_object(request)) != _without_resize(request.old_object or {}):
        what = "is not allowed to update fields other than status.capacity and status.conditions"
        raise refuse(request, f'node "{node}" {what}')


def _check_lease(request: AdmissionRequest, node: str) -> None:
    if request.namespace != "kube-node-lease":
        raise refuse(request, 'can only access leases in the "kube-node-lease" system namespace')
    if _name(request) != node:
        raise refuse(request, "can only access node lease with the same name as the requesting node")


def _name(request: AdmissionRequest) -> str:
    return str(((request.object or {}).get("metadata") or {}).get("name") or request.name)


def _bound_to(pod: Object | None) -> str:
    return ((pod or {}).get("spec") or {}).get("nodeName") or ""


def _taints(node: Object | None) -> list[Object]:
    return ((node or {}).get("spec") or {}).get("taints") or []


def _labels(obj: Object | None) -> dict[str, str]:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}


def _forbidden_labels(new: Object, old: Object | None) -> list[str]:
    """The labels that a node changes and may not."""
    before = _labels(old)
    after = _labels(new) if new else before
    if before == after:  # as in every status update
        return []
    return node_labels.forbidden(key for key in {*before, *after} if before.get(key) != after.get(key))


def _without_resize(claim: Object) -> dict[str, Any]:
    """A claim but for what a node may write of it."""
    status = {k: v for k, v in (claim.get("status") or {}).items() if k not in OF_A_RESIZE}
    metadata = {k: v for k, v in claim["metadata"].items() if k not in SERVERS_OWN}
    return {**claim, "metadata": metadata, "status": status}
