"""Static pods on a real Docker, with a real API server and without one."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Node as NodeObject
from lightkube.resources.core_v1 import Pod

from common.client import Client, ClusterConfig
from common.informer import InformerFactory
from kubelet.manager import PodManager
from kubelet.staticpods.files import ManifestFolder
from tests.integration.kubelet.conftest import Node, eventually

NAME = "node-a"
Run = Callable[[ClusterConfig], Any]


@pytest.fixture
async def run(node: Node, tmp_path: Path) -> AsyncIterator[Run]:
    """Starts a kubelet's pods' side with the manifests of ``tmp_path/manifests``."""
    (tmp_path / "manifests").mkdir()
    async with AsyncExitStack() as stack:
        tasks: list[asyncio.Task[None]] = []

        async def start(cluster: ClusterConfig) -> PodManager:
            client = await stack.enter_async_context(Client(cluster))
            informers = InformerFactory(client)
            nodes = informers.informer(NodeObject)
            manager = PodManager(
                dataclasses.replace(node.config, node_name=NAME),
                client,
                runtime=node.runtime,
                network=node.network,
                volumes=node.volumes,
                objects=node.objects,
                recorder=node.recorder,
                logs=node.logs,
                informers=informers,
                node=lambda: nodes.store.get(NAME),
            )
            folder = ManifestFolder(tmp_path / "manifests", NAME, lambda _: None)
            for part in (informers.run(), manager.run(), folder.run(manager.set_static, 0.1)):
                tasks.append(asyncio.create_task(part))
            return manager

        yield start
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def admin(apiserver: Any) -> AsyncIterator[Client]:
    async with Client(ClusterConfig.from_kubeconfig(apiserver.kubeconfig())) as client:
        await client.create(NodeObject.from_dict({"metadata": {"name": NAME}}))
        yield client
        await client.delete(NodeObject, NAME)


def write(tmp_path: Path, node: Node, mark: str) -> None:
    scratch = tmp_path / "web.yaml"
    scratch.write_text(
        f"""
apiVersion: v1
kind: Pod
metadata: {{name: web}}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 2
  containers:
  - {{name: app, image: "{node.image}", env: [{{name: MARK, value: "{mark}"}}]}}
"""
    )
    scratch.rename(tmp_path / "manifests" / "web.yaml")


async def containers(node: Node) -> dict[str, str]:
    """The running app containers by id, with their pod's uid."""
    found = await node.runtime.list_containers()
    return {each.id: each.pod_uid for each in found if each.running and not each.is_sandbox}


async def test_a_static_pod_has_a_mirror_that_comes_back(
    run: Run, node: Node, tmp_path: Path, admin: Client, apiserver: Any
) -> None:
    write(tmp_path, node, "one")
    manager = await run(ClusterConfig.from_kubeconfig(apiserver.kubeconfig(f"kubelet-{NAME}")))

    async def mirror() -> Pod | None:
        pods: Any = (await admin.list(Pod, "default")).items
        return next((pod for pod in pods if pod.metadata.name == f"web-{NAME}"), None)

    async def ready(but: str = "") -> Pod | None:
        pod = await mirror()
        known = pod is not None and pod.metadata is not None and pod.metadata.uid != but
        return pod if known and pod and pod.status and pod.status.phase == "Running" else None

    first: Any = await eventually(ready)
    [(container, uid)] = (await containers(node)).items()
    annotations = first.metadata.annotations
    assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"] == uid
    assert annotations["kubernetes.io/config.source"] == "file"
    assert [owner.kind for owner in first.metadata.ownerReferences] == ["Node"]
    assert first.status.containerStatuses[0].containerID == f"docker://{container}"
    assert manager.running_container_id("default", f"web-{NAME}", None, "app") == container

    await admin.delete(Pod, f"web-{NAME}", "default")
    again: Any = await eventually(lambda: ready(first.metadata.uid))
    assert again.status.containerStatuses[0].restartCount == 0
    assert await containers(node) == {container: uid}  # read-only: the pod itself has not noticed

    write(tmp_path, node, "two")
    changed: Any = await eventually(lambda: ready(again.metadata.uid))
    assert changed.spec.containers[0].env[0].value == "two"
    [(after, uid_after)] = (await containers(node)).items()
    assert after != container and uid_after != uid

    (tmp_path / "manifests" / "web.yaml").unlink()

    async def gone() -> bool:
        return await mirror() is None and await node.runtime.list_containers() == []

    await eventually(gone)


async def test_a_static_pod_needs_no_api_server(run: Run, node: Node, tmp_path: Path, apiserver: Any) -> None:
    cluster = ClusterConfig.from_kubeconfig(apiserver.kubeconfig(f"kubelet-{NAME}"))
    write(tmp_path, node, "one")
    await run(dataclasses.replace(cluster, server="https://127.0.0.1:1"))
    before = await eventually(lambda: containers(node))
    write(tmp_path, node, "two")

    async def replaced() -> bool:
        now = await containers(node)
        return bool(now) and now.keys().isdisjoint(before)

    await eventually(replaced)
    assert len(await containers(node)) == 1
