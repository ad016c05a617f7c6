"""What pods use: memory and processes from the runtime, disk from their containers' layers, logs and volumes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lightkube.resources.core_v1 import Pod

from common.api.meta import meta_of
from kubelet.cri import ContainerStats, Runtime, RuntimeContainer, RuntimeFailure
from kubelet.eviction.ranking import ContainerUsage, PodUsage
from kubelet.types import DiskUsage, Volumes
from kubelet.volumes.usage import tree_usage

log = logging.getLogger("kubelet.eviction")

_PARALLEL = 4


class Measure:
    """Asked when there is a reason to: nothing here is free."""

    def __init__(self, runtime: Runtime, volumes: Volumes, log_path: Callable[[RuntimeContainer], Path]) -> None:
        """``log_path`` gives a container's log; what lies beside it are its earlier ones."""
        self._log_path = log_path
        self._runtime = runtime
        self._volumes = volumes
        self._gate = asyncio.Semaphore(_PARALLEL)

    async def pods(self, pods: Iterable[Pod], *, memory: bool = False, disk: bool = False) -> dict[str, PodUsage]:
        """By uid. Pods without a container that was ever made are not in it. Raises RuntimeFailure."""
        groups: dict[str, dict[str, RuntimeContainer]] = {}
        for container in sorted(await self._runtime.list_containers(), key=lambda each: (each.attempt, each.created)):
            groups.setdefault(container.pod_uid, {})[container.name] = container
        found = [(pod, groups[uid]) for pod in pods if (uid := meta_of(pod).uid or "") in groups]
        running = [container for _, held in found for container in held.values() if container.running]
        stats = await self._runtime.stats_of(running) if memory else {}
        usages = await asyncio.gather(*(self._pod(pod, held, stats, disk) for pod, held in found))
        return {meta_of(pod).uid or "": usage for (pod, _), usage in zip(found, usages, strict=True)}

    async def _pod(
        self, pod: Pod, held: Mapping[str, RuntimeContainer], stats: Mapping[str, ContainerStats], disk: bool
    ) -> PodUsage:
        names = list(held)
        usages = await asyncio.gather(*(self._container(held[name], stats.get(held[name].id), disk) for name in names))
        volumes = await self._volumes.usage(pod) if disk else {}
        return PodUsage(dict(zip(names, usages, strict=True)), volumes)

    async def _container(self, container: RuntimeContainer, stats: ContainerStats | None, disk: bool) -> ContainerUsage:
        layer = logs = None
        if disk:
            async with self._gate:
                try:
                    path = await self._runtime.writable_layer(container.id)
                    layer = await asyncio.to_thread(_layer, path)
                    logs = await asyncio.to_thread(tree_usage, self._log_path(container).parent)
                except RuntimeFailure as error:
                    log.debug("container %s is not measured: %s", container.id[:12], error)
        if stats is None:
            return ContainerUsage(layer=layer, logs=logs)
        return ContainerUsage(stats.memory_working_set_bytes, stats.pids, layer, logs)


def _layer(path: str) -> DiskUsage | None:
    """None where the runtime's files are not this process's to see."""
    return tree_usage(path) if path and os.path.isdir(path) else None
