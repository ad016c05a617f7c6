"""The scheduling loop: take the next pod, find its node, assume it there, bind it.

Finding the node (the scheduling cycle) is one uninterrupted computation on the node table. Binding (the binding cycle)
is a request to the API server and runs beside the following cycles; a bounded number of them at once. The API server
refuses to bind a pod that has a node already (409), so a lost answer, a second scheduler or a restart in between can
never move a pod: whoever asks again is told, and the informer brings the truth.

https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/#scheduling-cycle-binding-cycle
"""

from __future__ import annotations

import asyncio
import logging
import time

import numpy as np
from lightkube.models.core_v1 import PodCondition
from lightkube.resources.core_v1 import Pod

from common.api.conditions import get_condition
from common.api.status import Conflict, NotFound, StatusError
from common.api.time import now, to_rfc3339
from common.client import Client, PatchType
from common.events import EventRecorder
from scheduler.cache import Cache
from scheduler.framework import FitError, Profile, find_feasible, select_node
from scheduler.metrics import SchedulerMetrics
from scheduler.podinfo import PodInfo
from scheduler.queue import QueuedPod, SchedulingQueue

log = logging.getLogger(__name__)

BINDINGS_AT_ONCE = 64
CYCLES_IN_A_ROW = 16
"""After so many cycles other tasks get their turn, although pods are waiting."""


class Scheduler:
    """``name`` is what pods say in spec.schedulerName."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        queue: SchedulingQueue,
        profile: Profile,
        recorder: EventRecorder,
        metrics: SchedulerMetrics,
        *,
        name: str,
    ) -> None:
        self.name = name
        self._client, self._cache, self._queue = client, cache, queue
        self._profile, self._recorder, self._metrics = profile, recorder, metrics
        self._random = np.random.default_rng()

    async def run(self) -> None:
        """Schedules until cancelled. Bindings under way are cancelled too: their outcome shows in the API."""
        slots = asyncio.Semaphore(BINDINGS_AT_ONCE)
        cycles = 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                await slots.acquire()
                queued = await self._queue.pop()
                task = tasks.create_task(self._attempt(queued))
                task.add_done_callback(lambda _: slots.release())
                cycles += 1
                if cycles % CYCLES_IN_A_ROW == 0:
                    await asyncio.sleep(0)

    async def _attempt(self, queued: QueuedPod) -> None:
        """One attempt for one pod. The part before the first await is the scheduling cycle."""
        started = time.perf_counter()
        pod = queued.pod
        try:
            node = self._schedule(pod)
        except FitError as error:
            await self._unschedulable(queued, error, started)
            return
        except Exception as error:  # a plugin's fault must not end the loop, nor lose the pod
            log.exception("pod %s could not be scheduled", pod.key)
            await self._failed(queued, str(error), started)
            return
        self._cache.assume(pod, node)
        try:
            await self._profile.bind.bind(pod, node)
        except (NotFound, Conflict) as error:
            # It has a node already (a lost answer, another scheduler) or is being deleted; if not, it is tried again.
            log.info("pod %s was not bound: %s", pod.key, error)
            await self._not_bound(queued, error, started, quiet=True)
        except StatusError as error:
            await self._not_bound(queued, error, started)
        except asyncio.CancelledError:
            self._cache.forget(pod.uid)
            raise
        except Exception as error:  # an answer that cannot be read: whether it is bound, the watch will tell
            log.exception("pod %s could not be bound", pod.key)
            await self._not_bound(queued, error, started)
        else:
            self._queue.done(queued)
            self._metrics.observe(self.name, "scheduled", time.perf_counter() - started)
            self._recorder.event(pod.waiting, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}")

    async def _not_bound(self, queued: QueuedPod, error: Exception, started: float, *, quiet: bool = False) -> None:
        """Gives the room back and tries again, unless the watch has shown meanwhile that the pod has its node."""
        uid = queued.pod.uid
        self._cache.forget(uid)
        if self._cache.knows(uid):
            self._queue.done(queued)
            return
        await self._failed(queued, f"binding rejected: {error}", started, quiet=quiet)

    def _schedule(self, pod: PodInfo) -> str:
        started = time.perf_counter()
        nodes = self._cache.nodes
        row = select_node(self._profile, pod, nodes, find_feasible(self._profile, pod, nodes), self._random)
        self._metrics.algorithm_duration.observe(time.perf_counter() - started)
        return nodes.names[row]

    async def _unschedulable(self, queued: QueuedPod, error: FitError, started: float) -> None:
        self._metrics.observe(self.name, "unschedulable", time.perf_counter() - started)
        self._queue.unschedulable(queued, self._profile.events_of(error.diagnosis.plugins))
        await self._report(queued.pod, "Unschedulable", str(error))

    async def _failed(self, queued: QueuedPod, message: str, started: float, *, quiet: bool = False) -> None:
        self._metrics.observe(self.name, "error", time.perf_counter() - started)
        self._queue.failed(queued)
        if not quiet:
            await self._report(queued.pod, "SchedulerError", message)

    async def _report(self, pod: PodInfo, reason: str, message: str) -> None:
        """The event, and the condition that `kubectl describe` and autoscalers read."""
        self._recorder.event(pod.waiting, "Warning", "FailedScheduling", message)
        patch = condition_patch(pod.waiting, reason, message)
        if patch is None:
            return
        try:
            await self._client.patch(
                Pod, pod.name, patch, pod.namespace, patch_type=PatchType.STRATEGIC, subresource="status"
            )
        except StatusError as error:  # the next attempt writes it again
            log.info("condition PodScheduled of %s was not written: %s", pod.key, error)


def condition_patch(pod: Pod, reason: str, message: str) -> dict[str, object] | None:
    """A strategic merge patch that says PodScheduled=False; None when the pod says so already."""
    conditions: list[PodCondition] | None = pod.status.conditions if pod.status else None
    old = get_condition(conditions, "PodScheduled")
    if old is not None and (old.status, old.reason, old.message) == ("False", reason, message):
        return None
    same = old is not None and old.status == "False" and old.lastTransitionTime is not None
    changed = old.lastTransitionTime if old is not None and same else None
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastProbeTime": None,
        "lastTransitionTime": to_rfc3339(changed or now()),
    }
    uid = pod.metadata.uid if pod.metadata else None
    return {"metadata": {"uid": uid}, "status": {"conditions": [condition]}}
