"""NodeName: a pod that names its node fits there alone."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.framework import ClusterEvent, Rejection
from scheduler.nodes import NodeTable
from scheduler.podinfo import PodInfo


class NodeName:
    name = "NodeName"
    events = frozenset((ClusterEvent.NODE_ADD,))

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[Rejection]:
        if not pod.node_name:
            return
        rows = nodes.valid.copy()
        row = nodes.row(pod.node_name)
        if row is not None:
            rows[row] = False
        yield Rejection(rows, "node(s) didn't match the requested node name", unresolvable=True)
