"""A pod worker on the machine's real Docker, with everything around it (API server, network, volumes) replaced.

Images are made from the machine's static busybox; every container is marked with a node name of its own, by which all
are removed afterwards.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service

from common.api.status import NotFound
from kubelet.images import ImageManager
from kubelet.logs.keeper import LogKeeper
from kubelet.logs.paths import LogPaths
from kubelet.pods.backoff import Backoff
from kubelet.pods.handlers import Handlers
from kubelet.pods.tools import Tools
from kubelet.pods.worker import PodWorker
from kubelet.runtime.docker import DockerRuntime
from kubelet.runtime.naming import LABEL_NODE
from kubelet.runtime.spec import LogLimits
from kubelet.types import KubeletConfig, MountedVolume, PodNetworkStatus, PortMapping
from kubelet.volumes.subpath import SubPaths

BUSYBOX = Path("/bin/busybox")
LIMIT = 30.0


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """Also serves as the sandbox's image."""
    api = docker.APIClient()
    tag = f"cox-test-{uuid.uuid4().hex[:8]}:v1"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(BUSYBOX, "bin/busybox")
        for applet in ("sh", "sleep", "cat", "echo", "env", "httpd", "true", "false", "touch", "id", "kill", "nc"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for directory in ("tmp", "etc", "dev", "proc", "sys"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(entry)
    repository, _, version = tag.partition(":")
    changes = ['CMD ["sh","-c","trap \'exit 0\' TERM; while true; do sleep 3600 & wait $!; done"]']
    api.import_image_from_data(buffer.getvalue(), repository=repository, tag=version, changes=changes)
    yield tag
    api.remove_image(tag, force=True)


@dataclass
class FakeClient:
    """Takes what the kubelet writes. While ``away`` it answers as a dead server does."""

    patches: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    away: bool = False

    async def patch(self, kind: Any, name: str, patch: Any, namespace: str, *, subresource: str) -> Pod:
        if self.away:
            raise ConnectionRefusedError("no API server")
        self.patches.append(patch)
        return Pod.from_dict({"metadata": {"name": name, "namespace": namespace}})

    async def delete(self, kind: Any, name: str, namespace: str, *, grace_period_seconds: int, uid: str) -> None:
        if self.away:
            raise ConnectionRefusedError("no API server")
        assert grace_period_seconds == 0
        self.deleted.append(uid)


@dataclass
class FakeNetwork:
    pods: dict[str, str] = field(default_factory=dict)

    async def setup_pod(self, sandbox_pid: int, pod_uid: str, ports: Sequence[PortMapping] = ()) -> PodNetworkStatus:
        assert Path(f"/proc/{sandbox_pid}").exists()
        return PodNetworkStatus(self.pods.setdefault(pod_uid, f"10.99.0.{len(self.pods) + 2}"))

    async def teardown_pod(self, pod_uid: str) -> None:
        self.pods.pop(pod_uid, None)

    async def pod_ip(self, pod_uid: str) -> str | None:
        return self.pods.get(pod_uid)


@dataclass
class FakeVolumes:
    paths: dict[str, MountedVolume] = field(default_factory=dict)
    unmounted: list[str] = field(default_factory=list)

    async def mount(self, pod: Pod) -> dict[str, MountedVolume]:
        return self.paths

    async def unmount(self, pod_uid: str) -> None:
        self.unmounted.append(pod_uid)


@dataclass
class FakeObjects:
    config_maps: dict[str, ConfigMap] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)

    async def config_map(self, namespace: str, name: str) -> ConfigMap:
        if name not in self.config_maps:
            raise NotFound(f'configmaps "{name}" not found')
        return self.config_maps[name]

    async def secret(self, namespace: str, name: str) -> Secret:
        if name not in self.secrets:
            raise NotFound(f'secrets "{name}" not found')
        return self.secrets[name]


@dataclass
class FakeRecorder:
    events: list[tuple[str, str, str]] = field(default_factory=list)

    def event(self, obj: Any, type: str, reason: str, message: str, *, field_path: str | None = None) -> None:
        self.events.append((type, reason, message))

    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.events]


class Node:
    """A kubelet's pods' side without its manager."""

    def __init__(self, root: Path, image: str) -> None:
        self.name = f"test-{uuid.uuid4().hex[:8]}"
        self.image = image
        self.runtime = DockerRuntime(self.name)
        self.client, self.network, self.volumes = FakeClient(), FakeNetwork(), FakeVolumes()
        self.objects, self.recorder = FakeObjects(), FakeRecorder()
        self.services, self.services_read = list[Service](), asyncio.Event()
        self.services_read.set()
        self.config = KubeletConfig(
            node_name=self.name,
            cluster_dns=("10.250.0.10",),
            node_ips=("192.0.2.1",),
            pod_infra_container_image=image,
            root_dir=str(root),
            pod_log_dir=str(root / "log" / "pods"),
            container_log_dir=str(root / "log" / "containers"),
            capacity={"cpu": 2000, "memory": 4 << 30},
        )
        self.handlers = Handlers(self.runtime)
        paths = LogPaths(self.config.pod_log_dir, self.config.container_log_dir)
        self.logs = LogKeeper(paths, root / "logs", LogLimits())
        self.workers: dict[str, PodWorker] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.events: asyncio.Task[None] | None = None

    def tools(self) -> Tools:
        images = ImageManager(self.runtime, self.recorder, self.objects, parallel_pulls=2, backoff=Backoff())
        return Tools(
            config=self.config,
            client=self.client,  # type: ignore[arg-type]
            runtime=self.runtime,
            network=self.network,
            volumes=self.volumes,
            objects=self.objects,
            images=images,
            recorder=self.recorder,
            handlers=self.handlers,
            services=lambda namespace: self.services if self.services_read.is_set() else [],
            services_read=self.services_read.wait,
            bind_sub_path=SubPaths(Path(self.config.root_dir)).bind,
            logs=self.logs,
            restarts=Backoff(),
            starts=asyncio.Semaphore(8),
        )

    def pod(self, *, command: str = "", **spec: Any) -> Pod:
        container: dict[str, Any] = {"name": "app", "image": self.image}
        if command:
            container["command"] = ["sh", "-c", command]
        body = {"terminationGracePeriodSeconds": 5, "nodeName": self.name, "containers": [container], **spec}
        for each in [*body["containers"], *body.get("initContainers", [])]:
            each.setdefault("image", self.image)
        meta = {"name": "web", "namespace": "default", "uid": str(uuid.uuid4())}
        return Pod.from_dict({"metadata": meta, "spec": body})

    def run(self, pod: Pod) -> PodWorker:
        if self.events is None:
            self.events = asyncio.create_task(self._forward())
            self.copying = asyncio.create_task(self.logs.run())
        worker = PodWorker(pod, self.tools())
        self.workers[worker.identity.uid] = worker
        self.tasks[worker.identity.uid] = asyncio.create_task(worker.run())
        return worker

    async def crash(self) -> None:
        """The kubelet ends without a word; containers go on."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.tasks.clear()
        self.workers.clear()

    async def _forward(self) -> None:
        async for event in self.runtime.events():
            if event.kind == "reconnected":
                for worker in self.workers.values():
                    worker.wake()
                continue
            self.logs.touch(event.container_id, ended=event.kind in ("die", "destroy"))
            if event.pod_uid in self.workers:
                self.workers[event.pod_uid].container_event(event.kind, event.container_id)

    async def close(self) -> None:
        if self.events is not None:
            self.events.cancel()
            self.copying.cancel()
        await self.crash()
        for container in await self.runtime.list_containers():
            await self.runtime.remove_container(container.id)
        await self.runtime.close()


@pytest.fixture
async def node(tmp_path: Path, image: str) -> AsyncIterator[Node]:
    node = Node(tmp_path, image)
    yield node
    await node.close()
    left = docker.APIClient().containers(all=True, filters={"label": f"{LABEL_NODE}={node.name}"})
    assert left == []


async def eventually(check: Callable[[], Any | Awaitable[Any]], limit: float = LIMIT) -> Any:
    """The first true value of ``check``, looked at often; fails after ``limit`` seconds."""
    deadline = asyncio.get_running_loop().time() + limit
    while True:
        found = check()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


def app(worker: PodWorker, name: str = "app") -> ContainerStatus:
    """The status of a container as the worker reports it; an empty one before there is any."""
    status = worker.status
    statuses = [*(status.containerStatuses or ()), *(status.initContainerStatuses or ())] if status else []
    found = [each for each in statuses if each.name == name]
    return found[0] if found else ContainerStatus(name=name, image="", imageID="", ready=False, restartCount=0)
