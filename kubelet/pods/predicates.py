"""Whether a pod fits on this node as it is: its room here, labels, host ports and taints in ``fit``. Pure.

Upstream: the scheduler's AdmissionCheck and the kubelet's generalFilter (pkg/kubelet/lifecycle/predicate.go), in their
order and words. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lightkube.resources.core_v1 import Node, Pod

from common.api.pods import amounts, requests
from kubelet.pods.fit import misfit
from kubelet.pods.identity import spec_of


@dataclass(frozen=True, slots=True)
class Insufficient:
    """Too little of a resource: cpu in milli, the rest in bytes or pieces."""

    resource: str
    requested: int
    used: int
    capacity: int

    @property
    def reason(self) -> str:
        return f"OutOf{self.resource}"

    @property
    def message(self) -> str:
        return (
            f"Node didn't have enough resource: {self.resource}, requested: {self.requested}, "
            f"used: {self.used}, capacity: {self.capacity}"
        )

    @property
    def missing(self) -> int:
        return self.requested - (self.capacity - self.used)


@dataclass(frozen=True, slots=True)
class Misfit:
    """A rule of the scheduler's that does not hold."""

    reason: str
    message: str


Failure = Insufficient | Misfit


def failures(
    pod: Pod,
    others: Sequence[Pod],
    node: Node | None,
    capacity: Mapping[str, int],
    max_pods: int,
    *,
    static: bool = False,
) -> list[Failure]:
    """All that is wrong; nothing when the pod fits. ``node`` is None while it is not known: then its labels and taints
    do not count."""
    found: list[Failure] = [*_room(pod, others, {**capacity, **_extended(node)}, max_pods)]
    wrong = misfit(pod, others, node, static=static) if node is not None else None
    return [*found, Misfit(*wrong)] if wrong is not None else found


def _room(pod: Pod, others: Sequence[Pod], offered: Mapping[str, int], max_pods: int) -> Iterable[Insufficient]:
    if len(others) + 1 > max_pods:
        yield Insufficient("pods", 1, len(others), max_pods)
    used: dict[str, int] = {}
    for other in others:
        for name, amount in requests(spec_of(other)).items():
            used[name] = used.get(name, 0) + amount
    for name, amount in requests(spec_of(pod)).items():
        capacity = offered.get(name, 0 if name.startswith("hugepages-") else None)
        if capacity is not None and amount and used.get(name, 0) + amount > capacity:
            yield Insufficient(name, amount, used.get(name, 0), capacity)


def _extended(node: Node | None) -> dict[str, int]:
    """What else the node's object says it has; what it does not name is somebody else's to count, as upstream."""
    offered = (node.status.allocatable if node is not None and node.status is not None else None) or {}
    return amounts({name: amount for name, amount in offered.items() if "/" in name})
