"""Starting: a pod's sandbox with its network, and one container in it.

Each step that fails says so in an event and in the waiting state of its container, in upstream's words, and the pod's
worker tries again later.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from lightkube.models.core_v1 import Container, ObjectReference
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret
from lightkube.resources.node_v1 import RuntimeClass

from common.api.status import NotFound, StatusError
from kubelet.cri import (
    ContainerState,
    ImageStatus,
    RuntimeContainer,
    RuntimeFailure,
    RuntimeNotFound,
    RuntimeUnavailable,
)
from kubelet.images import ImageError
from kubelet.pods.containers import Inputs, PodFiles, container_config, port_mappings, sandbox_config
from kubelet.pods.environment import (
    ConfigError,
    PodFacts,
    References,
    make_environment,
    referred,
    service_variables,
)
from kubelet.pods.files import MISSING_DNS, PodDirectory, dns_problems, missing_dns
from kubelet.pods.handlers import Target
from kubelet.pods.identity import find_ephemeral, identity_of, spec_of
from kubelet.pods.observed import PodObservation
from kubelet.pods.slots import StartSlot
from kubelet.pods.status import Waiting
from kubelet.pods.tools import Tools
from kubelet.types import KubeletConfig, MountedVolume, NetworkError

T = TypeVar("T")
POST_START_LIMIT = 86400.0
"""Seconds; upstream has none."""
SERVICES_LIMIT = 5.0
RETRY = timedelta(seconds=10)


class SandboxError(Exception):
    """The sandbox could not be made; said in an event already."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A pod that is ready for its containers."""

    sandbox_id: str
    pod_ips: tuple[str, ...]
    volumes: Mapping[str, MountedVolume]


class StartFailed(Exception):
    """Why a container did not start, and when to try again."""

    def __init__(self, waiting: Waiting, retry: timedelta = RETRY, *, hook_failed: bool = False) -> None:
        """``hook_failed``: the container runs and must be ended, its postStart hook has failed."""
        super().__init__(waiting.message or waiting.reason)
        self.waiting = waiting
        self.retry = retry
        self.hook_failed = hook_failed


class Starter:
    def __init__(self, tools: Tools, directory: PodDirectory) -> None:
        self._tools = tools
        self._directory = directory

    # -- the sandbox ------------------------------------------------------------------------------------------------

    async def start_sandbox(self, pod: Pod, attempt: int) -> str:
        """Gives the new sandbox's id. Raises SandboxError, RuntimeUnavailable."""
        try:
            return await self._run_sandbox(pod, attempt)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            raise self._sandbox_failed(pod, str(error)) from error

    async def connect(self, pod: Pod, sandbox_id: str) -> None:
        """Gives a sandbox in which nothing runs yet its network, also one that an interrupted attempt left without.

        Raises SandboxError (the sandbox is removed then), RuntimeUnavailable.
        """
        if spec_of(pod).hostNetwork:
            return
        tools = self._tools
        try:
            pid = await tools.runtime.container_pid(sandbox_id)
            await tools.network.setup_pod(pid, identity_of(pod).uid, port_mappings(pod))
        except (NetworkError, RuntimeNotFound) as error:
            await tools.runtime.remove_sandbox(sandbox_id)
            message = f'failed to set up sandbox container "{sandbox_id}" network for pod'
            raise self._sandbox_failed(pod, f'{message} "{identity_of(pod).name}": {error}') from error

    async def _run_sandbox(self, pod: Pod, attempt: int) -> str:
        try:
            config = sandbox_config(pod, await self._config(pod), attempt, await self._handler(pod))
        except ConfigError as error:
            raise self._sandbox_failed(pod, str(error)) from error
        for reason, text in await asyncio.to_thread(dns_problems, pod, self._tools.config):
            self._tools.event(pod, "Warning", reason, text)
        if text := missing_dns(pod, self._tools.config):
            name = self._tools.config.node_name
            node = ObjectReference(kind="Node", name=name, uid=name)
            self._tools.recorder.event(node, "Warning", MISSING_DNS, text)
        try:
            return await self._tools.runtime.run_sandbox(config)
        except RuntimeNotFound:
            await self._tools.images.ensure_infra(config.image)
            return await self._tools.runtime.run_sandbox(config)

    async def _config(self, pod: Pod) -> KubeletConfig:
        """With the pod's own cgroup, which is there then. Raises RuntimeFailure."""
        tools, spec, uid = self._tools, spec_of(pod), identity_of(pod).uid
        try:
            await tools.cgroups.ensure(spec, uid)
        except OSError as error:
            message = f"unable to ensure pod container exists: {error}"
            tools.event(pod, "Warning", "FailedCreatePodContainer", message)
            raise RuntimeFailure(message) from error
        return dataclasses.replace(tools.config, cgroup_parent=tools.cgroups.parent(spec, uid))

    async def _handler(self, pod: Pod) -> str:
        """What the pod's RuntimeClass names; https://kubernetes.io/docs/concepts/containers/runtime-class/"""
        spec = spec_of(pod)
        if spec.hostUsers is False:
            raise RuntimeFailure("can't set `spec.hostUsers: false`, runtime does not support user namespaces")
        if not spec.runtimeClassName:
            return ""
        try:
            found = await self._tools.client.get(RuntimeClass, spec.runtimeClassName)
        except StatusError as error:
            raise RuntimeFailure(f"failed to get RuntimeClass {spec.runtimeClassName}: {error.message}") from error
        return found.handler

    def _sandbox_failed(self, pod: Pod, why: str) -> SandboxError:
        message = f"Failed to create pod sandbox: {why}"
        self._tools.event(pod, "Warning", "FailedCreatePodSandBox", message)
        return SandboxError(message)

    # -- a container ------------------------------------------------------------------------------------------------

    async def start(
        self, pod: Pod, container: Container, observed: PodObservation, prepared: Prepared, slot: StartSlot
    ) -> None:
        """Raises StartFailed, RuntimeUnavailable."""
        latest = observed.latest(container.name)
        self._hold_back(pod, container, latest)
        image = await slot.lend(self._image(pod, container))
        attempt = self._attempt(pod, container, latest)
        try:
            target = target_id(pod, container.name, observed)
            inputs = await self._inputs(pod, container, image, attempt, prepared, target)
            config = await asyncio.to_thread(container_config, pod, container, await self._config(pod), inputs)
        except ConfigError as error:
            self._failed(pod, container, f"Error: {error}")
            raise StartFailed(Waiting("CreateContainerConfigError", str(error))) from error
        try:
            if latest is not None and latest.state is ContainerState.CREATED:
                await self._tools.runtime.remove_container(latest.id)  # an earlier kubelet did not come to start it
            container_id = await self._tools.runtime.create_container(prepared.sandbox_id, config)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            self._failed(pod, container, f"Error: {error}")
            raise StartFailed(Waiting("CreateContainerError", str(error))) from error
        self._tools.event(pod, "Normal", "Created", f"Created container: {container.name}", container.name)
        await self._run(pod, container, container_id)
        await self._post_start(pod, container, container_id, prepared, slot)

    def _hold_back(self, pod: Pod, container: Container, latest: RuntimeContainer | None) -> None:
        """CrashLoopBackOff: a container that has ended runs again after a growing wait, the first time at once."""
        if latest is None or latest.finished is None:
            return
        identity, restarts = identity_of(pod), self._tools.restarts
        key = f"{identity.uid}/{container.name}"
        wait = restarts.remaining_since(key, latest.finished)
        if not wait:
            restarts.next(key, latest.finished)
            return
        text = f"Back-off restarting failed container {container.name} in pod {identity}"
        self._tools.event(pod, "Warning", "BackOff", text, container.name)
        delay = _go_seconds(restarts.delay(key))
        message = f"back-off {delay} restarting failed container={container.name} pod={identity}"
        raise StartFailed(Waiting("CrashLoopBackOff", message), wait)

    async def _image(self, pod: Pod, container: Container) -> ImageStatus:
        try:
            return await self._tools.images.ensure(pod, container)
        except ImageError as error:
            self._failed(pod, container, f"Error: {error.reason}")
            wait = self._tools.images.wait(pod, container.image or "") or 10.0
            # After a failed pull the state moves on to ImagePullBackOff before the wait is over.
            retry = min(wait, 5.0) if error.reason == "ErrImagePull" else wait
            raise StartFailed(Waiting(error.reason, error.message), timedelta(seconds=retry)) from error

    def _attempt(self, pod: Pod, container: Container, latest: RuntimeContainer | None) -> int:
        if latest is not None:
            return latest.attempt if latest.state is ContainerState.CREATED else latest.attempt + 1
        status = pod.status
        known = [*(status.initContainerStatuses or ()), *(status.containerStatuses or ())] if status else []
        old = next((each for each in known if each.name == container.name), None)
        # Its containers have been removed by somebody else: the count goes on.
        return old.restartCount + bool(old.containerID) if old is not None else 0

    async def _inputs(
        self, pod: Pod, container: Container, image: ImageStatus, attempt: int, prepared: Prepared, target: str
    ) -> Inputs:
        tools, spec, namespace = self._tools, spec_of(pod), identity_of(pod).namespace
        await self._wait_for_services()
        facts = PodFacts(prepared.pod_ips, tools.host_ips(), tools.config.capacity)
        services = service_variables(
            [*tools.services(namespace), *tools.services("default")], namespace, spec.enableServiceLinks is not False
        )
        env = make_environment(pod, container, facts, await self._references(container, namespace), services)
        files = await asyncio.to_thread(self._files, pod, container, attempt, prepared)
        handler = await self._handler(pod)
        return Inputs(image, attempt, env, prepared.volumes, files, tools.bind_sub_path, target, handler)

    async def _wait_for_services(self) -> None:
        """Without them the container would never learn where the API server is. Raises ConfigError."""
        try:
            async with asyncio.timeout(SERVICES_LIMIT):
                await self._tools.services_read()
        except TimeoutError:
            text = "services have not yet been read at least once, cannot construct envvars"
            raise ConfigError(text) from None

    def _files(self, pod: Pod, container: Container, attempt: int, prepared: Prepared) -> PodFiles:
        shared = self._directory.prepare(pod, prepared.pod_ips, self._tools.config)
        termination_log = self._directory.termination_log(container.name, attempt)
        return PodFiles(shared.hosts, shared.resolv_conf, termination_log)

    async def _references(self, container: Container, namespace: str) -> References:
        map_names, secret_names = referred([container])
        config_maps: dict[str, ConfigMap | None] = {}
        secrets: dict[str, Secret | None] = {}
        try:
            for name in map_names:
                config_maps[name] = await _optional(self._tools.objects.config_map(namespace, name))
            for name in secret_names:
                secrets[name] = await _optional(self._tools.objects.secret(namespace, name))
        except StatusError as error:
            raise ConfigError(error.message) from error
        return References(config_maps, secrets)

    async def _run(self, pod: Pod, container: Container, container_id: str) -> None:
        try:
            await self._tools.runtime.start_container(container_id)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            self._failed(pod, container, f"Error: {error}")
            raise StartFailed(Waiting("RunContainerError", str(error))) from error
        await self._tools.cgroups.started(spec_of(pod), identity_of(pod).uid, container_id)
        self._tools.event(pod, "Normal", "Started", f"Started container {container.name}", container.name)

    async def _post_start(
        self, pod: Pod, container: Container, container_id: str, prepared: Prepared, slot: StartSlot
    ) -> None:
        """As upstream, the hook has no limit but the pod's end: its pod waits for it."""
        handler = container.lifecycle.postStart if container.lifecycle else None
        if handler is None:
            return
        target = Target(container, container_id, prepared.pod_ips[0] if prepared.pod_ips else "")
        outcome = await slot.lend(self._tools.handlers.hook(handler, target, POST_START_LIMIT))
        if outcome.warning:
            self._tools.event(pod, "Warning", "LifecycleHTTPFallback", outcome.warning)
        if outcome.ok:
            return
        self._tools.event(pod, "Warning", "FailedPostStartHook", "PostStartHook failed", container.name)
        raise StartFailed(Waiting("PostStartHookError", outcome.output), hook_failed=True)

    def _failed(self, pod: Pod, container: Container, message: str) -> None:
        self._tools.event(pod, "Warning", "Failed", message, container.name)


def target_id(pod: Pod, name: str, observed: PodObservation) -> str:
    """The container that an ephemeral one looks at, "" for none. Raises ConfigError."""
    ephemeral = find_ephemeral(spec_of(pod), name)
    wanted = ephemeral.targetContainerName if ephemeral is not None else None
    if not wanted:
        return ""
    latest = observed.latest(wanted)
    if latest is None:
        raise ConfigError(f"unable to find target container {wanted}")
    return latest.id


async def _optional(fetch: Awaitable[T]) -> T | None:
    try:
        return await fetch
    except NotFound:
        return None


def _go_seconds(delay: timedelta) -> str:
    """As Go prints whole seconds: 40s, 1m20s, 5m0s."""
    minutes, seconds = divmod(int(delay.total_seconds()), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
