"""Containers, networks and directories of pods that the API server does not know any more."""

from __future__ import annotations

import asyncio
import logging

from kubelet.cri import RuntimeContainer
from kubelet.pods.containers import LABEL_GRACE_PERIOD
from kubelet.pods.files import PodDirectory
from kubelet.pods.identity import DEFAULT_GRACE_PERIOD
from kubelet.pods.observed import PodObservation
from kubelet.pods.terminator import MINIMUM_GRACE
from kubelet.pods.tools import Tools

log = logging.getLogger(__name__)


async def end_orphan(uid: str, observed: PodObservation, tools: Tools, directory: PodDirectory) -> None:
    """Gracefully: its containers may be at work. The grace period is on their labels, their pod is gone."""
    running = observed.running()
    if running:
        log.info("pod %s is not known to the API server any more: ending its containers", uid)
    async with asyncio.TaskGroup() as group:
        for container in running:
            grace = _grace(container)
            stopping = tools.runtime.stop_container(container.id, max(MINIMUM_GRACE, grace), hurry=grace == 0)
            group.create_task(stopping)
    for sandbox in observed.sandboxes:
        if sandbox.running:
            await tools.runtime.stop_sandbox(sandbox.id)
    await tools.network.teardown_pod(uid)
    await tools.volumes.unmount(uid)
    for each in [*observed.all_containers(), *observed.sandboxes]:
        await tools.runtime.remove_container(each.id)
    await tools.cgroups.remove(uid)
    await asyncio.to_thread(directory.remove)
    await tools.logs.remove(uid)


def _grace(container: RuntimeContainer) -> int:
    text = container.labels.get(LABEL_GRACE_PERIOD, "")
    return int(text) if text.isdigit() else DEFAULT_GRACE_PERIOD
