"""Ending: preStop hooks, SIGTERM, the grace period, SIGKILL; then the sandbox and its network.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from lightkube.models.core_v1 import PodSpec
from lightkube.resources.core_v1 import Pod

from kubelet.cri import RuntimeContainer
from kubelet.pods.actions import is_sidecar
from kubelet.pods.handlers import Outcome, Target
from kubelet.pods.identity import find_container, grace_period, identity_of, spec_of
from kubelet.pods.observed import PodObservation
from kubelet.pods.tools import Tools

MINIMUM_GRACE = 2
"""Seconds that a container has from SIGTERM on, however short its grace period and however long its preStop hook."""


class Terminator:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._hooked: set[str] = set()

    async def kill_containers(self, pod: Pod, observed: PodObservation, grace: int, pod_ip: str) -> None:
        """All hooks at once. Sidecars then wait for the containers that they serve and for the sidecars after them, but
        not beyond the grace period."""
        running = observed.running()
        ended = {container.name: asyncio.Event() for container in running}
        async with asyncio.TaskGroup() as group:
            for container in running:
                before = [ended[name] for name in ends_before(spec_of(pod), container.name) if name in ended]
                group.create_task(self._kill_in_turn(pod, container, grace, pod_ip, before, ended[container.name]))

    async def _kill_in_turn(
        self,
        pod: Pod,
        container: RuntimeContainer,
        grace: int,
        pod_ip: str,
        before: list[asyncio.Event],
        ended: asyncio.Event,
    ) -> None:
        try:
            await self.kill(pod, container, grace, pod_ip, before=before)
        finally:
            ended.set()

    async def kill(
        self,
        pod: Pod,
        container: RuntimeContainer,
        grace: int,
        pod_ip: str,
        message: str = "",
        before: Iterable[asyncio.Event] = (),
    ) -> None:
        """Says so once, runs the hook once: it is called again when the grace period becomes shorter. ``before``: what
        must have ended first."""
        began = time.monotonic()
        if container.id not in self._hooked:
            self._hooked.add(container.id)
            text = message or f"Stopping container {container.name}"
            self._tools.event(pod, "Normal", "Killing", text, container.name)
            if grace > 0:
                await self._pre_stop(pod, container, grace, pod_ip)
        try:
            async with asyncio.timeout(max(0.0, grace - (time.monotonic() - began))):
                for each in before:
                    await each.wait()
        except TimeoutError:
            pass
        left = max(float(MINIMUM_GRACE), grace - (time.monotonic() - began))
        await self._tools.runtime.stop_container(container.id, round(left), hurry=grace_period(pod) == 0)

    async def _pre_stop(self, pod: Pod, running: RuntimeContainer, grace: int, pod_ip: str) -> None:
        container = find_container(spec_of(pod), running.name)
        handler = container.lifecycle.preStop if container is not None and container.lifecycle else None
        if container is None or handler is None:
            return
        try:
            async with asyncio.timeout(grace):
                target = Target(container, running.id, pod_ip)
                outcome: Outcome | None = await self._tools.handlers.hook(handler, target, grace)
        except TimeoutError:
            outcome = None
        if outcome is None or not outcome.ok:
            self._tools.event(pod, "Warning", "FailedPreStopHook", "PreStopHook failed", container.name)
        elif outcome.warning:
            self._tools.event(pod, "Warning", "LifecycleHTTPFallback", outcome.warning)

    async def stop_sandboxes(self, pod: Pod, observed: PodObservation) -> None:
        for sandbox in observed.sandboxes:
            if sandbox.running:
                await self._tools.runtime.stop_sandbox(sandbox.id)
        if not spec_of(pod).hostNetwork:
            await self._tools.network.teardown_pod(identity_of(pod).uid)

    async def remove_all(self, observed: PodObservation) -> None:
        """Removes what has ended, containers before their sandboxes."""
        for container in observed.all_containers():
            await self._tools.runtime.remove_container(container.id)
            self._hooked.discard(container.id)
        for sandbox in observed.sandboxes:
            await self._tools.runtime.remove_sandbox(sandbox.id)


def ends_before(spec: PodSpec, name: str) -> list[str]:
    """Whose end a container waits for: a sidecar for the app containers and for the sidecars that started after it."""
    sidecars = [container.name for container in spec.initContainers or () if is_sidecar(container)]
    if name not in sidecars:
        return []
    return [*(container.name for container in spec.containers), *sidecars[sidecars.index(name) + 1 :]]
