"""The kubelet's :class:`kubelet.cri.Runtime` on Docker.

Lists are cheap for Docker and tell little; inspections tell all and cost more. So what an inspection said is kept for
as long as the list shows the container in the same state, and forgotten when Docker's events say that something
happened to it: a busy node asks Docker about what changed and about nothing else.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from kubelet.cri import (
    LABEL_POD_UID,
    ContainerConfig,
    ContainerState,
    ContainerStats,
    ExecResult,
    ExecSession,
    ImageStatus,
    PodSandboxConfig,
    RegistryAuth,
    Resources,
    RuntimeContainer,
    RuntimeEvent,
    RuntimeFailure,
    RuntimeInfo,
    RuntimeNotFound,
    RuntimeUnavailable,
    RuntimeVersion,
    Stream,
)
from kubelet.oom import OOMWatcher
from kubelet.runtime import inspect, spec
from kubelet.runtime.commands import EXEC_OUTPUT, DockerCommands
from kubelet.runtime.engine import Engine
from kubelet.runtime.figures import Figures
from kubelet.runtime.firsts import FirstProcesses
from kubelet.runtime.images import DockerImages
from kubelet.runtime.naming import LABEL_NODE
from kubelet.runtime.processes import is_deaf
from kubelet.runtime.streams import back_off, json_objects

log = logging.getLogger(__name__)

EVENTS = ("start", "die", "oom", "destroy", "pause", "unpause")
STOP_SIGNAL = "SIGTERM"
STOP_POLL = 1.0
"""Seconds between looks at a container that should end, should the event of its end be lost."""
_LOCALHOST = "localhost/"
# What runc says when it may not lower oom_score_adj: it needs CAP_SYS_RESOURCE, which a node may be without.
OOM_REFUSALS = ("oom_score_adj", "can't get final child's PID")


class DockerRuntime:
    def __init__(
        self,
        node_name: str,
        socket_path: str = "/var/run/docker.sock",
        *,
        logs: spec.LogLimits = spec.DEFAULT_LIMITS,
        seccomp_root: Path = Path("/var/lib/kubelet/seccomp"),
        oom: OOMWatcher | None = None,
    ) -> None:
        """``node_name`` marks the containers as this kubelet's: those of another node on the same Docker (in tests,
        or of a node under its former name) are none of its business. ``oom`` knows of the kills that Docker was not
        told of."""
        self._node_label = f"{LABEL_NODE}={node_name}"
        self._node_labels = {LABEL_NODE: node_name}
        self._log_limits = logs
        self._seccomp_root = seccomp_root
        self._engine = Engine(socket_path)
        self._images = DockerImages(self._engine)
        self._commands = DockerCommands(self._engine, socket_path)
        self._figures = Figures(self.stats)
        self._known: dict[str, tuple[str, RuntimeContainer]] = {}
        self._exits: dict[str, asyncio.Event] = {}
        self._stop_signals: dict[str, str] = {}
        """Of containers that run and have been looked at."""
        self._negative_oom_score_refused = False
        self._oom = oom or OOMWatcher()
        self._firsts = FirstProcesses()
        self._root = ""

    async def close(self) -> None:
        await self._engine.close()

    # -- the machine ------------------------------------------------------------------------------------------------

    async def version(self) -> RuntimeVersion:
        raw = await self._engine.get("/version")
        return RuntimeVersion("docker", raw["Version"], raw["ApiVersion"])

    async def info(self) -> RuntimeInfo:
        raw = await self._engine.get("/info")
        return RuntimeInfo(
            cpus=int(raw["NCPU"]),
            memory_bytes=int(raw["MemTotal"]),
            storage_driver=raw["Driver"],
            cgroup_driver=raw.get("CgroupDriver", ""),
            cgroup_version=raw.get("CgroupVersion", "1"),
            kernel_version=raw["KernelVersion"],
            operating_system=raw["OperatingSystem"],
            os_type=raw["OSType"],
            architecture=raw["Architecture"],
            root_dir=raw["DockerRootDir"],
        )

    async def _root_dir(self) -> str:
        if not self._root:
            self._root = str((await self._engine.get("/info"))["DockerRootDir"])
        return self._root

    # -- sandboxes --------------------------------------------------------------------------------------------------

    async def run_sandbox(self, config: PodSandboxConfig) -> str:
        try:
            return await self._create_and_start(config)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            if config.resources.oom_score_adj >= 0 or not _refuses_oom_score(error):
                raise
        sandbox_id = await self._create_and_start(_without_negative_score(config))
        self._remember_refusal()
        return sandbox_id

    async def _create_and_start(self, config: PodSandboxConfig) -> str:
        if self._negative_oom_score_refused:
            config = _without_negative_score(config)
        container_id = await self._create(spec.sandbox_name(config), spec.sandbox_body(config, self._node_labels))
        try:
            await self._engine.begin(f"/containers/{container_id}/start")
        except RuntimeUnavailable:
            raise
        except RuntimeFailure:
            await self.remove_container(container_id)
            raise
        return container_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self.stop_container(sandbox_id, 0)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.remove_container(sandbox_id)

    async def list_sandboxes(self, pod_uid: str | None = None) -> list[RuntimeContainer]:
        return [container for container in await self.list_containers(pod_uid) if container.is_sandbox]

    # -- containers -------------------------------------------------------------------------------------------------

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        if self._negative_oom_score_refused:
            config = dataclasses.replace(config, resources=_non_negative(config.resources))
        profile = await asyncio.to_thread(self._seccomp_text, config)
        body = spec.container_body(sandbox_id, config, self._node_labels, self._log_limits, profile)
        container_id = await self._create(spec.app_name(config), body)
        self._firsts.created(container_id, config.cgroup_parent)
        return container_id

    def _seccomp_text(self, config: ContainerConfig) -> str:
        """Docker wants the text of a profile, in JSON; the file is on this machine."""
        place = config.security.seccomp
        if not place.startswith(_LOCALHOST):
            return ""
        path = self._seccomp_root / place.removeprefix(_LOCALHOST)
        failed = f'failed to generate security options for container "{config.name}": failed to load seccomp profile'
        try:
            return json.dumps(json.loads(path.read_bytes()))
        except OSError as error:
            raise RuntimeFailure(f"{failed}: open {path}: {(error.strerror or '').lower()}") from error
        except ValueError as error:
            raise RuntimeFailure(f"{failed}: {path} is no JSON: {error}") from error

    async def _create(self, name: str, body: dict[str, Any]) -> str:
        async def create() -> str:  # under the name that it has at the time
            return str((await self._engine.begin("/containers/create", {"name": name}, body))["Id"])

        try:
            return await create()
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            if "is already in use by container" not in str(error):
                raise
        # Left by an attempt whose answer was lost: nobody has started to count on it.
        await self.remove_container(name)
        try:
            return await create()
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            if "is already in use by container" not in str(error):
                raise
        # Docker has not done with removing it, and may never have: labels tell what it is, the name is for people.
        name = f"{name}_{secrets.token_hex(4)}"
        return await create()

    async def start_container(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        try:
            await self._engine.begin(f"/containers/{container_id}/start")
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            if _refuses_oom_score(error) and await self._oom_score(container_id) < 0:
                self._remember_refusal()
            raise
        await self._firsts.started(container_id)

    async def stop_container(self, container_id: str, timeout: int, *, hurry: bool = False) -> None:
        """Signals and waits on the loop: Docker's own stop would hold a thread for the whole grace period."""
        ended = self._exits.setdefault(container_id, asyncio.Event())
        try:
            if timeout > 0 and not (hurry and self._is_deaf(container_id)):
                signal = await self._stop_signal(container_id)
                if not await self._signal(container_id, signal) or await self._exited(container_id, ended, timeout):
                    return
            if await self._signal(container_id, "SIGKILL") and not await self._exited(container_id, ended, 30):
                raise RuntimeFailure(f"container {container_id[:12]} does not end after SIGKILL")
        except RuntimeNotFound:
            return
        finally:
            self._known.pop(container_id, None)
            self._exits.pop(container_id, None)

    def _is_deaf(self, container_id: str) -> bool:
        known = self._known.get(container_id)
        return known is not None and is_deaf(known[1].pid, container_id)

    async def _stop_signal(self, container_id: str) -> str:
        """The image's, or the usual one; looked up once."""
        known = self._stop_signals.get(container_id)
        if known is None:
            raw = await self._engine.get(f"/containers/{container_id}/json")
            known = str(raw["Config"].get("StopSignal") or STOP_SIGNAL)
        return known

    async def _signal(self, container_id: str, signal: str) -> bool:
        """False when it has ended already."""
        try:
            await self._engine.post(f"/containers/{container_id}/kill", {"signal": signal})
        except RuntimeFailure as error:
            if "is not running" not in str(error):
                raise
            return False
        return True

    async def _exited(self, container_id: str, ended: asyncio.Event, timeout: float) -> bool:
        """Waits for the event of its end; looks now and then, since events can be missed."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not ended.is_set():
            remaining = deadline - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(0, min(STOP_POLL, remaining))):
                    await ended.wait()
            except TimeoutError:
                raw = await self._engine.get(f"/containers/{container_id}/json")
                if not raw["State"].get("Running"):
                    return True
                if remaining <= STOP_POLL:
                    return False
        return True

    async def remove_container(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        self._stop_signals.pop(container_id, None)
        try:
            await self._engine.delete(f"/containers/{container_id}", {"v": "1", "force": "1"})
        except RuntimeNotFound:
            return
        except RuntimeFailure as error:
            if "is already in progress" not in str(error):
                raise

    async def update_container_resources(self, container_id: str, resources: Resources) -> None:
        limits = {
            "CpuShares": resources.cpu_shares,
            "CpuPeriod": resources.cpu_period,
            "CpuQuota": resources.cpu_quota,
            "Memory": resources.memory_bytes,  # one that is there is never taken away
            "MemorySwap": resources.memory_bytes,
        }
        self._known.pop(container_id, None)
        changed = {key: value for key, value in limits.items() if value}
        await self._engine.post(f"/containers/{container_id}/update", body=changed)
        self._known.pop(container_id, None)

    async def list_containers(self, pod_uid: str | None = None) -> list[RuntimeContainer]:
        label = LABEL_POD_UID if pod_uid is None else f"{LABEL_POD_UID}={pod_uid}"
        filters = json.dumps({"label": [label, self._node_label]})
        rows = await self._engine.get("/containers/json", {"all": "1", "filters": filters})
        if pod_uid is None:
            present = {row["Id"] for row in rows}
            self._known = {key: value for key, value in self._known.items() if key in present}
            self._stop_signals = {key: value for key, value in self._stop_signals.items() if key in present}
            self._firsts.keep(present)
        found = [await self._look(row["Id"], row["State"]) for row in rows]
        return [container for container in found if container is not None]

    async def _look(self, container_id: str, listed_state: str) -> RuntimeContainer | None:
        known = self._known.get(container_id)
        if known is not None and known[0] == listed_state:
            return known[1]
        try:
            raw = await self._engine.get(f"/containers/{container_id}/json")
        except RuntimeNotFound:
            return None
        container = inspect.container(raw, await self._root_dir())
        if _ran(container) and not container.oom_killed and await self._lacked_memory(container_id):
            log.info("container %s lacked memory; Docker was not told", container_id[:12])
            container = dataclasses.replace(container, oom_killed=True)
        if container.is_sandbox and container.running and int(raw["HostConfig"].get("OomScoreAdj") or 0) >= 0:
            # An earlier run of the kubelet found out that this host refuses negative scores.
            self._negative_oom_score_refused = True
        if raw["State"].get("Status") == listed_state:
            self._known[container_id] = (listed_state, container)
        if container.running:
            self._stop_signals[container_id] = str(raw["Config"].get("StopSignal") or STOP_SIGNAL)
        return container

    async def _lacked_memory(self, container_id: str) -> bool:
        """What Docker may not have been told."""
        first = self._firsts.of(container_id)
        return await self._oom.killed_in(container_id) or (
            first is not None and await self._oom.killed_process(first.pid, first.since)
        )

    async def container_pid(self, container_id: str) -> int:
        raw = await self._engine.get(f"/containers/{container_id}/json")
        if raw["State"].get("Status") == "running":
            self._known[container_id] = ("running", inspect.container(raw, await self._root_dir()))
        return int(raw["State"].get("Pid") or 0)

    async def writable_layer(self, container_id: str) -> str:
        raw = await self._engine.get(f"/containers/{container_id}/json")
        return str(((raw.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir") or "")

    async def _oom_score(self, container_id: str) -> int:
        raw = await self._engine.get(f"/containers/{container_id}/json")
        return int(raw["HostConfig"].get("OomScoreAdj") or 0)

    def _remember_refusal(self) -> None:
        if not self._negative_oom_score_refused:
            log.warning("this host refuses negative oom_score_adj values; containers get 0 instead")
        self._negative_oom_score_refused = True

    # -- images -----------------------------------------------------------------------------------------------------

    async def image_status(self, ref: str) -> ImageStatus | None:
        return await self._images.status(ref)

    async def pull_image(self, ref: str, auth: RegistryAuth | None) -> str:
        return await self._images.pull(ref, auth)

    async def list_images(self) -> list[ImageStatus]:
        return await self._images.list()

    async def remove_image(self, ref: str) -> None:
        await self._images.remove(ref)

    # -- streams ----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        filters = json.dumps({"type": ["container"], "event": list(EVENTS), "label": [LABEL_POD_UID, self._node_label]})
        failures = 0
        while True:
            try:
                async with self._engine.stream("GET", "/events", {"filters": filters}) as chunks:
                    failures = 0
                    self._known.clear()
                    yield RuntimeEvent("reconnected")
                    async for raw in json_objects(chunks):
                        event = self._event(raw)
                        if event.kind == "reconnected":
                            self._known.clear()
                        yield event
            except RuntimeFailure as error:
                log.warning("Docker's events are away: %s", error)
            await back_off(failures)
            failures += 1

    def _event(self, raw: dict[str, Any] | None) -> RuntimeEvent:
        """What cannot be read may have been anything: all is looked at anew."""
        event = inspect.event(raw)
        if event is None:
            return RuntimeEvent("reconnected")
        if event.kind != "start":
            self._known.pop(event.container_id, None)
        waiter = self._exits.get(event.container_id)
        if waiter is not None and event.kind in ("die", "destroy"):
            waiter.set()
        return event

    def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[tuple[Stream, bytes]]:
        return self._commands.logs(
            container_id, follow=follow, tail=tail, since=since, timestamps=timestamps, limit_bytes=limit_bytes
        )

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool = False, stdin: bool = False
    ) -> ExecSession:
        return (await self._commands.exec(container_id, command, tty=tty, stdin=stdin))[1]

    async def exec_sync(
        self, container_id: str, command: Sequence[str], timeout: float, *, limit: int = EXEC_OUTPUT
    ) -> ExecResult:
        return await self._commands.exec_sync(container_id, command, timeout, limit=limit)

    async def attach(self, container_id: str, *, tty: bool = False, stdin: bool = False) -> ExecSession:
        return await self._commands.attach(container_id, tty=tty, stdin=stdin)

    async def stats(self, container_id: str) -> ContainerStats:
        raw = await self._engine.get(f"/containers/{container_id}/stats", {"stream": "false", "one-shot": "true"})
        if inspect.parse_time(raw.get("read")) is None:  # zeros: of a container in a sandbox without Docker's network
            raise RuntimeFailure(f"Docker has no figures of container {container_id[:12]}")
        return inspect.stats(container_id, raw)

    async def stats_of(
        self, containers: Sequence[RuntimeContainer], *, full: bool = False
    ) -> Mapping[str, ContainerStats]:
        return await self._figures.of(containers, full)

    async def cgroup_stats(self, paths: Sequence[str], *, full: bool = False) -> Mapping[str, ContainerStats]:
        return await self._figures.at(paths, full)


def _ran(container: RuntimeContainer) -> bool:
    return container.state is ContainerState.EXITED and container.started is not None


def _refuses_oom_score(error: RuntimeFailure) -> bool:
    return any(text in str(error) for text in OOM_REFUSALS)


def _non_negative(resources: Resources) -> Resources:
    return dataclasses.replace(resources, oom_score_adj=max(0, resources.oom_score_adj))


def _without_negative_score(config: PodSandboxConfig) -> PodSandboxConfig:
    return dataclasses.replace(config, resources=_non_negative(config.resources))
