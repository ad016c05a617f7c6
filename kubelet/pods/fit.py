"""Whether a pod fits the node's object: labels, host ports, taints. Upstream's predicates of the kubelet's admission.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lightkube.models.core_v1 import NodeSelectorRequirement, NodeSelectorTerm, PodSpec
from lightkube.resources.core_v1 import Node, Pod

from common.api.meta import labels_of, meta_of
from common.api.selectors import Requirement
from common.api.taints import find_untolerated
from kubelet.pods.identity import spec_of

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}
_EVERY_ADDRESS = ("", "0.0.0.0", "::")


def misfit(pod: Pod, others: Iterable[Pod], node: Node, *, static: bool = False) -> tuple[str, str] | None:
    """The predicate that fails, and its message."""
    spec = spec_of(pod)
    if not matches(spec, node):
        return _failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    wanted = set(host_ports(spec))
    if wanted and any(
        _conflict(mine, theirs) for each in others for theirs in host_ports(spec_of(each)) for mine in wanted
    ):
        return _failed("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    taints = node.spec.taints if node.spec is not None else None
    if not static and find_untolerated(taints, spec.tolerations, ("NoExecute",)) is not None:
        return _failed("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def _failed(predicate: str, why: str) -> tuple[str, str]:
    return predicate, f"Predicate {predicate} failed: {why}"


def matches(spec: PodSpec, node: Node) -> bool:
    """nodeSelector and the required node affinity."""
    labels = labels_of(node)
    if any(labels.get(key) != value for key, value in (spec.nodeSelector or {}).items()):
        return False
    affinity = spec.affinity.nodeAffinity if spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    if required is None:
        return True
    fields = {"metadata.name": meta_of(node).name or ""}
    return any(_term(term, labels, fields) for term in required.nodeSelectorTerms)


def _term(term: NodeSelectorTerm, labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    """All requirements of a term must hold; one without any matches nothing."""
    expressions, names = term.matchExpressions or (), term.matchFields or ()
    if not expressions and not names:
        return False
    return all(_holds(each, labels) for each in expressions) and all(_holds(each, fields) for each in names)


def _holds(requirement: NodeSelectorRequirement, values: Mapping[str, str]) -> bool:
    operator = _OPERATORS.get(requirement.operator)
    if operator is None:
        return False
    return Requirement(requirement.key, operator, frozenset(requirement.values or ())).matches(values)


def host_ports(spec: PodSpec) -> Iterator[tuple[str, str, int]]:
    """Address, protocol and number of what the pod's containers (and sidecars) open on the node."""
    sidecars = (each for each in spec.initContainers or () if each.restartPolicy == "Always")
    for container in (*sidecars, *spec.containers):
        for port in container.ports or ():
            # On the host's network every port that is told of is one of the host's.
            number = port.hostPort or (port.containerPort if spec.hostNetwork else None)
            if number:
                yield port.hostIP or "", port.protocol or "TCP", int(number)


def _conflict(a: tuple[str, str, int], b: tuple[str, str, int]) -> bool:
    same_address = a[0] == b[0] or a[0] in _EVERY_ADDRESS or b[0] in _EVERY_ADDRESS
    return same_address and a[1:] == b[1:]
