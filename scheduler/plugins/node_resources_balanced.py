"""NodeResourcesBalancedAllocation: prefers nodes on which cpu and memory would be used to the same degree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.framework import MAX_NODE_SCORE, Scores
from scheduler.nodes import NodeTable
from scheduler.podinfo import PodInfo


class NodeResourcesBalancedAllocation:
    name = "NodeResourcesBalancedAllocation"

    def score(self, pod: PodInfo, nodes: NodeTable, feasible: NDArray[np.intp]) -> Scores | None:
        """100 less the standard deviation of the two used fractions. A pod that requests nothing changes no balance."""
        if pod.best_effort:
            return None
        used = []
        for resource in ("cpu", "memory"):
            allocatable = np.maximum(nodes.allocatable[resource][feasible], 1)
            requested = nodes.requested[resource][feasible] + pod.requests.get(resource, 0)
            used.append(np.minimum(requested / allocatable, 1.0))
        deviation = np.abs(used[0] - used[1]) / 2
        scores: Scores = np.floor((1 - deviation) * MAX_NODE_SCORE)
        return scores
