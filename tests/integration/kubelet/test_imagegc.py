"""An image with several names is removed from a real Docker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import docker
import pytest

from kubelet.cri import ImageStatus
from kubelet.imagegc import Disk, GCPolicy, ImageGC
from kubelet.runtime.docker import DockerRuntime
from tests.integration.kubelet.conftest import Node
from tests.integration.kubelet.test_runtime import start


class PulledOnly(DockerRuntime):
    """Shows one image, as if it had come from a registry."""

    shown = ""

    async def list_images(self) -> list[ImageStatus]:
        found = await self.image_status(self.shown)
        if found is None:
            return []
        return [ImageStatus(found.id, found.tags, (f"cox-test@sha256:{'0' * 64}",), found.size)]


async def test_an_image_goes_when_nothing_uses_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    api = docker.APIClient()
    made = api.commit((await start(node, "sleep", "1000")), repository=node.name, tag="one")["Id"]
    api.tag(made, node.name, "two")
    runtime = PulledOnly(node.name)
    runtime.shown = f"{node.name}:one"
    said: list[str] = []
    at = datetime.now(UTC)
    gc = ImageGC(runtime, GCPolicy(), node.image, lambda reason, _: said.append(reason), lambda: at)

    async def full() -> Disk:
        return Disk(100, 0)

    monkeypatch.setattr(gc, "_disk", full)
    try:
        node.image, pod_image = runtime.shown, node.image
        await start(node, "sleep", "1000")
        assert await gc.collect() == 0  # a container has it
        assert await runtime.image_status(made) is not None
        node.image = pod_image
        for container in await node.runtime.list_containers():
            if container.image_id == made:
                await node.runtime.remove_container(container.id)
        at += timedelta(minutes=3)
        said.clear()
        assert await gc.collect() > 0 and said == []
        assert await runtime.image_status(made) is None
    finally:
        await runtime.close()
        for tag in ("one", "two"):
            if api.images(f"{node.name}:{tag}"):
                api.remove_image(f"{node.name}:{tag}", force=True)
