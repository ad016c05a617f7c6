"""Containers' logs as files: where they are found, when they are rotated, and that they go with their pod."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import docker

from kubelet.pods.logs import LogLinks, collector_name
from kubelet.runtime.docker import DockerRuntime
from kubelet.runtime.spec import LogLimits
from tests.integration.kubelet.conftest import Node, app, eventually
from tests.integration.kubelet.test_runtime import start
from tests.integration.kubelet.test_worker import deleting, running


def text_of(path: Path) -> str:
    return "".join(json.loads(line)["log"] for line in path.read_text().splitlines())


async def test_logs_are_found_where_collectors_look_and_go_with_their_pod(node: Node) -> None:
    pod = node.pod(command="echo hello; trap 'exit 0' TERM; while true; do sleep 1000 & wait $!; done")
    worker = node.run(pod)
    await running(worker)
    folder = Path(node.config.pod_log_dir) / f"default_web_{worker.identity.uid}"
    first = folder / "app" / "0.log"
    await eventually(lambda: first.exists() and text_of(first) == "hello\n")
    latest = worker.observed.latest("app")
    assert latest is not None and first.readlink() == Path(latest.log_path)
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


async def test_a_log_is_rotated(node: Node) -> None:
    limited = DockerRuntime(node.name, logs=LogLimits(max_size=100_000, max_files=2))
    direct, node.runtime = node.runtime, limited
    container = await start(node, "sh", "-c", "i=0; while [ $i -lt 5000 ]; do echo $i 0123456789; i=$((i+1)); done")

    async def ended() -> bool:
        return not [each for each in await limited.list_containers() if each.id == container and each.running]

    await eventually(ended)
    [found] = [each for each in await limited.list_containers() if each.id == container]
    path = Path(found.log_path)
    files = [each for each in path.parent.iterdir() if each.name.startswith(path.name)]
    assert len(files) == 2 and all(each.stat().st_size < 120_000 for each in files)
    assert "4999 0123456789" in b"".join([data async for _, data in limited.logs(container)]).decode()
    await limited.close()
    node.runtime = direct


async def test_what_was_left_is_swept_and_what_is_another_s_stays(node: Node, tmp_path: Path) -> None:
    container = await start(node, "echo", "x")
    [found] = [each for each in await node.runtime.list_containers() if each.id == container]
    pods, containers = tmp_path / "p", tmp_path / "c"
    links = LogLinks(str(pods), str(containers))
    links.link([found])
    links.link([found])
    folder = next(pods.iterdir())
    foreign = containers / "other.log"
    foreign.symlink_to("/nonexistent")
    (pods / "journal").mkdir()
    links.sweep({found.pod_uid})
    assert (containers / collector_name(found)).is_symlink()
    written = folder / found.name / "mine.txt"
    written.write_text("kept")
    links.sweep(frozenset())
    assert written.read_text() == "kept" and (pods / "journal").is_dir()
    assert [each.name for each in containers.iterdir()] == ["other.log"]
    written.unlink()
    links.remove(found.pod_uid)
    assert not folder.exists() and len(collector_name(found)) <= 255
