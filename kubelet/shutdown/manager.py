"""Ends the node's pods when the machine is about to end (upstream: pkg/kubelet/nodeshutdown)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from lightkube.models.core_v1 import ObjectReference
from lightkube.resources.core_v1 import Pod

from common.api.pods import is_terminal
from common.api.time import now
from kubelet.pods.identity import identity_of
from kubelet.shutdown.periods import Group, Period, grace_of, groups
from kubelet.shutdown.record import Record, read
from kubelet.types import Ending

log = logging.getLogger("kubelet.shutdown")

REASON = "Terminated"
LAST_SECONDS = 2.0
"""At least, for the statuses of pods that had to be killed when their time was over; more when others were quick."""
MESSAGE = "Pod was terminated in response to imminent node shutdown."


class Pods(Protocol):
    def pods(self) -> list[Pod]: ...
    async def end_pod(self, uid: str, ending: Ending) -> None: ...


class ShutdownManager:
    """``changed`` is called when the node's readiness is another than before. Without periods pods are left alone.
    ``root``: the kubelet's folder, where the times of the last shutdown are kept."""

    def __init__(
        self,
        node: ObjectReference,
        periods: Sequence[Period],
        pods: Pods,
        recorder: Any,
        changed: Callable[[], None],
        root: Path,
    ) -> None:
        self._node = node
        self._periods = periods
        self._pods = pods
        self._recorder = recorder
        self._changed = changed
        self._root = root
        if periods and (last := read(root)) is not None:
            last.show()
        self.shutting_down = False

    @property
    def enabled(self) -> bool:
        return bool(self._periods)

    @property
    def seconds(self) -> int:
        """All that pods may take."""
        return sum(period.seconds for period in self._periods)

    def problem(self) -> str | None:
        """Why the node is not ready."""
        return "node is shutting down" if self.shutting_down else None

    async def shut_down(self) -> None:
        """Returns when the pods have ended, or their time is over."""
        if not self.enabled:
            log.info("no shutdown grace period is given: pods are left as they are")
            return
        self._tell(True, "Shutdown manager detected shutdown event")
        record = Record(now())
        await self._note(record)
        try:
            await self._end_all()
        finally:
            await self._note(replace(record, end=now()))
        log.info("the pods have ended: the node may shut down")

    async def _note(self, record: Record) -> None:
        record.show()
        await asyncio.to_thread(record.write, self._root)

    async def _end_all(self) -> None:
        active = [pod for pod in self._pods.pods() if not is_terminal(pod)]
        late: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        over = loop.time() + self.seconds
        for group in groups(self._periods, active):
            late |= await self._end(group)
        if late:
            await asyncio.wait(late, timeout=max(LAST_SECONDS, over - loop.time()))
        for task in late:
            task.cancel()

    def cancel(self) -> None:
        """The machine goes on after all. Pods that have ended stay so."""
        if self.enabled:
            self._tell(False, "Shutdown manager detected shutdown cancellation")

    def _tell(self, shutting_down: bool, message: str) -> None:
        log.warning("%s", message)
        self._recorder.event(self._node, "Normal", "NodeShutdown", message)
        self.shutting_down = shutting_down
        self._changed()

    async def _end(self, group: Group) -> set[asyncio.Task[None]]:
        """Those that are not through when the group's time is over: the next group does not wait for them."""
        tasks = [asyncio.create_task(self._end_pod(pod, group)) for pod in group.pods]
        try:
            done, late = await asyncio.wait(tasks, timeout=group.seconds)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        for task in done:
            if error := task.exception():
                log.warning("a pod could not be ended: %s", error)
        if late:
            log.warning("%d pods have not ended within %d s", len(late), group.seconds)
        return late

    async def _end_pod(self, pod: Pod, group: Group) -> None:
        grace = grace_of(pod, group)
        log.info("pod %s ends within %d s", identity_of(pod), grace)
        await self._pods.end_pod(identity_of(pod).uid, Ending(REASON, MESSAGE, grace, MESSAGE))
