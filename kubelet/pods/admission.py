"""Whether this node takes a pod that was bound to it: the scheduler may have decided on an older picture of it.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/ and upstream's
pkg/kubelet/lifecycle/predicate.go, whose reasons these are.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.models.core_v1 import PodSpec
from lightkube.resources.core_v1 import Node, Pod

from common.api.pods import amounts, requests
from kubelet.pods import apparmor, sysctls
from kubelet.pods.fit import misfit
from kubelet.pods.identity import all_containers, spec_of
from kubelet.types import KubeletConfig

Rejection = tuple[str, str]
"""Reason and message of why the node does not take the pod."""


def admit(pod: Pod, others: Iterable[Pod], node: Node | None, config: KubeletConfig) -> Rejection | None:
    """The checks in upstream's order."""
    spec = spec_of(pod)
    forbidden = sysctls.forbidden(spec, config.allowed_unsafe_sysctls)
    if forbidden is not None:
        return sysctls.REASON, forbidden
    refused = _fit(pod, others, node, config) or _unsupported(spec)
    if refused is not None:
        return refused
    why = apparmor.refusal(pod)
    return (apparmor.REASON, why) if why is not None else None


def _unsupported(spec: PodSpec) -> Rejection | None:
    if spec.os is not None and spec.os.name != "linux":
        return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
    shared = spec.securityContext
    if shared is not None and shared.supplementalGroupsPolicy == "Strict" and not _all_have_a_group(spec):
        message = "SupplementalGroupsPolicy=Strict is not supported in this node"
        return "SupplementalGroupsPolicyNotSupported", message
    return None


def _all_have_a_group(spec: PodSpec) -> bool:
    """Docker adds the image's own groups of a user only where no group is given."""
    if spec.securityContext is not None and spec.securityContext.runAsGroup is not None:
        return True
    contexts = [container.securityContext for container in all_containers(spec)]
    return all(context is not None and context.runAsGroup is not None for context in contexts)


def _fit(pod: Pod, others: Iterable[Pod], node: Node | None, config: KubeletConfig) -> Rejection | None:
    spec = spec_of(pod)
    present = list(others)
    if len(present) + 1 > config.max_pods:
        return _out_of("pods", 1, len(present), config.max_pods)
    used: dict[str, int] = {}
    for other in present:
        for name, amount in requests(spec_of(other)).items():
            used[name] = used.get(name, 0) + amount
    offered = {**config.capacity, **_extended(node)}
    for name, amount in requests(spec).items():
        capacity = offered.get(name, 0 if name.startswith("hugepages-") else None)
        if capacity is not None and amount and used.get(name, 0) + amount > capacity:
            return _out_of(name, amount, used.get(name, 0), capacity)
    return misfit(pod, present, node) if node is not None else None


def _extended(node: Node | None) -> dict[str, int]:
    """What else the node's object says it has; what it does not name is somebody else's to count, as upstream."""
    offered = (node.status.allocatable if node is not None and node.status is not None else None) or {}
    return amounts({name: amount for name, amount in offered.items() if "/" in name})


def _out_of(resource: str, requested: int, used: int, capacity: int) -> Rejection:
    message = (
        f"Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    )
    return f"OutOf{resource}", message
