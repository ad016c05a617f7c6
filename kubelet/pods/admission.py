"""Whether this node takes a pod that was bound to it: the scheduler may have decided on an older picture of it.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/ and upstream's
pkg/kubelet/lifecycle/predicate.go, whose reasons these are.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.resources.core_v1 import Node, Pod

from common.api.meta import labels_of
from common.api.pods import requests
from kubelet.pods.identity import spec_of
from kubelet.types import KubeletConfig

Rejection = tuple[str, str]
"""Reason and message of a status with phase Failed."""


def admit(pod: Pod, others: Iterable[Pod], node: Node | None, config: KubeletConfig) -> Rejection | None:
    spec = spec_of(pod)
    if node is not None:
        labels = labels_of(node)
        if any(labels.get(key) != value for key, value in (spec.nodeSelector or {}).items()):
            message = (
                "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
            )
            return "NodeAffinity", message
    present = list(others)
    if len(present) + 1 > config.max_pods:
        return _out_of("pods", 1, len(present), config.max_pods)
    used: dict[str, int] = {}
    for other in present:
        for name, amount in requests(spec_of(other)).items():
            used[name] = used.get(name, 0) + amount
    for name, amount in requests(spec).items():
        capacity = config.capacity.get(name)
        if capacity is not None and amount and used.get(name, 0) + amount > capacity:
            return _out_of(name, amount, used.get(name, 0), capacity)
    return None


def _out_of(resource: str, requested: int, used: int, capacity: int) -> Rejection:
    message = (
        f"Pod was rejected: Node didn't have enough resource: {resource}, "
        f"requested: {requested}, used: {used}, capacity: {capacity}"
    )
    return f"OutOf{resource}", message
