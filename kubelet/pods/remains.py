"""What a pod's containers leave on the node while it lives: links to their logs, and runs that newer ones replace."""

from __future__ import annotations

import asyncio

from common.api.time import now
from kubelet.containergc import surplus
from kubelet.pods.files import PodDirectory
from kubelet.pods.observed import PodObservation
from kubelet.pods.tools import Tools


class Remains:
    def __init__(self, tools: Tools, directory: PodDirectory) -> None:
        self._tools = tools
        self._directory = directory
        self._linked: set[str] = set()
        """Ids of containers whose logs can be found."""

    async def link_logs(self, observed: PodObservation) -> None:
        containers = observed.all_containers()
        fresh = [each for each in containers if each.id not in self._linked and each.started is not None]
        if fresh:
            await self._tools.logs.link(fresh)
            self._linked = {each.id for each in containers if each.started is not None}

    async def remove_superseded(self, observed: PodObservation) -> None:
        """Those beyond what --maximum-dead-containers-per-container keeps."""
        present = [*observed.all_containers(), *observed.sandboxes]
        for container in surplus(present, self._tools.config, now()):
            await self._tools.runtime.remove_container(container.id)
            if not container.is_sandbox:
                await asyncio.to_thread(self._directory.remove_termination_log, container.name, container.attempt)
                await self._tools.logs.unlink(container)
