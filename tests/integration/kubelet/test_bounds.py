"""Containers and clients that send without an end, or take without an end: what the kubelet keeps of it is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from lightkube.models.core_v1 import Container, ExecAction, HTTPGetAction, Probe
from lightkube.resources.core_v1 import Pod

from kubelet.pods.handlers import MAX_BODY, Handlers, Target
from kubelet.runtime.processes import kill_member
from kubelet.runtime.streams import MAX_FRAME
from tests.integration.kubelet.conftest import Node, app, eventually
from tests.integration.kubelet.test_runtime import start
from tests.integration.kubelet.test_worker import deleting, running

KEPT = 4 << 20
"""Bytes that may be in flight in this process."""


@contextlib.contextmanager
def bounded(limit: int = KEPT) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.fixture
async def endless() -> AsyncIterator[int]:
    """The port of a server whose answers have no end."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"y" * 65_536)
                await writer.drain()
        writer.close()

    asked: list[bytes] = []
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
    assert asked and all(b"accept-encoding" not in head.lower() for head in asked)


async def test_a_probe_reads_the_beginning_of_a_body(node: Node, endless: int) -> None:
    action = HTTPGetAction(port=endless, host="127.0.0.1")
    with bounded():
        outcome = await node.handlers.probe(Probe(httpGet=action, timeoutSeconds=20), Target(Container("c"), "", ""))
    assert outcome.ok and outcome.output == "y" * MAX_BODY


async def test_a_probe_keeps_the_beginning_of_what_a_command_writes(node: Node) -> None:
    container = await start(node, "sleep", "1000")
    command = ["sh", "-c", "i=0; while [ $i -lt 64 ]; do cat /bin/busybox; i=$((i+1)); done; exit 3"]
    with bounded():
        probe = Probe(exec=ExecAction(command=command), timeoutSeconds=60)
        outcome = await node.handlers.probe(probe, Target(Container("c"), container, ""))
    assert not outcome.ok and not outcome.timed_out
    assert len(outcome.output) <= MAX_BODY


async def test_a_command_that_hangs_is_not_left_running(node: Node) -> None:
    container = await start(node, "sleep", "1000")
    handlers = Handlers(node.runtime)
    probe = Probe(exec=ExecAction(command=["sleep", "7777"]), timeoutSeconds=1)
    outcome = await handlers.probe(probe, Target(Container("c"), container, ""))
    assert (outcome.ok, outcome.output) == (False, 'command "sleep 7777" timed out')
    await eventually(lambda: not [each for each in commands(container) if "7777" in each])
    assert commands(container) == ["sleep 1000"]


def commands(container: str) -> list[str]:
    """Of the processes in a container."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and container in (entry / "cgroup").read_text():
                found.append((entry / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode())
    return [each for each in found if each]


async def test_only_members_of_the_container_are_killed(node: Node) -> None:
    other = await asyncio.create_subprocess_exec("sleep", "1000")
    assert not kill_member(other.pid, "0123456789ab")
    assert other.returncode is None
    other.kill()
    await other.wait()
    assert kill_member(other.pid, "0123456789ab")  # nothing is left that could run


async def test_a_long_line_comes_in_parts(node: Node) -> None:
    """1 MiB without an end of line."""
    text = "i=0; while [ $i -lt 1024 ]; do echo -n $x; i=$((i+1)); done"
    container = await start(node, "sh", "-c", f"x=$(echo {'z' * 1024}); {text}")
    total = 0
    with bounded():
        async for _, data in node.runtime.logs(container, follow=True):
            assert len(data) <= MAX_FRAME
            total += data.count(b"z")
    assert total == 1 << 20


async def test_logs_that_nobody_takes_are_not_kept(node: Node) -> None:
    """A container that writes as fast as it can, and a reader who has stopped."""
    container = await start(node, "sh", "-c", "while true; do cat /bin/busybox; done")
    with bounded():
        frames = node.runtime.logs(container, follow=True)
        await anext(frames)
        await eventually(lambda: written(container) > 64 << 20)
        await anext(frames)
        await frames.aclose()  # type: ignore[attr-defined]


async def test_a_command_waits_for_whoever_does_not_read(node: Node) -> None:
    container = await start(node, "sleep", "1000")
    with bounded():
        session = await node.runtime.exec(container, ["sh", "-c", "while true; do cat /bin/busybox; done"])
        await anext(session.frames())
        await eventually(lambda: settled(container))
        await session.close()


async def settled(container: str) -> bool:
    """Whether what the container's processes have written has stopped to grow."""
    before = written(container)
    await asyncio.sleep(0.3)
    return before > 0 and written(container) == before


def written(container: str) -> int:
    total = 0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and container in (entry / "cgroup").read_text():
                total += int((entry / "io").read_text().split("wchar: ")[1].split()[0])
    return total


async def test_input_that_nobody_reads_waits(node: Node) -> None:
    container = await start(node, "sleep", "1000")
    session = await node.runtime.exec(container, ["sleep", "1000"], stdin=True)
    with bounded(), pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            while True:
                await session.write(b"i" * 65_536)
    await session.close()


def hooked(node: Node) -> Pod:
    pod = node.pod(terminationGracePeriodSeconds=2)
    body = pod.to_dict()
    body["spec"]["containers"][0]["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "7778"]}}}
    return Pod.from_dict(body)


async def test_a_pre_stop_that_hangs_takes_the_grace_period_and_no_more(node: Node) -> None:
    pod = hooked(node)
    worker = node.run(pod)
    await running(worker)
    worker.update(deleting(pod, 2))
    await asyncio.wait_for(node.tasks[worker.identity.uid], 20)
    assert ("Warning", "FailedPreStopHook", "PreStopHook failed") in node.recorder.events
    assert app(worker).state.terminated is not None
    assert node.client.deleted == [worker.identity.uid]
