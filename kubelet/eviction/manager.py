"""The loop that keeps the node alive when it runs out of something (upstream: pkg/kubelet/eviction).

Every ten seconds it looks at the machine. Pods above their own limits of local storage go at once; when a threshold is
due, images and dead containers go first if a disk is low, then one pod, the first of the ranking that may be evicted.
https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lightkube.models.core_v1 import ObjectReference
from lightkube.resources.core_v1 import Pod

from common.api.meta import meta_of
from common.api.pods import is_terminal
from kubelet.cri import RuntimeFailure
from kubelet.eviction.limits import is_limited, violation
from kubelet.eviction.ranking import PodUsage, event_annotations, message, rank, reclaims_images
from kubelet.eviction.signals import Observed, observe
from kubelet.eviction.state import State, advance, met
from kubelet.eviction.thresholds import RESOURCES, Threshold, effective
from kubelet.metrics import count_eviction
from kubelet.node.machine import Machine, Usage
from kubelet.pods.identity import identity_of
from kubelet.types import Ending

log = logging.getLogger("kubelet.eviction")

HOUSEKEEPING_SECONDS = 10.0
AFTER_EVICTION_SECONDS = 1.0
"""What a pod gave back takes a moment to be seen."""
END_SECONDS = 30.0
"""How long a pod that is evicted may take beyond its grace period before the next look."""
HARD_GRACE = 1
DISK_PATIENCE = 20.0
"""Disks are measured at most a twentieth of the time: what takes a second is done every twenty."""
REASON = "Evicted"


@dataclass(frozen=True, slots=True)
class EvictionPolicy:
    thresholds: tuple[Threshold, ...] = ()
    transition_seconds: float = 300.0
    max_pod_grace_period: int = 0
    """Seconds, for soft thresholds."""


class Pods(Protocol):
    """What is asked of the pods' side."""

    def pods(self) -> list[Pod]: ...
    async def known(self) -> None: ...
    def is_critical(self, pod: Pod) -> bool: ...
    async def end_pod(self, uid: str, ending: Ending) -> None: ...


class PodMeter(Protocol):
    """kubelet.eviction.usage.Measure."""

    async def pods(self, pods: list[Pod], *, memory: bool = False, disk: bool = False) -> dict[str, PodUsage]: ...


class EvictionManager:
    """``look`` reads the machine, ``reclaim`` removes dead containers and unused images, ``changed`` is called when the
    node's conditions are others than before."""

    def __init__(
        self,
        node: ObjectReference,
        policy: EvictionPolicy,
        machine: Machine,
        *,
        look: Callable[[], Awaitable[Usage]],
        pods: Pods,
        measure: PodMeter,
        reclaim: Callable[[], Awaitable[None]],
        recorder: Any,
        changed: Callable[[], None],
    ) -> None:
        self._node = node
        self._policy = policy
        self._machine = machine
        self._look = look
        self._pods = pods
        self._measure = measure
        self._reclaim = reclaim
        self._recorder = recorder
        self._changed = changed
        self._state = State()
        self._limits_due = 0.0

    @property
    def conditions(self) -> tuple[str, ...]:
        """MemoryPressure, DiskPressure, PIDPressure: those that hold."""
        return self._state.conditions

    async def first_look(self) -> None:
        """So that the node's first status is true already."""
        usage = await self._look()
        self._advance(observe(self._machine, usage), usage.image_fs is not None)

    async def run(self) -> None:
        """Until cancelled. The first look waits a while for the pods to be known: without them there is no choice."""
        try:
            async with asyncio.timeout(HOUSEKEEPING_SECONDS):
                await self._pods.known()
        except TimeoutError:
            log.info("eviction: not all pods are known yet")
        while True:
            evicted = False
            try:
                evicted = await self.synchronize()
            except (RuntimeFailure, OSError) as error:
                log.warning("eviction: the node could not be looked at: %s", error)
            await asyncio.sleep(AFTER_EVICTION_SECONDS if evicted else HOUSEKEEPING_SECONDS)

    async def synchronize(self) -> bool:
        """One look and what follows from it; whether a pod was evicted."""
        usage = await self._look()
        dedicated = usage.image_fs is not None
        observed = observe(self._machine, usage)
        self._advance(observed, dedicated)
        active = [pod for pod in self._pods.pods() if not is_terminal(pod)]
        if await self._enforce_limits(active, dedicated):
            return True
        due = self._state.due
        if not due:
            return False
        first, resource = due[0], RESOURCES[due[0].signal]
        log.warning("eviction: attempting to reclaim %s (%s)", resource, observed.get(first.signal))
        self._recorder.event(self._node, "Warning", "EvictionThresholdMet", f"Attempting to reclaim {resource}")
        if reclaims_images(first.signal, dedicated) and await self._reclaimed():
            return False
        return await self._evict_one(active, first, observed, dedicated)

    def _advance(self, observed: Mapping[str, Observed], dedicated: bool) -> None:
        before = self._state.conditions
        thresholds = effective(self._policy.thresholds, dedicated)
        transition = self._policy.transition_seconds
        self._state = advance(self._state, thresholds, observed, time.monotonic(), transition)
        if set(before) != set(self._state.conditions):
            log.info("the node's conditions are now: %s", ", ".join(self._state.conditions) or "no pressure")
            self._changed()

    async def _reclaimed(self) -> bool:
        """Whether images and dead containers were enough."""
        await self._reclaim()
        usage = await self._look()
        thresholds = effective(self._policy.thresholds, usage.image_fs is not None)
        return not met(thresholds, observe(self._machine, usage), reclaim=True)

    async def _evict_one(
        self, active: list[Pod], threshold: Threshold, observed: Mapping[str, Observed], dedicated: bool
    ) -> bool:
        resource = RESOURCES[threshold.signal]
        on_disk = resource in ("ephemeral-storage", "inodes")
        usages = await self._measure.pods(active, memory=not on_disk, disk=on_disk)
        for pod in rank(threshold, active, usages, dedicated_images=dedicated):
            if self._pods.is_critical(pod):
                continue
            usage = usages.get(meta_of(pod).uid or "")
            text = message(resource, pod, usage, self._state.due, observed)
            grace = HARD_GRACE if threshold.hard else self._policy.max_pod_grace_period
            count_eviction(threshold.signal)
            await self._evict(pod, Ending(REASON, text, grace, text), event_annotations(resource, pod, usage))
            return True
        log.warning("eviction: there is no pod that may be evicted")
        return False

    async def _enforce_limits(self, active: list[Pod], dedicated: bool) -> bool:
        limited = [pod for pod in active if is_limited(pod) and not self._pods.is_critical(pod)]
        if not limited or time.monotonic() < self._limits_due:
            return False
        began = time.monotonic()
        usages = await self._measure.pods(limited, disk=True)
        self._limits_due = time.monotonic() + (time.monotonic() - began) * DISK_PATIENCE
        evictions = []
        for pod in limited:
            usage = usages.get(meta_of(pod).uid or "")
            found = violation(pod, usage, dedicated_images=dedicated) if usage is not None else None
            if found is not None:
                signal, text = found
                count_eviction(signal)
                evictions.append(self._evict(pod, Ending(REASON, text, HARD_GRACE), {}))
        await asyncio.gather(*evictions)
        return bool(evictions)

    async def _evict(self, pod: Pod, ending: Ending, notes: Mapping[str, str]) -> None:
        log.warning("eviction: pod %s is evicted: %s", identity_of(pod), ending.message)
        self._recorder.event(pod, "Warning", REASON, ending.message, annotations=notes)
        try:
            async with asyncio.timeout((ending.grace or 0) + END_SECONDS):
                await self._pods.end_pod(identity_of(pod).uid, ending)
        except TimeoutError:
            log.warning("eviction: pod %s has not ended yet", identity_of(pod))
