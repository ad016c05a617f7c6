"""NodeResourcesFit: what a pod requests must be free on its node; the emptier the node, the better (LeastAllocated).

https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#how-pods-with-resource-requests-are-scheduled
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from scheduler.framework import MAX_NODE_SCORE, ClusterEvent, Rejection, Scores
from scheduler.nodes import NodeTable, amounts_fit
from scheduler.podinfo import PodInfo


class NodeResourcesFit:
    name = "NodeResourcesFit"
    events = frozenset((ClusterEvent.NODE_ADD, ClusterEvent.NODE_ALLOCATABLE, ClusterEvent.ASSIGNED_POD_DELETE))

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[Rejection]:
        """All reasons of a node are named, not just the first."""
        yield Rejection(nodes.valid & (nodes.pod_count + 1 > nodes.allowed_pods), "Too many pods")
        for resource, amount in amounts_fit(pod.requests).items():
            reason = f"Insufficient {resource}"
            allocatable = nodes.allocatable.get(resource)
            if allocatable is None:
                yield Rejection(nodes.valid, reason, unresolvable=True)
                continue
            short = nodes.valid & (amount > allocatable - nodes.requested[resource])
            hopeless = nodes.valid & (amount > allocatable)
            # A node that could not hold the pod even when empty is not worth evicting anybody for.
            yield Rejection(short & ~hopeless, reason)
            yield Rejection(hopeless, reason, unresolvable=True)

    def score(self, pod: PodInfo, nodes: NodeTable, feasible: NDArray[np.intp]) -> Scores | None:
        """The mean of the free shares of cpu and memory, once the pod is there."""
        cpu = _free_share(nodes.allocatable["cpu"][feasible], nodes.nonzero_cpu[feasible] + pod.nonzero[0])
        memory = _free_share(nodes.allocatable["memory"][feasible], nodes.nonzero_memory[feasible] + pod.nonzero[1])
        return np.floor((cpu + memory) / 2)


def _free_share(allocatable: NDArray[np.int64], requested: NDArray[np.int64]) -> Scores:
    free = np.maximum(allocatable - requested, 0)
    share: Scores = np.floor(free * MAX_NODE_SCORE / np.maximum(allocatable, 1))
    return share
