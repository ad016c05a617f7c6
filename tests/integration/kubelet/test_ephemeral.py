"""Ephemeral containers: a look into a pod that runs already (kubectl debug)."""

from __future__ import annotations

import asyncio
from typing import Any

from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Pod

from kubelet.lookup import Lookup
from kubelet.pods.worker import PodWorker
from tests.integration.kubelet.conftest import Node, app, eventually
from tests.integration.kubelet.test_worker import deleting, logs, running


def debugged(node: Node, pod: Pod, name: str, **container: Any) -> Pod:
    body = pod.to_dict()
    held = body["spec"].setdefault("ephemeralContainers", [])
    held.append({"name": name, "image": node.image, **container})
    return Pod.from_dict(body)


def ephemeral(worker: PodWorker, name: str) -> ContainerStatus | None:
    statuses = (worker.status.ephemeralContainerStatuses or []) if worker.status else []
    return next((each for each in statuses if each.name == name), None)


def state(worker: PodWorker, name: str) -> Any:
    status = ephemeral(worker, name)
    return status.state if status is not None else None


async def test_it_starts_in_a_running_pod_and_only_once(node: Node) -> None:
    pod = node.pod()
    worker = node.run(pod)
    await running(worker)
    node.recorder.events.clear()
    pod = debugged(node, pod, "debug", command=["sh", "-c", "echo seen; exit 3"])
    worker.update(pod)
    await eventually(lambda: state(worker, "debug") and state(worker, "debug").terminated)
    assert state(worker, "debug").terminated.exitCode == 3
    assert await logs(node, worker, "debug") == "seen\n"
    assert Lookup.of(worker).for_logs("debug", previous=False)
    assert node.recorder.reasons() == ["Pulled", "Created", "Started"]
    written = [patch["status"] for patch in node.client.patches if "ephemeralContainerStatuses" in patch["status"]]
    assert written and app(worker).ready and app(worker).restartCount == 0
    first = worker.observed.latest("debug")
    # another one brings another round: the first is not started again
    worker.update(debugged(node, pod, "debug-2", command=["sleep", "1000"]))
    await eventually(lambda: state(worker, "debug-2") and state(worker, "debug-2").running)
    assert worker.observed.latest("debug") == first
    status = ephemeral(worker, "debug")
    assert status is not None and status.restartCount == 0


async def test_it_sees_the_processes_of_its_target_and_the_pod_s_network(node: Node) -> None:
    pod = node.pod(command="exec sleep 4242")
    worker = node.run(pod)
    await running(worker)
    command = ["sh", "-c", "for each in /proc/[0-9]*; do cat $each/cmdline; echo; done; exec sleep 1000"]
    worker.update(debugged(node, pod, "debug", command=command, targetContainerName="app", tty=True, stdin=True))
    await eventually(lambda: state(worker, "debug") and state(worker, "debug").running)

    async def seen() -> bool:
        return "4242" in await logs(node, worker, "debug")

    await eventually(seen)
    running_id = Lookup.of(worker).running("debug")
    session = await node.runtime.exec(running_id, ["true"])
    assert [frame async for frame in session.frames()] == []
    assert await session.exit_code() == 0


async def test_one_can_be_attached_to(node: Node) -> None:
    pod = node.pod()
    worker = node.run(pod)
    await running(worker)
    worker.update(debugged(node, pod, "debug", command=["cat"], stdin=True))
    await eventually(lambda: state(worker, "debug") and state(worker, "debug").running)
    session = await node.runtime.attach(Lookup.of(worker).running("debug"), stdin=True)
    await session.write(b"hello\n")
    assert await asyncio.wait_for(anext(session.frames()), 10) == ("stdout", b"hello\n")
    await session.close()


async def test_a_target_that_is_not_there(node: Node) -> None:
    pod = node.pod()
    worker = node.run(pod)
    await running(worker)
    worker.update(debugged(node, pod, "debug", command=["true"], targetContainerName="other"))
    await eventually(lambda: state(worker, "debug") and state(worker, "debug").waiting.reason != "ContainerCreating")
    waiting = state(worker, "debug").waiting
    assert waiting.reason == "CreateContainerConfigError"
    assert waiting.message == "unable to find target container other"
    assert ("Warning", "Failed", "Error: unable to find target container other") in node.recorder.events
    assert app(worker).ready


async def test_it_ends_with_its_pod(node: Node) -> None:
    pod = node.pod()
    worker = node.run(pod)
    await running(worker)
    pod = debugged(node, pod, "debug", command=["sleep", "1000"])
    worker.update(pod)
    await eventually(lambda: state(worker, "debug") and state(worker, "debug").running)
    worker.update(deleting(pod, 1))
    await asyncio.wait_for(node.tasks[worker.identity.uid], 15)
    assert await node.runtime.list_containers() == []
    assert ("Normal", "Killing", "Stopping container debug") in node.recorder.events


async def test_a_new_sandbox_does_not_bring_it_back(node: Node) -> None:
    pod = node.pod()
    worker = node.run(pod)
    await running(worker)
    worker.update(debugged(node, pod, "debug", command=["sleep", "1000"]))
    await eventually(lambda: state(worker, "debug") and state(worker, "debug").running)
    assert worker.observed.sandbox is not None
    await node.runtime.stop_sandbox(worker.observed.sandbox.id)
    await eventually(lambda: app(worker).ready and app(worker).restartCount == 1)
    assert state(worker, "debug").terminated is not None
