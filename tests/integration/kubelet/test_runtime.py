"""The Docker runtime by itself: streams, exec, attach, stats."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from kubelet.cri import ContainerConfig, ContainerState, PodSandboxConfig, RuntimeNotFound, RuntimeUnavailable
from kubelet.runtime.docker import DockerRuntime
from kubelet.runtime.processes import is_deaf
from tests.integration.kubelet.conftest import Node, eventually


async def start(node: Node, *command: str, tty: bool = False, stdin: bool = False) -> str:
    uid = str(uuid.uuid4())
    sandbox = await node.runtime.run_sandbox(
        PodSandboxConfig(pod_name="p", namespace="ns", uid=uid, attempt=0, image=node.image, hostname="p")
    )
    config = ContainerConfig(
        pod_name="p", namespace="ns", uid=uid, name="c", attempt=0, image=node.image, command=command, tty=tty,
        stdin=stdin,
    )  # fmt: skip
    container = await node.runtime.create_container(sandbox, config)
    await node.runtime.start_container(container)
    return container


async def test_version_and_info(node: Node) -> None:
    assert (await node.runtime.version()).name == "docker"
    info = await node.runtime.info()
    assert info.cpus >= 1 and info.memory_bytes > 1 << 20


async def test_exec_keeps_the_streams_apart_and_gives_the_exit_code(node: Node) -> None:
    container = await start(node, "sleep", "1000")
    result = await node.runtime.exec_sync(container, ["sh", "-c", "echo out; echo err >&2; exit 7"], 10)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 7)


async def test_exec_with_stdin(node: Node) -> None:
    container = await start(node, "sleep", "1000")
    session = await node.runtime.exec(container, ["cat"], stdin=True)
    payload = b"x" * 300_000
    feeding = asyncio.create_task(_feed(session, payload))
    output = b"".join([data async for _, data in session.frames()])
    await feeding
    assert output == payload
    assert await session.exit_code() == 0
    await session.close()


async def _feed(session: object, payload: bytes) -> None:
    await session.write(payload)  # type: ignore[attr-defined]
    await session.close_stdin()  # type: ignore[attr-defined]


async def test_exec_with_a_tty_can_be_resized(node: Node) -> None:
    container = await start(node, "sleep", "1000")
    session = await node.runtime.exec(container, ["sh"], tty=True, stdin=True)
    await session.resize(100, 40)
    await session.write(b"echo hel''lo; exit 4\n")
    output = b"".join([data async for _, data in session.frames()])
    assert b"hello" in output
    assert await session.exit_code() == 4


async def test_exec_sync_times_out(node: Node) -> None:
    container = await start(node, "sleep", "1000")
    with pytest.raises(TimeoutError):
        await node.runtime.exec_sync(container, ["sleep", "1000"], 0.5)


async def test_exec_in_a_container_that_is_not_there(node: Node) -> None:
    with pytest.raises(RuntimeNotFound):
        await node.runtime.exec_sync("no-such-container", ["true"], 5)


async def test_attach_reads_and_writes(node: Node) -> None:
    container = await start(node, "cat", stdin=True)
    session = await node.runtime.attach(container, stdin=True)
    await session.write(b"hello\n")
    stream, data = await asyncio.wait_for(anext(session.frames()), 10)
    assert (stream, data) == ("stdout", b"hello\n")
    await session.close()


async def test_logs(node: Node) -> None:
    container = await start(node, "sh", "-c", "echo one; echo two >&2; echo three")
    await eventually(lambda: _exited(node.runtime, container))
    frames = [frame async for frame in node.runtime.logs(container)]
    assert sorted(frames) == [("stderr", b"two\n"), ("stdout", b"one\n"), ("stdout", b"three\n")]
    assert len([frame async for frame in node.runtime.logs(container, tail=1)]) == 1
    limited = b"".join([data async for _, data in node.runtime.logs(container, limit_bytes=5)])
    assert len(limited) == 5
    stamped = [data async for _, data in node.runtime.logs(container, timestamps=True)]
    assert all(b"T" in line.split(b" ")[0] for line in stamped)


async def test_logs_follow_until_the_end(node: Node) -> None:
    container = await start(node, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    text = b"".join([data async for _, data in node.runtime.logs(container, follow=True)])
    assert text == b"1\n2\n3\n"


async def _exited(runtime: DockerRuntime, container: str) -> bool:
    found = [each for each in await runtime.list_containers() if each.id == container]
    return bool(found) and found[0].state is ContainerState.EXITED


async def test_stats(node: Node) -> None:
    container = await start(node, "sh", "-c", "while true; do :; done")
    await eventually(lambda: _has_used_cpu(node.runtime, container))


async def _has_used_cpu(runtime: DockerRuntime, container: str) -> bool:
    running = [each for each in await runtime.list_containers() if each.id == container]
    return (await runtime.stats_of(running))[container].cpu_nanoseconds > 0


async def test_stop_is_patient_and_then_not(node: Node) -> None:
    container = await start(node, "sh", "-c", "trap '' TERM; while true; do sleep 1; done")
    await node.runtime.stop_container(container, 1)
    found = [each for each in await node.runtime.list_containers() if each.id == container]
    assert (found[0].state, found[0].exit_code) == (ContainerState.EXITED, 137)
    await node.runtime.stop_container(container, 1)
    await node.runtime.remove_container(container)
    await node.runtime.remove_container(container)


async def test_who_hears_no_signal_is_not_waited_for_in_a_hurry(node: Node) -> None:
    """One that has a handler is; without hurry everybody is."""
    deaf = await start(node, "sleep", "1000")
    hears = await start(node, "sh", "-c", "trap 'sleep 1; exit 7' TERM; while true; do sleep 0.1; done")
    patient = await start(node, "sleep", "1")
    await eventually(lambda: _has_a_handler(node.runtime, hears))
    await node.runtime.stop_container(deaf, 600, hurry=True)
    await node.runtime.stop_container(hears, 600, hurry=True)
    await node.runtime.stop_container(patient, 600)
    codes = {each.id: each.exit_code for each in await node.runtime.list_containers()}
    assert [codes[each] for each in (deaf, hears, patient)] == [137, 7, 0]


async def _has_a_handler(runtime: DockerRuntime, container: str) -> bool:
    pid = next(each.pid for each in await runtime.list_containers() if each.id == container)
    return pid > 0 and not is_deaf(pid, container)


async def test_a_docker_that_is_away() -> None:
    runtime = DockerRuntime("nobody", "/nonexistent/docker.sock")
    with pytest.raises(RuntimeUnavailable):
        await runtime.list_containers()
    with pytest.raises(RuntimeUnavailable):
        await runtime.attach("x")
    await runtime.close()
