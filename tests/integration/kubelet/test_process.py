"""The kubelet as a process: killed at any moment and started again, while no API server answers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
import yaml

from kubelet.runtime.naming import LABEL_NODE
from tests.integration.conftest import free_port
from tests.integration.kubelet.conftest import eventually
from tests.integration.kubelet.test_node_server import context_of

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: "IMAGE"}]
"""


class Kubelet:
    def __init__(self, command: list[str], address: str, name: str) -> None:
        self.command, self.address, self.name = command, address, name
        self.process: Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(*self.command)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def containers(self) -> list[str]:
        """Ids, running or not."""
        found = docker.APIClient().containers(all=True, filters={"label": f"{LABEL_NODE}={self.name}"})
        return sorted(each["Id"] for each in found)


@pytest.fixture
async def kubelet(tmp_path: Path, certificates: Path, image: str) -> AsyncIterator[Kubelet]:
    name, port = f"test-{uuid.uuid4().hex[:8]}", free_port()
    (tmp_path / "manifests").mkdir()
    config = yaml.safe_load((certificates / "kubelet-node-a.conf").read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    (tmp_path / "kubelet.conf").write_text(yaml.safe_dump(config))
    flags = {
        "kubeconfig": tmp_path / "kubelet.conf",
        "hostname-override": name,
        "node-ip": "127.0.0.1",
        "address": "127.0.0.1",
        "port": port,
        "root-dir": tmp_path / "kubelet",
        "pod-log-dir": tmp_path / "log" / "pods",
        "pod-manifest-path": tmp_path / "manifests",
        "file-check-frequency": "200ms",
        "image-gc-high-threshold": 100,
        "pod-infra-container-image": image,
        "tls-cert-file": certificates / "kubelet-node-a.crt",
        "tls-private-key-file": certificates / "kubelet-node-a.key",
        "client-ca-file": certificates / "ca.crt",
    }
    command = [sys.executable, "-m", "kubelet", *(f"--{flag}={value}" for flag, value in flags.items())]
    kubelet = Kubelet(command, f"127.0.0.1:{port}", name)
    async with AsyncExitStack() as stack:
        # Its root folder is a mount of its own: it stays for a successor.
        stack.push_async_callback(asyncio.to_thread, subprocess.run, ["umount", "-R", "-l", tmp_path / "kubelet"])
        stack.push_async_callback(asyncio.to_thread, lambda: [remove(each) for each in kubelet.containers()])
        stack.push_async_callback(kubelet.kill)
        yield kubelet


def remove(container: str) -> None:
    docker.APIClient().remove_container(container, force=True, v=True)


async def test_a_kubelet_that_is_killed_finds_its_pods_again(
    kubelet: Kubelet, tmp_path: Path, certificates: Path, image: str
) -> None:
    context = context_of(certificates, "apiserver-kubelet-client", tmp_path)
    manifest = tmp_path / "manifests" / "web.yaml"
    manifest.write_text(MANIFEST.replace("IMAGE", image))
    async with httpx.AsyncClient(verify=context) as client:

        async def running() -> Any:
            try:
                pods = (await client.get(f"https://{kubelet.address}/pods")).json()["items"]
            except httpx.TransportError:
                return None
            status = pods[0].get("status", {}) if pods else {}
            return status if status.get("phase") == "Running" else None

        await kubelet.start()
        before = (await eventually(running))["containerStatuses"][0]
        containers = kubelet.containers()
        assert len(containers) == 2
        for _ in range(2):
            await kubelet.kill()
            await kubelet.start()
            after = (await eventually(running))["containerStatuses"][0]
            assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
            assert kubelet.containers() == containers
        manifest.unlink()
        await eventually(lambda: kubelet.containers() == [])
        await eventually(lambda: list((tmp_path / "log" / "pods").iterdir()) == [])
