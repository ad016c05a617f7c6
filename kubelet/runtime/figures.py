"""The figures of many containers at once: from their cgroups, or from the runtime where those are not to be seen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from kubelet.cri import ContainerStats, RuntimeContainer, RuntimeFailure
from kubelet.runtime.cgroups import CgroupMissing, Cgroups

log = logging.getLogger(__name__)

PARALLEL = 4
"""Questions to the runtime at a time."""
KNOWN = 4096
"""Containers whose cgroup is remembered: a process may move, but its container's cgroup stays."""


class Figures:
    """``ask`` is the runtime's own way to tell of one container, slow and a thread for each."""

    def __init__(self, ask: Callable[[str], Awaitable[ContainerStats]], cgroups: Cgroups | None = None) -> None:
        self._ask = ask
        self._cgroups = cgroups or Cgroups()
        self._paths: dict[str, str] = {}

    async def of(self, containers: Sequence[RuntimeContainer], full: bool) -> Mapping[str, ContainerStats]:
        found = await asyncio.to_thread(self._read, containers, full)
        gate = asyncio.Semaphore(PARALLEL)

        async def ask(container_id: str) -> None:
            async with gate:
                try:
                    found[container_id] = await self._ask(container_id)
                except RuntimeFailure as error:
                    log.debug("no figures of container %s: %s", container_id[:12], error)

        await asyncio.gather(*(ask(each.id) for each in containers if each.id not in found))
        return found

    async def at(self, paths: Sequence[str], full: bool) -> Mapping[str, ContainerStats]:
        return await asyncio.to_thread(self._read_paths, paths, full)

    def _read(self, containers: Sequence[RuntimeContainer], full: bool) -> dict[str, ContainerStats]:
        found: dict[str, ContainerStats] = {}
        for container in containers:
            try:
                path = self._path(container)
                found[container.id] = self._cgroups.stats(path, container.id, full=full)
            except CgroupMissing as error:
                self._paths.pop(container.id, None)
                log.debug("container %s: %s", container.id[:12], error)
        return found

    def _path(self, container: RuntimeContainer) -> str:
        path = self._paths.get(container.id)
        if path is None:
            if not container.pid:
                raise CgroupMissing("its process is not known")
            if len(self._paths) >= KNOWN:
                self._paths.clear()
            path = self._paths[container.id] = self._cgroups.path_of(container.pid, container.id)
        return path

    def _read_paths(self, paths: Sequence[str], full: bool) -> dict[str, ContainerStats]:
        found = {}
        for path in paths:
            try:
                found[path] = self._cgroups.stats(path, full=full)
            except CgroupMissing:
                continue
        return found
