"""Which pod is on which node, with those that were only just decided on.

A decision counts at once (`assume`), long before the API server has confirmed it: the next pod must see the node's
room without it. The informer's word replaces the assumption when it comes; `forget` takes it back when binding failed.
"""

from __future__ import annotations

from scheduler.nodes import NodeTable
from scheduler.podinfo import PodInfo


class Cache:
    """Pods by uid on the node table."""

    def __init__(self) -> None:
        self.nodes = NodeTable()
        self._where: dict[str, str] = {}
        self._assumed: set[str] = set()

    def is_assumed(self, uid: str) -> bool:
        return uid in self._assumed

    def knows(self, uid: str) -> bool:
        return uid in self._where

    def assume(self, pod: PodInfo, node: str) -> None:
        self._place(pod, node)
        self._assumed.add(pod.uid)

    def forget(self, uid: str) -> None:
        """Takes an assumption back, unless the informer has confirmed it meanwhile."""
        if uid in self._assumed:
            self.remove(uid)

    def set_pod(self, pod: PodInfo) -> None:
        """The API server says that this pod is on its node."""
        self._assumed.discard(pod.uid)
        self._place(pod, pod.node_name)

    def remove(self, uid: str) -> None:
        self._assumed.discard(uid)
        node = self._where.pop(uid, None)
        if node is not None:
            self.nodes.remove_pod(uid, node)

    def _place(self, pod: PodInfo, node: str) -> None:
        self.remove(pod.uid)
        self._where[pod.uid] = node
        self.nodes.add_pod(pod, node)
