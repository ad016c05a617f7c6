"""A real etcd, the real API server and the real controller manager, each a process; and kubelets that are hollow."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Pod

from common.api.status import NotFound, StatusError
from common.client import Client, ClusterConfig
from common.controller import Controller
from common.informer import Informer

TOKENS = """\
admin-token,kubernetes-admin,1,"system:masters"
kcm-token,system:kube-controller-manager,2
"""
WAIT_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = WAIT_SECONDS) -> Any:
    """Waits until `check` returns something true, and returns that. Fails with its last answer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = await check()
        except NotFound as error:
            answer = None
            last: Any = error
        else:
            last = answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {seconds} s: {last!r}")
        await asyncio.sleep(0.05)


@dataclass
class ControlPlane:
    """Where the API server is."""

    server: str
    directory: Path

    def config(self, token: str = "admin-token") -> ClusterConfig:
        return ClusterConfig(server=self.server, token=token)


MANAGER_FLAGS = (
    "--allocate-node-cidrs",
    "--cluster-cidr=10.244.0.0/16",
    "--node-monitor-period=200ms",
    "--node-monitor-grace-period=2s",
    "--leader-elect-lease-duration=3s",
    "--leader-elect-renew-deadline=2s",
    "--leader-elect-retry-period=500ms",
)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("control-plane")
    client, peer, port = free_port(), free_port(), free_port()
    (directory / "tokens.csv").write_text(TOKENS)
    subprocess.run(["openssl", "genrsa", "-out", directory / "sa.key", "2048"], check=True, capture_output=True)
    etcd_flags = [
        f"--data-dir={directory}/etcd",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    ]
    server_flags = [
        f"--etcd-servers=http://127.0.0.1:{client}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--token-auth-file={directory}/tokens.csv",
        f"--service-account-key-file={directory}/sa.key",
        f"--service-account-signing-key-file={directory}/sa.key",
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        with (directory / "log").open("wb") as log:
            started.append(subprocess.Popen(["etcd", *etcd_flags], stdout=log, stderr=log))
            command = [sys.executable, "-m", "apiserver", *server_flags]
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        plane = ControlPlane(f"http://127.0.0.1:{port}", directory)
        _wait_ready(plane, started[-1])
        yield plane
    finally:
        for process in reversed(started):
            stop(process)


def _wait_ready(plane: ControlPlane, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{plane.server}/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("the API server is not ready:\n" + (plane.directory / "log").read_text()[-3000:])


class Manager:
    """The controller manager, which may be killed and started again."""

    def __init__(self, plane: ControlPlane) -> None:
        self._directory = plane.directory
        self._kubeconfig = plane.directory / "kcm.kubeconfig"
        self._kubeconfig.write_text(
            f"clusters: [{{name: c, cluster: {{server: '{plane.server}'}}}}]\n"
            "users: [{name: u, user: {token: kcm-token}}]\n"
            "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
            "current-context: x\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "controller_manager", "--secure-port=0", f"--kubeconfig={self._kubeconfig}"]
        with (self._directory / "controller-manager.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *MANAGER_FLAGS], stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process)


@pytest.fixture(scope="session")
def manager(control_plane: ControlPlane) -> Iterator[Manager]:
    made = Manager(control_plane)
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    async with Client(control_plane.config()) as made:
        yield made


@pytest.fixture
async def namespace(client: Client, manager: Manager, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    base = request.node.name.removeprefix("test_").replace("_", "-")[:40].rstrip("-")
    made = await client.create(Namespace(metadata=ObjectMeta(generateName=f"{base}-")))
    assert made.metadata is not None and made.metadata.name is not None
    return made.metadata.name


@dataclass
class Kubelets:
    """Hollow kubelets, and a scheduler of a sort: pods get a node, an address, and are ready when they may be."""

    client: Client
    nodes: list[str] = field(default_factory=lambda: ["hollow-1"])
    may_be_ready: Callable[[Pod], bool] = lambda pod: True

    def __post_init__(self) -> None:
        self.pods: Informer[Pod] = Informer(self.client, Pod)
        self._loop = Controller("hollow", self._sync, workers=8)
        self._addresses = 0
        self.pods.add_handler(self._loop.enqueue, lambda _, new: self._loop.enqueue(new))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pods.run())
            tasks.create_task(self._loop.run())

    async def _sync(self, key: str) -> float | None:
        pod = self.pods.store.get(key)
        if pod is None:
            return None
        assert pod.metadata is not None and pod.spec is not None
        name, namespace = pod.metadata.name or "", pod.metadata.namespace
        try:
            if pod.metadata.deletionTimestamp is not None:
                await self.client.delete(Pod, name, namespace, grace_period_seconds=0)
            elif not pod.spec.nodeName:
                await self._bind(name, namespace)
            elif pod.spec.nodeName in self.nodes:
                return await self._run_pod(pod, name, namespace)
        except NotFound:
            return None
        return None

    async def _bind(self, name: str, namespace: str | None) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": self.nodes[hash(name) % len(self.nodes)]}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self.client.post_subresource(Pod, name, "binding", body, namespace)

    async def _run_pod(self, pod: Pod, name: str, namespace: str | None) -> float | None:
        ready = self.may_be_ready(pod)
        conditions = (pod.status and pod.status.conditions) or []
        known = next((c.status for c in conditions if c.type == "Ready"), None)
        if known != str(ready):
            self._addresses += 1
            address = (
                pod.status and pod.status.podIP
            ) or f"10.244.{self._addresses // 250}.{self._addresses % 250 + 1}"
            status = {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            }
            await self.client.patch(Pod, name, {"status": status}, namespace, subresource="status")
        return None if ready else 0.1


@pytest.fixture
async def kubelets(client: Client) -> AsyncIterator[Kubelets]:
    made = Kubelets(client)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    try:
        await task
    except (asyncio.CancelledError, StatusError):
        pass
