"""NodeUnschedulable: cordoned nodes take no pods but those that tolerate it (DaemonSets' do)."""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.models.core_v1 import Taint

from common.api.taints import UNSCHEDULABLE, find_untolerated
from scheduler.framework import ClusterEvent, Rejection
from scheduler.nodes import NodeTable
from scheduler.podinfo import PodInfo

_TAINT = Taint(key=UNSCHEDULABLE, effect="NoSchedule")


class NodeUnschedulable:
    name = "NodeUnschedulable"
    events = frozenset((ClusterEvent.NODE_ADD, ClusterEvent.NODE_TAINT))

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[Rejection]:
        if nodes.unschedulable.any() and find_untolerated([_TAINT], pod.spec.tolerations) is not None:
            yield Rejection(nodes.unschedulable, "node(s) were unschedulable", unresolvable=True)
