"""A node on a Docker of its own: one that stops and starts again beneath it, and whose disk is full of images."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest
import requests
import urllib3

from tests.e2e.node.machine import _COMMAND, _PATH, ROOT, Machine, image_archive, unmount_below
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

    @contextmanager
    def begun(self) -> Iterator[list[str]]:
        """The containers that are created and started until the engine ends."""
        begun: list[str] = []
        client = docker.APIClient(f"unix://{self.socket}")
        events = client.events(decode=True, filters={"type": "container", "event": ["create", "start"]})

        def listen() -> None:
            with suppress(docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError):
                begun.extend(f"{event['Action']} {event['Actor']['Attributes']['name']}" for event in events)

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield begun
        finally:
            listener.join(60)
            client.close()

    def load(self) -> str:
        client = docker.APIClient(f"unix://{self.socket}")
        client.import_image_from_data(image_archive(), repository="cox-test", tag="v1", changes=[_COMMAND, _PATH])
        client.close()
        return "cox-test:v1"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("engine"))
    subprocess.run(["ip", "netns", "add", engine.space], check=True)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        unmount_below(engine.root)
        subprocess.run(["ip", "netns", "del", engine.space], check=True)


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("lonely"), engine.load(), docker_socket=str(engine.socket)) as machine:
        machine.start()
        yield machine


PULLED = """
import sys
from tests.e2e.node.machine import image_archive
from tests.e2e.node.registry import Registry
with Registry() as registry:
    for name in ("used", "idle"):
        registry.add(name, image_archive(), Cmd=["sleep", "600"], Labels={"for": name})
    print(registry.host, flush=True)
    sys.stdin.read()
"""


@contextmanager
def registry_beside(engine: Engine) -> Iterator[str]:
    """The name of a registry in the engine's network namespace."""
    inside = ["nsenter", f"--net=/run/netns/{engine.space}"]
    subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
    words = [*inside, sys.executable, "-c", PULLED]
    running = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
    finally:
        running.communicate("")


def test_a_disk_full_of_images(engine: Engine, lonely: Machine) -> None:
    """What no container has goes and is pulled again when it is wanted; what came from no registry stays."""
    with Namespace(lonely) as kubectl, registry_beside(engine) as host:
        for name in ("used", "idle"):
            kubectl.pod(name, container={"image": f"{host}/{name}:v1"})
        for name in ("used", "idle"):
            kubectl.running(name)
        kubectl("delete", "pod", "idle")
        assert images(lonely) == {f"{host}/used:v1", f"{host}/idle:v1", lonely.image}  # with a threshold of 100
        low = {"image_gc_high_threshold": 1, "image_gc_low_threshold": 0}
        with lonely.kubelet_with(**low):
            eventually("the idle one is gone", lambda: images(lonely) == {f"{host}/used:v1", lonely.image})
            event = lonely.kubectl().event("FreeDiskSpaceFailed", lonely.node)
            assert event["message"].startswith(
                "Failed to garbage collect required amount of images. Attempted to free "
            )
            kubectl.pod("again", container={"image": f"{host}/idle:v1"})
            kubectl.running("again")
            assert kubectl.running("used")["status"]["phase"] == "Running"
        assert images(lonely) == {f"{host}/used:v1", f"{host}/idle:v1", lonely.image}
        refused = lonely.kubelet_refuses(image_gc_high_threshold=70, image_gc_low_threshold=80)
        assert "LowThresholdPercent 80 can not be higher than HighThresholdPercent 70" in refused


def images(machine: Machine) -> set[str]:
    client = machine.docker()
    try:
        return {tag for image in client.images() for tag in image["RepoTags"] or ()}
    finally:
        client.close()


def test_docker_stops_and_starts_again(engine: Engine, lonely: Machine) -> None:
    machine = lonely
    leaves = "trap 'exit 0' TERM; while :; do sleep 0.2; done"
    with Namespace(machine) as kubectl:
        kubectl.pod("one", container={"command": ["sh", "-c", leaves]})
        kubectl.pod("two")  # which Docker waits for, some seconds
        before = {name: kubectl.running(name) for name in ("one", "two")}
        with engine.begun() as begun:
            engine.stop()

        def told() -> bool:
            ready = machine.conditions()["Ready"]
            return ready["status"] == "False" and ready["message"] == "container runtime is down"

        eventually("the node is not ready", told)
        machine.kubectl().event("NodeNotReady", machine.node)
        engine.start()
        assert begun == [], "an engine on its way out was given containers"
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
