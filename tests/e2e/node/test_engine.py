"""Docker stops and starts again beneath a node: the node says so, and all its pods come back.

The test has a Docker of its own, and a node on it.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.e2e.node.machine import _COMMAND, _PATH, Machine, image_archive
from tests.e2e.node.support import Namespace, container_status, eventually


class Engine:
    """A second dockerd, in folders and a network namespace of its own: at its start it removes the bridge of an
    engine that has one, which may be this machine's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.space = f"cox-engine-{uuid.uuid4().hex[:8]}"
        self.socket = root / "docker.sock"
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        folders = {name: self.root / name for name in ("data", "exec", "pid")}
        command = ["nsenter", f"--net=/run/netns/{self.space}", "dockerd", f"--host=unix://{self.socket}"]
        command += [f"--data-root={folders['data']}"]
        command += [f"--exec-root={folders['exec']}", f"--pidfile={folders['pid']}", "--bridge=none"]
        command += ["--iptables=false", "--ip6tables=false", "--ip-masq=false", "--log-level=error"]
        command += [f"--cgroup-parent=/cox-{uuid.uuid4().hex[:8]}"]
        with (self.root / "dockerd.log").open("ab") as log:
            self._running = subprocess.Popen(command, stdout=log, stderr=log)
        eventually("dockerd answers", self.answers)

    def answers(self) -> bool:
        assert self._running is not None and self._running.poll() is None, (self.root / "dockerd.log").read_text()
        try:
            client = docker.APIClient(f"unix://{self.socket}", timeout=5)
            try:
                return bool(client.ping())
            finally:
                client.close()
        except (docker.errors.DockerException, OSError):
            return False

    def stop(self) -> None:
        if self._running is not None:
            self._running.terminate()
            try:
                self._running.wait(30)
            except subprocess.TimeoutExpired:
                self._running.kill()
                self._running.wait()
        self._running = None

    def load(self) -> str:
        client = docker.APIClient(f"unix://{self.socket}")
        client.import_image_from_data(image_archive(), repository="cox-test", tag="v1", changes=[_COMMAND, _PATH])
        client.close()
        return "cox-test:v1"


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("engine"))
    subprocess.run(["ip", "netns", "add", engine.space], check=True)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        subprocess.run(["ip", "netns", "del", engine.space], check=True)


def test_docker_stops_and_starts_again(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> None:
    root = tmp_path_factory.mktemp("lonely")
    with Machine(root, engine.load(), docker_socket=str(engine.socket)) as machine:
        machine.start()
        with Namespace(machine) as kubectl:
            for name in ("one", "two"):
                kubectl.pod(name)
            before = {name: kubectl.running(name) for name in ("one", "two")}
            engine.stop()

            def told() -> bool:
                ready = machine.conditions()["Ready"]
                return ready["status"] == "False" and ready["message"] == "container runtime is down"

            eventually("the node is not ready", told)
            machine.kubectl().event("NodeNotReady", machine.node)
            engine.start()
            eventually("the node is ready", machine.node_ready)

            def restored(name: str) -> bool:
                pod = kubectl.find("pod", name) or {}
                status = container_status(pod)
                old = container_status(before[name])
                return bool(status.get("ready")) and status["containerID"] != old["containerID"]

            for name in before:
                eventually(f"pod {name} runs again", lambda name=name: restored(name))  # type: ignore[misc]
                assert kubectl.sh("hostname", name) == name
            kubectl.pod("three")
            kubectl.running("three")
