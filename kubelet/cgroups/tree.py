"""Keeps the cgroups of pods as ``values.py`` says.

A host may not let the kubelet write cgroups (they are read-only in many a container). That is said once, and pods then
live where the runtime puts them by itself: limits of single containers hold all the same.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import posixpath
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Literal

from lightkube.models.core_v1 import PodSpec
from lightkube.resources.core_v1 import Pod

from common.api.pods import is_terminal, qos_class
from kubelet.cgroups import hierarchy
from kubelet.cgroups.hierarchy import V1, Hierarchy
from kubelet.cgroups.systemd import Slices
from kubelet.cgroups.values import KUBEPODS, MIN_SHARES, QOS_PARENTS, Names, Values, burstable_values, pod_values
from kubelet.pods.identity import identity_of, spec_of

log = logging.getLogger("kubelet.cgroups")

MOUNTINFO = Path("/proc/self/mountinfo")
UPDATE_SECONDS = 60.0
SETTLE_SECONDS = 0.5
"""Pods seldom come alone."""
Tell = Callable[[Literal["Normal", "Warning"], str, str], None]
"""An event of the node: its type, reason and message."""


class PodCgroups:
    """Without a hierarchy (``found`` is None) every question has the answer of a kubelet that keeps no cgroups."""

    def __init__(
        self,
        root: str,
        found: Hierarchy | None,
        driver: Callable[[], Awaitable[str]],
        *,
        node: Values | None = None,
        pod_pids: int = -1,
        cfs_quota: bool = True,
        single_process_oom_kill: bool = False,
        tell: Tell = lambda type_, reason, message: None,
        slices: Slices | None = None,
    ) -> None:
        """``root`` is ``--cgroup-root``; ``driver`` asks the runtime for its cgroup driver; ``node`` is what all pods
        together are held to; ``pod_pids`` is ``--pod-max-pids``; ``slices`` is this machine's systemd unless given."""
        self._names = Names(root)
        self._hierarchy = found
        self._driver = driver
        self._node = node
        self._plain_parent = root if root.strip("/") else ""
        self._pod_pids = pod_pids
        self._cfs_quota = cfs_quota
        self._single_process_oom_kill = single_process_oom_kill
        self._tell = tell
        self._slices = slices or Slices(1 if isinstance(found, V1) else 2)
        self._begun = self._lost = False
        self._beginning = asyncio.Lock()
        self._changed = asyncio.Event()
        self._burstable: Values | None = None
        self._suspects: frozenset[str] = frozenset()
        self._written: dict[str, Values] = {}
        """What is in the cgroups of pods, by their uids: it is asked for with every container."""

    @property
    def all_pods(self) -> str:
        """The cgroup that holds all pods, without the slash before it; "" while there is none."""
        return self._names.kubepods().strip("/") if self._begun and self._hierarchy is not None else ""

    async def _begin(self) -> None:
        """Makes the cgroups that hold pods, once, as soon as the runtime answers. Raises RuntimeUnavailable."""
        async with self._beginning:
            if self._begun or self._hierarchy is None:
                return
            self._names = Names(self._names.root, await self._driver())
            try:
                await self._make()
            except OSError as error:
                log.warning("cgroups cannot be written, pods are left where the runtime puts them: %s", error)
                if self._node is not None:
                    text = f'Failed to update Node Allocatable Limits ["{KUBEPODS}"]: {error}'
                    self._tell("Warning", "FailedNodeAllocatableEnforcement", text)
                self._lost, self._hierarchy = True, None
                return
            self._begun = True
            if self._node is not None:
                self._tell("Normal", "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")

    async def _make(self) -> None:
        await self._write(self._names.kubepods(), self._node or Values())
        await self._write(self._names.quality("Burstable"), Values())
        await self._write(self._names.quality("BestEffort"), Values(cpu_shares=MIN_SHARES))

    async def _write(self, path: str, values: Values) -> None:
        """Raises OSError."""
        assert self._hierarchy is not None
        if self._systemd:
            await self._slices.write(posixpath.basename(path), values)
        await asyncio.to_thread(self._hierarchy.write, path, values)

    @property
    def _systemd(self) -> bool:
        return self._names.driver == "systemd"

    def parent(self, spec: PodSpec, uid: str) -> str:
        """What the runtime is told for each container of the pod."""
        if self._hierarchy is None and not (self._lost and self._systemd):  # systemd makes slices for the runtime too
            return self._plain_parent
        return self._names.parent(qos_class(spec), uid)

    async def ensure(self, spec: PodSpec, uid: str) -> None:
        """The pod's cgroup, as large as the pod is now. Raises OSError, RuntimeUnavailable."""
        await self._begin()
        if self._hierarchy is not None:
            path = self._names.pod(qos_class(spec), uid)
            values = pod_values(spec, self._pod_pids, self._cfs_quota)
            if self._written.get(uid) != values:
                await self._write(path, values)
                self._written[uid] = values

    async def grow(self, spec: PodSpec, uid: str) -> None:
        """Room for a pod that is resized: no limits until ``ensure`` sets the new ones. Raises OSError."""
        await self._begin()
        if self._hierarchy is not None:
            values = dataclasses.replace(pod_values(spec), cpu_quota=-1, memory=-1, pids=None)
            self._written.pop(uid, None)
            await self._write(self._names.pod(qos_class(spec), uid), values)

    async def started(self, spec: PodSpec, uid: str, container_id: str) -> None:
        """With cgroups of version 2 a container without memory ends as a whole (as upstream since v1.28), unless
        ``singleProcessOOMKill`` is set."""
        if self._hierarchy is None or not self._begun or self._single_process_oom_kill:
            return
        path = self._names.container(qos_class(spec), uid, container_id)
        try:
            await asyncio.to_thread(self._hierarchy.end_together, path)
        except OSError as error:  # it may have ended by now
            log.debug("memory.oom.group of %s: %s", path, error)

    async def remove(self, uid: str, spec: PodSpec | None = None) -> None:
        """Whatever its class was. What cannot go yet goes with the next sweep. Raises RuntimeUnavailable."""
        await self._begin()
        self._written.pop(uid, None)
        if self._hierarchy is not None:
            classes = [qos_class(spec)] if spec is not None else list(QOS_PARENTS)
            for quality in classes:
                path = self._names.pod(quality, uid)
                gone = await asyncio.to_thread(hierarchy.remove, self._hierarchy, path)
                if gone and self._systemd:
                    await self._forget(posixpath.basename(path))

    async def _forget(self, slice_name: str) -> None:
        try:
            await self._slices.stop(slice_name)
        except OSError as error:
            log.warning("the slice of a pod that is gone is left to systemd: %s", error)

    async def update_classes(self, specs: Iterable[PodSpec]) -> None:
        """Burstable pods together weigh what they request."""
        values = burstable_values(specs)
        if self._hierarchy is None or values == self._burstable:
            return
        try:
            await self._write(self._names.quality("Burstable"), values)
            self._burstable = values
        except OSError as error:
            log.warning("the cgroup of burstable pods is not updated: %s", error)

    async def sweep(self, known: frozenset[str]) -> None:
        """Removes cgroups that no pod has owned in two looks: one that is being made is not known yet in the first."""
        if self._hierarchy is None:
            return
        found = await asyncio.to_thread(self._pods)
        orphans = frozenset(uid for uid in found if uid not in known)
        for uid in orphans & self._suspects:
            await self.remove(uid)
        self._suspects = orphans

    def _pods(self) -> set[str]:
        assert self._hierarchy is not None
        found = set()
        for quality in QOS_PARENTS:
            names = hierarchy.children(self._hierarchy, self._names.quality(quality))
            found |= {uid for uid in map(self._names.uid_of, names) if uid}
        return found

    async def run(self, pods: Callable[[], Iterable[Pod]]) -> None:
        """Until cancelled: soon after pods have come or gone, and now and then."""
        swept = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(UPDATE_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            present = list(pods())
            if self._begun:
                await self.update_classes(spec_of(pod) for pod in present if not is_terminal(pod))
            if self._begun and time.monotonic() - swept >= UPDATE_SECONDS:
                swept = time.monotonic()
                await self.sweep(frozenset(identity_of(pod).uid for pod in present))
            await asyncio.sleep(SETTLE_SECONDS)

    def changed(self) -> None:
        """Pods have come or gone, or are larger or smaller than they were."""
        self._changed.set()


def no_cgroups(root: str = "/") -> PodCgroups:
    async def driver() -> str:
        return ""

    return PodCgroups(root, None, driver)


def find_hierarchy() -> Hierarchy | None:
    try:
        return hierarchy.find(MOUNTINFO.read_text())
    except OSError:
        return None
