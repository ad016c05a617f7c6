"""TaintToleration: NoSchedule and NoExecute taints keep pods off; PreferNoSchedule taints cost score.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from common.api.taints import find_untolerated, tolerates
from scheduler.framework import ClusterEvent, Rejection, Scores, default_normalize
from scheduler.nodes import NodeTable
from scheduler.podinfo import PodInfo


class TaintToleration:
    name = "TaintToleration"
    events = frozenset((ClusterEvent.NODE_ADD, ClusterEvent.NODE_TAINT))

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[Rejection]:
        """The first taint that is not tolerated is the reason; nodes with equal taints share the work."""
        for number, taints in enumerate(nodes.taint_sets):
            taint = find_untolerated(taints, pod.spec.tolerations)
            if taint is not None:
                reason = f"node(s) had untolerated taint {{{taint.key}: {taint.value or ''}}}"
                yield Rejection(nodes.taint_ids == number, reason, unresolvable=True)

    def score(self, pod: PodInfo, nodes: NodeTable, feasible: NDArray[np.intp]) -> Scores | None:
        """The fewer PreferNoSchedule taints a pod would have to put up with, the better."""
        tolerations = [t for t in pod.spec.tolerations or () if t.effect in (None, "", "PreferNoSchedule")]
        untolerated = np.array(
            [
                sum(t.effect == "PreferNoSchedule" and not any(tolerates(o, t) for o in tolerations) for t in taints)
                for taints in nodes.taint_sets
            ]
        )
        if not untolerated.any():
            return None
        return default_normalize(untolerated[nodes.taint_ids[feasible]], reverse=True)
