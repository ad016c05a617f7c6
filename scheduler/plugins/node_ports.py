"""NodePorts: two pods cannot have the same host port on one node."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scheduler.framework import ClusterEvent, Rejection
from scheduler.nodes import NodeTable
from scheduler.podinfo import HostPort, PodInfo


class NodePorts:
    name = "NodePorts"
    events = frozenset((ClusterEvent.NODE_ADD, ClusterEvent.ASSIGNED_POD_DELETE))

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[Rejection]:
        if not pod.host_ports:
            return
        rows = np.zeros(nodes.capacity, dtype=bool)
        for row, used in nodes.host_ports.items():
            rows[row] = any(conflict(wanted, taken) for wanted in pod.host_ports for taken in used)
        yield Rejection(rows, "node(s) didn't have free ports for the requested pod ports")


def conflict(a: HostPort, b: HostPort) -> bool:
    """Equal port and protocol, on the same address or with one of them on all addresses."""
    return a[1:] == b[1:] and (a[0] == b[0] or "0.0.0.0" in (a[0], b[0]))
