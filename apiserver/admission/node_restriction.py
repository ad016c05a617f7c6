"""NodeRestriction: a node writes its own Node, the pods bound to it, and no other's.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from apiserver.admission.plugin import new_object, refuse
from apiserver.authz.node import MIRROR_ANNOTATION, NODES_GROUP, is_mirror, node_of, references
from apiserver.types import AdmissionRequest, Object

RESTRICTED_LABEL = "node-restriction.kubernetes.io/"
REFERENCES = {
    "serviceaccounts": "a service account",
    "secrets": "secrets",
    "configmaps": "configmaps",
    "persistentvolumeclaims": "persistentvolumeclaims",
}
"""What a node's own pods may not refer to, since a node reads what its pods refer to; and what upstream calls it."""


class NodeRestriction:
    name = "NodeRestriction"

    def handles(self, request: AdmissionRequest) -> bool:
        return NODES_GROUP in request.user.groups and request.resource.group in ("", "coordination.k8s.io")

    async def admit(self, request: AdmissionRequest) -> None:
        return None

    async def validate(self, request: AdmissionRequest) -> None:
        node = node_of(request.user)
        if node is None:
            raise refuse(request, f'could not determine node from user "{request.user.name}"')
        match request.resource.plural:
            case "pods":
                self._check_pod(request, node)
            case "nodes":
                self._check_node(request, node)
            case "leases":
                self._check_lease(request, node)

    def _check_pod(self, request: AdmissionRequest, node: str) -> None:
        if request.operation == "CREATE":
            self._check_new_pod(request, node)
        elif _bound_to(request.old_object) != node:
            what = "update pod status for" if request.subresource == "status" else request.operation.lower()
            raise refuse(request, f'node "{node}" can only {what} pods with spec.nodeName set to itself')
        elif request.operation == "UPDATE" and request.subresource != "status":
            raise refuse(request, f'unexpected pod subresource "{request.subresource}", only status may be updated')

    @staticmethod
    def _check_new_pod(request: AdmissionRequest, node: str) -> None:
        pod = new_object(request)
        if not is_mirror(pod):
            raise refuse(
                request,
                f'pod does not have "{MIRROR_ANNOTATION}" annotation, node "{node}" can only create mirror pods',
            )
        if _bound_to(pod) != node:
            raise refuse(request, f'node "{node}" can only create pods with spec.nodeName set to itself')
        refers_to = {plural for plural, _, _ in references(pod)}
        for plural, shown in REFERENCES.items():
            if plural in refers_to:
                raise refuse(request, f'node "{node}" can not create pods that reference {shown}')

    @staticmethod
    def _check_node(request: AdmissionRequest, node: str) -> None:
        new, old = request.object or {}, request.old_object
        name = (new.get("metadata") or {}).get("name") or request.name
        if name != node:
            raise refuse(request, f'node "{node}" is not allowed to modify node "{name}"')
        if request.operation == "UPDATE" and _taints(old) != _taints(new):
            raise refuse(request, f'node "{node}" is not allowed to modify taints')
        if changed := _restricted_labels(new, old):
            raise refuse(request, f"is not allowed to modify labels: {', '.join(changed)}")

    @staticmethod
    def _check_lease(request: AdmissionRequest, node: str) -> None:
        name = ((request.object or {}).get("metadata") or {}).get("name") or request.name
        if request.namespace != "kube-node-lease":
            raise refuse(request, 'can only access leases in the "kube-node-lease" system namespace')
        if name != node:
            raise refuse(request, f'can only access node lease with the same name as the requesting node "{node}"')


def _bound_to(pod: Object | None) -> str:
    return ((pod or {}).get("spec") or {}).get("nodeName") or ""


def _taints(node: Object | None) -> list[Object]:
    return ((node or {}).get("spec") or {}).get("taints") or []


def _restricted_labels(new: Object, old: Object | None) -> list[str]:
    """Labels that isolate workloads: a node that could set its own would choose its pods."""
    before = ((old or {}).get("metadata") or {}).get("labels") or {}
    after = (new.get("metadata") or {}).get("labels") or {} if new else before
    keys = {k for k in {*before, *after} if k.partition("/")[0].endswith(RESTRICTED_LABEL.rstrip("/"))}
    return sorted(k for k in keys if before.get(k) != after.get(k))
