"""What is looked at, and what the node gives up before any pod: ended pods' containers and images that nothing uses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from lightkube.resources.core_v1 import Pod

from common.api.meta import meta_of
from common.api.pods import is_terminal
from kubelet.cri import ContainerState, Runtime, RuntimeFailure
from kubelet.node.machine import Usage, read_usage

log = logging.getLogger("kubelet.eviction")

RUNTIME_SECONDS = 5.0
"""A runtime that hangs must not keep the node from looking at itself."""


class PodList(Protocol):
    def pods(self) -> list[Pod]: ...


class Images(Protocol):
    async def remove_unused(self) -> int: ...


class Reclaimer:
    """``pods_cgroup`` gives the cgroup of all pods, as a path below the hierarchy's root; "" while there is none."""

    def __init__(
        self,
        runtime: Runtime,
        pods: PodList,
        images: Images,
        root_dir: Path,
        pods_cgroup: Callable[[], str] = lambda: "",
    ) -> None:
        self._runtime = runtime
        self._pods = pods
        self._images = images
        self._root_dir = root_dir
        self._pods_cgroup = pods_cgroup
        self._images_dir: Path | None = None

    async def look(self) -> Usage:
        """The images' disk counts as soon as the runtime has said once where it is."""
        if self._images_dir is None:
            try:
                async with asyncio.timeout(RUNTIME_SECONDS):
                    self._images_dir = Path((await self._runtime.info()).root_dir)
            except (RuntimeFailure, TimeoutError) as error:
                log.debug("the images' disk is not known yet: %s", error)
        return await asyncio.to_thread(read_usage, self._root_dir, Path("/"), self._images_dir, self._pods_cgroup())

    async def reclaim(self) -> None:
        ended = {meta_of(pod).uid for pod in self._pods.pods() if is_terminal(pod)}
        for container in await self._runtime.list_containers():
            if container.pod_uid in ended and container.state is ContainerState.EXITED:
                log.info("container %s of an ended pod is removed", container.id[:12])
                await self._runtime.remove_container(container.id)
        freed = await self._images.remove_unused()
        log.info("%d bytes of images were removed", freed)
