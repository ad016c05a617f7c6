"""What a kubelet makes of a Docker that talks nonsense, and of one that is gone for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import docker
import pytest

from kubelet.cri import RuntimeEvent, RuntimeUnavailable
from kubelet.runtime.docker import DockerRuntime
from tests.integration.kubelet.conftest import Node, app, eventually
from tests.integration.kubelet.docker_proxy import DockerProxy


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[DockerProxy]:
    proxy = DockerProxy(tmp_path / "docker.sock")
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def behind(proxy: DockerProxy, node: Node) -> AsyncIterator[Node]:
    """A node whose Docker is behind the proxy."""
    direct, node.runtime = node.runtime, DockerRuntime(node.name, proxy.path)
    yield node
    if node.events is not None:
        node.events.cancel()
        await asyncio.gather(node.events, return_exceptions=True)
    await node.crash()
    await node.runtime.close()
    node.runtime = direct


@pytest.mark.parametrize(
    "line",
    [
        b'{"Type":"container","Action":"di\n',
        b"\x00\xff\x80 no JSON\n",
        b"[]\n",
        b'"die"\n',
        b'{"Action":null,"Actor":[]}\n',
        b'{"Action":"die","Actor":{"ID":7,"Attributes":null}}\n',
        b"[" * 100_000 + b"\n",
    ],
)
async def test_nonsense_among_the_events_is_passed_over(proxy: DockerProxy, line: bytes) -> None:
    runtime = DockerRuntime("nobody", proxy.path)
    events = runtime.events()
    async with asyncio.timeout(20):
        assert await anext(events) == RuntimeEvent("reconnected")
        follower = proxy.followers[0]
        proxy.say(line)
        assert await anext(events) == RuntimeEvent("reconnected")  # it may have been anything: all is looked at anew
        proxy.say(b'{"Action":"die","Actor":{"ID":"c1","Attributes":{"io.kubernetes.pod.uid":"u1"}}}\n')
        assert await anext(events) == RuntimeEvent("die", "c1", "u1")
        assert proxy.followers == [follower]
    await runtime.close()


async def test_a_line_without_an_end_ends_the_stream_and_not_the_kubelet(proxy: DockerProxy) -> None:
    runtime = DockerRuntime("nobody", proxy.path)
    events = runtime.events()
    async with asyncio.timeout(20):
        await anext(events)
        first = proxy.followers[0]
        for _ in range(40):
            proxy.say(b"x" * 65_536)
        assert await anext(events) == RuntimeEvent("reconnected")
        assert proxy.followers[-1] is not first
    await runtime.close()


async def test_a_docker_that_was_gone_is_caught_up_with(proxy: DockerProxy, behind: Node) -> None:
    """Its restart has ended every container, and nobody was there to tell."""
    worker = behind.run(behind.pod())
    await eventually(lambda: app(worker).ready)
    uid = worker.identity.uid
    await proxy.stop()
    api = docker.APIClient()
    for container in api.containers(filters={"label": f"coxswain.io/node={behind.name}"}):
        api.kill(container["Id"])
    with pytest.raises(RuntimeUnavailable):
        await behind.runtime.version()
    await proxy.start()

    def running() -> set[str]:
        found = api.containers(filters={"label": f"coxswain.io/node={behind.name}"})
        return {name for each in found for name in each["Names"]}

    await eventually(lambda: running() == {f"/k8s_POD_web_default_{uid}_1", f"/k8s_app_web_default_{uid}_1"})
    await eventually(lambda: app(worker).ready and app(worker).restartCount == 1)
    assert worker.status is not None and worker.status.phase == "Running"
