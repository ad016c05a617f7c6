"""NodeRestriction: a node writes its own Node, CSINode and lease, the pods bound to it, and no other's.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from apiserver.admission.plugin import new_object, refuse
from apiserver.authz.node import MIRROR_ANNOTATION, NODES_GROUP, is_mirror, node_of, references
from apiserver.types import AdmissionRequest, Object, Registry

RESTRICTED_LABELS = "node-restriction.kubernetes.io"
"""Labels that isolate workloads: a node that could set its own would choose its pods."""
KUBERNETES_LABELS = ("kubernetes.io", "k8s.io")
KUBELET_LABEL_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    }
)
"""What a kubelet may say of its node, of the labels of Kubernetes' own (KEP-279)."""
REFERENCES = {
    "serviceaccounts": "a service account",
    "secrets": "secrets",
    "configmaps": "configmaps",
    "persistentvolumeclaims": "persistentvolumeclaims",
}
"""What a node's own pods may not refer to, since a node reads what its pods refer to; and what upstream calls it."""


class NodeRestriction:
    name = "NodeRestriction"

    def __init__(self, registry: Registry) -> None:
        self._nodes = registry.store("", "nodes")

    def handles(self, request: AdmissionRequest) -> bool:
        groups = ("", "coordination.k8s.io", "storage.k8s.io")
        return NODES_GROUP in request.user.groups and request.resource.group in groups

    async def admit(self, request: AdmissionRequest) -> None:
        return None

    async def validate(self, request: AdmissionRequest) -> None:
        node = node_of(request.user)
        if node is None:
            raise refuse(request, f'could not determine node from user "{request.user.name}"')
        match request.resource.plural:
            case "pods":
                await self._check_pod(request, node)
            case "nodes":
                self._check_node(request, node)
            case "leases":
                self._check_lease(request, node)
            case "csinodes":
                self._check_csi_node(request, node)

    async def _check_pod(self, request: AdmissionRequest, node: str) -> None:
        if request.operation == "CREATE":
            await self._check_new_pod(request, node)
        elif _bound_to(request.old_object) != node:
            what = "update pod status for" if request.subresource == "status" else request.operation.lower()
            raise refuse(request, f'node "{node}" can only {what} pods with spec.nodeName set to itself')
        elif request.operation == "UPDATE" and request.subresource != "status":
            raise refuse(request, f'unexpected pod subresource "{request.subresource}", only status may be updated')

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

    @staticmethod
    def _check_node(request: AdmissionRequest, node: str) -> None:
        new, old = request.object or {}, request.old_object
        name = (new.get("metadata") or {}).get("name") or request.name
        if name != node:
            raise refuse(request, f'node "{node}" is not allowed to modify node "{name}"')
        if request.operation == "UPDATE" and _taints(old) != _taints(new):
            raise refuse(request, f'node "{node}" is not allowed to modify taints')
        if changed := _forbidden_labels(new, old):
            what = "is not allowed to modify labels"
            if request.operation == "CREATE":
                what = f'node "{node}" is not allowed to set the following labels'
            raise refuse(request, f"{what}: {', '.join(changed)}")

    @staticmethod
    def _check_lease(request: AdmissionRequest, node: str) -> None:
        name = ((request.object or {}).get("metadata") or {}).get("name") or request.name
        if request.namespace != "kube-node-lease":
            raise refuse(request, 'can only access leases in the "kube-node-lease" system namespace')
        if name != node:
            raise refuse(request, f'can only access node lease with the same name as the requesting node "{node}"')

    @staticmethod
    def _check_csi_node(request: AdmissionRequest, node: str) -> None:
        name = ((request.object or {}).get("metadata") or {}).get("name") or request.name
        if name != node:
            raise refuse(request, "can only access CSINode with the same name as the requesting node")


def _bound_to(pod: Object | None) -> str:
    return ((pod or {}).get("spec") or {}).get("nodeName") or ""


def _taints(node: Object | None) -> list[Object]:
    return ((node or {}).get("spec") or {}).get("taints") or []


def _forbidden_labels(new: Object, old: Object | None) -> list[str]:
    """The labels that a node changes and may not."""
    before = ((old or {}).get("metadata") or {}).get("labels") or {}
    after = (new.get("metadata") or {}).get("labels") or {} if new else before
    if before == after:  # as in every status update
        return []
    changed = (key for key in {*before, *after} if before.get(key) != after.get(key))
    return sorted(key for key in changed if not may_label(key))


def may_label(key: str) -> bool:
    """Whether a node may give itself this label, take it away or change it."""
    domain, slash, _ = key.partition("/")
    if not slash or not _within(domain, KUBERNETES_LABELS):
        return True
    if _within(domain, (RESTRICTED_LABELS,)):
        return False
    return key in KUBELET_LABELS or _within(domain, KUBELET_LABEL_DOMAINS)


def _within(domain: str, parents: tuple[str, ...]) -> bool:
    return any(domain == parent or domain.endswith(f".{parent}") for parent in parents)
