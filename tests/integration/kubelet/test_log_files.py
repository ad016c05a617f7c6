"""Containers' logs as files in CRI's format: where they are found, and that they go with their pod."""

from __future__ import annotations

import asyncio
from pathlib import Path

import docker

from kubelet.logs.keeper import LogKeeper
from kubelet.logs.paths import LogPaths, collector_name
from kubelet.logs.reader import LogOptions, read
from kubelet.runtime.docker import DockerRuntime
from kubelet.runtime.spec import LogLimits
from tests.integration.kubelet.conftest import Node, app, eventually
from tests.integration.kubelet.test_runtime import start
from tests.integration.kubelet.test_worker import deleting, running


def text_of(path: Path) -> str:
    return "".join(line.split(" ", 3)[3] for line in path.read_text().splitlines(keepends=True))


async def test_logs_are_found_where_collectors_look_and_go_with_their_pod(node: Node) -> None:
    pod = node.pod(command="echo hello; trap 'exit 0' TERM; while true; do sleep 1000 & wait $!; done")
    worker = node.run(pod)
    await running(worker)
    folder = Path(node.config.pod_log_dir) / f"default_web_{worker.identity.uid}"
    first = folder / "app" / "0.log"
    await eventually(lambda: first.exists() and text_of(first) == "hello\n")
    latest = worker.observed.latest("app")
    assert latest is not None and first.read_text().split(" ")[1:3] == ["stdout", "F"]
    collected = Path(node.config.container_log_dir) / f"web_default_app-{latest.id}.log"
    assert collected.readlink() == first and text_of(collected) == "hello\n"

    docker.APIClient().kill(latest.id)
    second = folder / "app" / "1.log"
    await eventually(lambda: app(worker).restartCount == 1 and second.exists())
    assert first.exists()

    worker.update(deleting(pod, 1))
    await asyncio.wait_for(node.tasks[worker.identity.uid], 15)
    assert not folder.exists() and not folder.is_symlink()
    assert list(Path(node.config.container_log_dir).iterdir()) == []


async def test_a_log_is_rotated_by_docker_and_by_us(node: Node, tmp_path: Path) -> None:
    limits = LogLimits(max_size=100_000, max_files=3)
    limited = DockerRuntime(node.name, logs=limits)
    direct, node.runtime = node.runtime, limited
    keeper = LogKeeper(LogPaths(str(tmp_path / "p"), str(tmp_path / "c")), tmp_path / "s", limits)
    copying = asyncio.create_task(keeper.run())
    container = await start(node, "sh", "-c", "i=0; while [ $i -lt 9000 ]; do echo $i 0123456789; i=$((i+1)); done")
    await keeper.link([each for each in await limited.list_containers() if each.id == container])

    async def ended() -> bool:
        return not [each for each in await limited.list_containers() if each.id == container and each.running]

    await eventually(ended)
    path = await keeper.catch_up(container)
    assert path is not None
    files = sorted(path.parent.iterdir())
    assert len(files) == 3 and [each.name.endswith(".gz") for each in files] == [False, True, False]
    keeper.touch(container, ended=True)
    shown = b"".join([data async for data in read(keeper, container, LogOptions(follow=True))])
    assert shown.endswith(b"8999 0123456789\n") and len(shown.splitlines()) == len(path.read_bytes().splitlines())
    copying.cancel()
    await limited.close()
    node.runtime = direct


async def test_what_was_left_is_swept_and_what_is_another_s_stays(node: Node, tmp_path: Path) -> None:
    container = await start(node, "echo", "x")
    [found] = [each for each in await node.runtime.list_containers() if each.id == container]
    pods, containers, state = tmp_path / "p", tmp_path / "c", tmp_path / "s"
    keeper = LogKeeper(LogPaths(str(pods), str(containers)), state, LogLimits())
    await keeper.link([found])
    await keeper.link([found])
    await eventually(lambda: keeper.catch_up(container))
    folder = next(pods.iterdir())
    foreign = containers / "other.log"
    foreign.symlink_to("/nonexistent")
    (pods / "journal").mkdir()
    await keeper.sweep({found.pod_uid}, [found])
    assert (containers / collector_name(found)).is_symlink() and folder.exists()
    await keeper.unlink(found)
    assert not (containers / collector_name(found)).is_symlink() and list(state.iterdir()) == []
    await keeper.sweep(frozenset(), [])
    assert (pods / "journal").is_dir() and not folder.exists()
    assert [each.name for each in containers.iterdir()] == ["other.log"]
    await keeper.remove(found.pod_uid)
    assert len(collector_name(found)) <= 255
