"""Informers -> cache and queue: what changed in the cluster, and which waiting pods that may help."""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.resources.core_v1 import Node, PersistentVolumeClaim, Pod

from common.api.meta import key_of, labels_of
from common.api.pods import is_terminal
from common.informer import InformerFactory
from scheduler.cache import Cache
from scheduler.framework import ClusterEvent
from scheduler.podinfo import PodInfo
from scheduler.queue import SchedulingQueue

UNFINISHED_PODS = "status.phase!=Succeeded,status.phase!=Failed"


class EventHandlers:
    """Registers with the informers of nodes, of claims, and of pods that are not over."""

    def __init__(self, factory: InformerFactory, cache: Cache, queue: SchedulingQueue, scheduler_name: str) -> None:
        self._cache, self._queue, self._scheduler_name = cache, queue, scheduler_name
        self.pods = factory.informer(Pod, field_selector=UNFINISHED_PODS)
        self.nodes = factory.informer(Node)
        self.claims = factory.informer(PersistentVolumeClaim)
        self.pods.add_handler(self.pod_changed, lambda _, new: self.pod_changed(new), self.pod_deleted)
        self.nodes.add_handler(self.node_added, self.node_updated, self.node_deleted)
        self.claims.add_handler(self.claim_added, self.claim_updated)

    async def wait_synced(self) -> None:
        """Nothing may be decided before all nodes, all claims and all assigned pods are known."""
        await self.nodes.wait_synced()
        await self.pods.wait_synced()
        await self.claims.wait_synced()

    @property
    def synced(self) -> bool:
        return self.nodes.synced and self.pods.synced and self.claims.synced

    def pod_changed(self, pod: Pod) -> None:
        assert pod.metadata is not None and pod.spec is not None
        if is_terminal(pod):
            self.pod_deleted(pod)
        elif pod.spec.nodeName:
            self._assigned(pod)
        elif pod.spec.schedulerName in (None, self._scheduler_name):
            if pod.metadata.deletionTimestamp is not None:
                self._queue.delete(key_of(pod))
            elif not self._cache.is_assumed(pod.metadata.uid or ""):
                self._queue.add(PodInfo.of(pod, keep=True))

    def pod_deleted(self, pod: Pod) -> None:
        assert pod.metadata is not None
        uid = pod.metadata.uid or ""
        queued = self._queue.get(key_of(pod))
        if queued is not None and queued.pod.uid == uid:
            self._queue.delete(key_of(pod))
        if self._cache.knows(uid):
            self._cache.remove(uid)
            self._queue.move(ClusterEvent.ASSIGNED_POD_DELETE)

    def node_added(self, node: Node) -> None:
        self._cache.nodes.set_node(node)
        self._queue.move(ClusterEvent.NODE_ADD)

    def node_updated(self, old: Node, new: Node) -> None:
        """Heartbeats change nothing that a pod waits for."""
        events = node_events(old, new)
        if events:
            self._cache.nodes.set_node(new)
        for event in events:
            self._queue.move(event)

    def node_deleted(self, node: Node) -> None:
        assert node.metadata is not None
        self._cache.nodes.remove_node(node.metadata.name or "")

    def claim_added(self, _: PersistentVolumeClaim) -> None:
        self._queue.move(ClusterEvent.PVC_ADD)

    def claim_updated(self, _: PersistentVolumeClaim, __: PersistentVolumeClaim) -> None:
        self._queue.move(ClusterEvent.PVC_UPDATE)

    def _assigned(self, pod: Pod) -> None:
        info = PodInfo.of(pod)
        known = self._cache.knows(info.uid)
        confirmed = self._cache.is_assumed(info.uid)
        self._cache.set_pod(info)
        if not confirmed:
            # Ours leave the queue when their binding is answered; this one was bound by somebody else, or by us before
            # a restart or a lost answer.
            queued = self._queue.get(info.key)
            if queued is not None and queued.pod.uid == info.uid:
                self._queue.delete(info.key)
        if known and not confirmed:
            self._queue.move(ClusterEvent.ASSIGNED_POD_UPDATE)
        else:
            self._queue.move(ClusterEvent.ASSIGNED_POD_ADD)


def node_events(old: Node, new: Node) -> list[ClusterEvent]:
    """What a change of a node may mean to waiting pods."""
    return list(_node_events(old, new))


def _node_events(old: Node, new: Node) -> Iterable[ClusterEvent]:
    if _resources(old) != _resources(new):
        yield ClusterEvent.NODE_ALLOCATABLE
    if labels_of(old) != labels_of(new):
        yield ClusterEvent.NODE_LABEL
    if _taints(old) != _taints(new):
        yield ClusterEvent.NODE_TAINT


def _resources(node: Node) -> object:
    return (node.status.allocatable, node.status.capacity) if node.status else None


def _taints(node: Node) -> object:
    return (node.spec.taints or [], bool(node.spec.unschedulable)) if node.spec else ([], False)
