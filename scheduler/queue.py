"""Pods that wait for a node: the active queue, the back-off queue, and those that nothing could be done for.

A pod that fits nowhere waits until something happens that may help it: each Filter plugin that rejected it names the
cluster events that can change its mind. It then goes to the active queue, or to the back-off queue while the wait for
its last failures (1 s, doubling, at most 10 s) lasts. After five minutes it is tried whatever happened, so that an
event which nobody thought of delays a pod but does not lose it.

https://github.com/kubernetes/enhancements/tree/master/keps/sig-scheduling/4247-queueinghint
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from scheduler.framework import ClusterEvent
from scheduler.podinfo import PodInfo

INITIAL_BACKOFF, MAX_BACKOFF = 1.0, 10.0
UNSCHEDULABLE_TIMEOUT = 300.0
FLUSH_PERIOD = 30.0


@dataclass(slots=True)
class QueuedPod:
    """A pod and its history in the queue."""

    pod: PodInfo
    queued: float
    """When it was first seen: earlier ones go first, among equal priorities."""
    attempts: int = 0
    wanted: frozenset[ClusterEvent] = frozenset()
    """The events that may help it; set while it waits as unschedulable."""
    since: float = 0.0
    backoff_until: float = 0.0
    changed: bool = False
    """Whether the pod itself has changed since it was taken."""
    seen: int = 0
    """How many events the queue had seen when this pod was taken."""


@dataclass(order=True, slots=True)
class _Entry:
    order: tuple[float, ...]
    key: str = field(compare=False)


class SchedulingQueue:
    """``clock`` is time.monotonic, but in tests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._pods: dict[str, QueuedPod] = {}
        self._active: dict[str, tuple[float, ...]] = {}
        self._active_heap: list[_Entry] = []
        self._backoff: dict[str, float] = {}
        self._backoff_heap: list[_Entry] = []
        self._unschedulable: dict[str, None] = {}
        self._gated: set[str] = set()
        self._in_flight: set[str] = set()
        self._history: list[ClusterEvent] = []
        self._history_start = 0
        self._flushed = clock()
        self._wake = asyncio.Event()

    # --- what the handlers of the informers call

    def add(self, pod: PodInfo) -> None:
        """A new pod without a node."""
        if pod.key in self._pods:
            self.update(pod)
            return
        self._pods[pod.key] = QueuedPod(pod, self._clock())
        self._enqueue(pod.key)

    def update(self, pod: PodInfo) -> None:
        """The pod itself changed: that may well help it."""
        queued = self._pods.get(pod.key)
        if queued is None or queued.pod.uid != pod.uid:
            self.delete(pod.key)
            self.add(pod)
            return
        changed = queued.pod.spec != pod.spec or queued.pod.labels != pod.labels
        queued.pod = pod
        if pod.key in self._in_flight:
            queued.changed |= changed
            return
        if pod.key in self._gated or (changed and pod.key in self._unschedulable):
            self._gated.discard(pod.key)
            self._unschedulable.pop(pod.key, None)
            self._enqueue(pod.key)

    def delete(self, key: str) -> None:
        """The pod is gone, or has a node."""
        self._pods.pop(key, None)
        self._active.pop(key, None)
        self._backoff.pop(key, None)
        self._unschedulable.pop(key, None)
        self._gated.discard(key)
        self._in_flight.discard(key)

    def move(self, event: ClusterEvent) -> None:
        """Something happened: who waits for it is tried again."""
        if self._in_flight:
            self._history.append(event)
        helped = [key for key in self._unschedulable if event in self._pods[key].wanted]
        self._retry(helped)

    # --- what the scheduling loop calls

    async def pop(self) -> QueuedPod:
        """The next pod to schedule; `done`, `unschedulable` or `failed` must follow."""
        while True:
            self._flush()
            queued = self._take()
            if queued is not None:
                return queued
            self._wake.clear()
            try:
                async with asyncio.timeout(self._next_flush()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def done(self, queued: QueuedPod) -> None:
        """The pod has its node, or needs none any more."""
        if self._pods.get(queued.pod.key) is queued:
            self.delete(queued.pod.key)
        self._trim()

    def unschedulable(self, queued: QueuedPod, wanted: Iterable[ClusterEvent]) -> None:
        """It fits nowhere. If something helpful happened while it was being scheduled, it backs off, else it waits."""
        key = queued.pod.key
        if not self._land(queued):
            return
        queued.wanted, queued.since = frozenset(wanted), self._clock()
        happened = self._history[max(queued.seen - self._history_start, 0) :]
        self._trim()
        self._unschedulable[key] = None
        if queued.changed or any(event in queued.wanted for event in happened):
            self._retry((key,))

    def failed(self, queued: QueuedPod) -> None:
        """Something went wrong that has nothing to do with the pod: again after its back-off."""
        if self._land(queued):
            self._to_backoff(queued.pod.key)
        self._trim()

    def get(self, key: str) -> QueuedPod | None:
        return self._pods.get(key)

    def sizes(self) -> dict[str, int]:
        """Pods by queue, as the metric scheduler_pending_pods has them."""
        return {
            "active": len(self._active),
            "backoff": len(self._backoff),
            "unschedulable": len(self._unschedulable),
            "gated": len(self._gated),
        }

    # --- within

    def _enqueue(self, key: str) -> None:
        """PreEnqueue: a pod with scheduling gates waits until somebody removes them."""
        queued = self._pods[key]
        if queued.pod.spec.schedulingGates:
            self._gated.add(key)
            return
        order = (-float(queued.pod.priority), queued.queued, float(next(self._numbers)))
        self._active[key] = order
        heapq.heappush(self._active_heap, _Entry(order, key))
        self._wake.set()

    def _take(self) -> QueuedPod | None:
        while self._active_heap:
            entry = heapq.heappop(self._active_heap)
            if self._active.get(entry.key) != entry.order:
                continue  # an entry of a pod that was deleted or moved meanwhile
            del self._active[entry.key]
            queued = self._pods[entry.key]
            queued.attempts += 1
            queued.changed = False
            queued.seen = self._history_start + len(self._history)
            self._in_flight.add(entry.key)
            return queued
        return None

    def _land(self, queued: QueuedPod) -> bool:
        """The end of an attempt. False when the pod was deleted or replaced meanwhile."""
        key = queued.pod.key
        if self._pods.get(key) is not queued:
            self._trim()
            return False
        self._in_flight.discard(key)
        wait = min(INITIAL_BACKOFF * 2.0 ** (queued.attempts - 1), MAX_BACKOFF)
        queued.backoff_until = self._clock() + wait
        return True

    def _retry(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._unschedulable.pop(key, None)
            if self._pods[key].backoff_until > self._clock():
                self._to_backoff(key)
            else:
                self._enqueue(key)

    def _to_backoff(self, key: str) -> None:
        until = self._pods[key].backoff_until
        self._backoff[key] = until
        heapq.heappush(self._backoff_heap, _Entry((until,), key))
        self._wake.set()

    def _flush(self) -> None:
        present = self._clock()
        while self._backoff_heap and self._backoff_heap[0].order[0] <= present:
            entry = heapq.heappop(self._backoff_heap)
            if self._backoff.get(entry.key) == entry.order[0]:
                del self._backoff[entry.key]
                self._enqueue(entry.key)
        if present >= self._flushed + FLUSH_PERIOD:
            self._flushed = present
            self._retry([k for k in self._unschedulable if self._pods[k].since + UNSCHEDULABLE_TIMEOUT <= present])

    def _next_flush(self) -> float:
        if not self._backoff_heap:
            return FLUSH_PERIOD
        return min(max(self._backoff_heap[0].order[0] - self._clock(), 0.001), FLUSH_PERIOD)

    def _trim(self) -> None:
        """Events older than the oldest attempt in flight interest nobody."""
        oldest = min((self._pods[k].seen for k in self._in_flight if k in self._pods), default=None)
        keep = self._history_start + len(self._history) if oldest is None else oldest
        del self._history[: max(keep - self._history_start, 0)]
        self._history_start = keep
