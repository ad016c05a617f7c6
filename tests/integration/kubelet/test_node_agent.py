"""A node's registration, status and Lease on a real API server, under the node's own identity."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node

from common.client import Client, ClusterConfig
from common.events import EventRecorder
from kubelet.cri import ImageStatus, RuntimeUnavailable, RuntimeVersion
from kubelet.node.agent import NodeAgent
from kubelet.node.lease import NodeLease
from kubelet.node.status import NodeIdentity

NAME = "node-a"


class Runtime:
    away = False

    async def version(self) -> RuntimeVersion:
        if self.away:
            raise RuntimeUnavailable("no docker")
        return RuntimeVersion("docker", "20.10.24", "1.41")

    async def list_images(self) -> list[ImageStatus]:
        return [ImageStatus("sha256:1", ("busybox:1.35",), (), 5)]


@pytest.fixture
async def client(apiserver: Any) -> AsyncIterator[Client]:
    async with Client(ClusterConfig.from_kubeconfig(apiserver.kubeconfig(f"kubelet-{NAME}"))) as client:
        yield client


@pytest.fixture
async def admin(apiserver: Any) -> AsyncIterator[Client]:
    async with Client(ClusterConfig.from_kubeconfig(apiserver.kubeconfig())) as client:
        yield client
        await client.delete(Node, NAME)


async def test_a_node_registers_reports_and_beats(client: Client, admin: Client, tmp_path: Path) -> None:
    runtime = Runtime()
    identity = NodeIdentity(NAME, ("127.0.0.1",), {"room": "lab"})
    recorder = EventRecorder(client, "kubelet", NAME)
    agent = NodeAgent(client, runtime, recorder, identity, tmp_path)  # type: ignore[arg-type]
    await agent.register()
    await agent.update()
    node = await admin.get(Node, NAME)
    assert node.metadata is not None and node.metadata.labels is not None and node.status is not None
    assert node.metadata.labels["room"] == "lab"
    assert {condition.type: condition.status for condition in node.status.conditions or []} == {
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
        "NetworkUnavailable": "False",
        "Ready": "True",
    }
    assert [image.names for image in node.status.images or []] == [["busybox:1.35"]]

    version = node.metadata.resourceVersion
    await agent.update()
    unchanged = await admin.get(Node, NAME)
    assert unchanged.metadata is not None and unchanged.metadata.resourceVersion == version

    runtime.away = True
    await agent.update()
    node = await admin.get(Node, NAME)
    assert node.status is not None
    ready = next(condition for condition in node.status.conditions or [] if condition.type == "Ready")
    assert (ready.status, ready.message) == ("False", "container runtime is down")

    again = NodeAgent(client, runtime, recorder, identity, tmp_path)  # type: ignore[arg-type]
    await again.register()

    lease = NodeLease(client, NAME)
    await lease.renew()
    first = await admin.get(Lease, NAME, "kube-node-lease")
    await lease.renew()
    second = await admin.get(Lease, NAME, "kube-node-lease")
    assert first.spec is not None and second.spec is not None and first.metadata is not None
    assert second.spec.renewTime is not None and first.spec.renewTime is not None
    assert second.spec.renewTime > first.spec.renewTime
    assert [owner.name for owner in first.metadata.ownerReferences or []] == [NAME]
