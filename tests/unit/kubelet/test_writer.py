"""The writer of statuses against an API server that others write to as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from lightkube.models.core_v1 import PodCondition, PodStatus
from lightkube.resources.core_v1 import Pod

from common.api.status import Conflict, Forbidden, NotFound
from kubelet.pods.identity import PodIdentity
from kubelet.pods.writer import StatusWriter

ME = PodIdentity("web", "ns", "u")


def status(ready: str, **others: str) -> PodStatus:
    conditions = {"Ready": ready, **others}
    return PodStatus(phase="Running", conditions=[PodCondition(type=t, status=s) for t, s in conditions.items()])


def pod(revision: int, of: PodStatus | None, uid: str = "u") -> Pod:
    made = Pod.from_dict({"metadata": {"name": "web", "namespace": "ns", "uid": uid, "resourceVersion": str(revision)}})
    made.status = of
    return made


class Api:
    """``answers``: errors for the next patches; ``stored``: what a get finds."""

    def __init__(self) -> None:
        self.patches: list[Any] = []
        self.answers: list[Exception] = []
        self.stored: Pod | None = None
        self.hidden = False
        self.revision = 10
        self.changed = asyncio.Event()

    async def patch(self, kind: Any, name: str, patch: Any, namespace: str, *, subresource: str) -> Pod:
        self.patches.append(patch)
        self.changed.set()
        if self.answers:
            raise self.answers.pop(0)
        self.revision += 1
        return pod(self.revision, None)

    async def get(self, kind: Any, name: str, namespace: str) -> Pod:
        if self.hidden:
            raise Forbidden("no relationship found between node 'n' and this object")
        if self.stored is None:
            raise NotFound('pods "web" not found')
        return self.stored

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Written:
    def __init__(self) -> None:
        self.api: Any = Api()
        self.writer = StatusWriter(self.api, ME, pod(10, None))


@pytest.fixture
async def written() -> AsyncIterator[Written]:
    made = Written()
    task = asyncio.create_task(made.writer.run())
    made.writer.set(status("True"))
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_another_made_of_the_status_is_put_right(written: Written) -> None:
    """The node controller says that the pods of a silent node are not ready; the node comes back."""
    await asyncio.wait_for(written.writer.flushed(), 5)
    written.writer.seen(pod(12, status("False")))
    await written.api.until(lambda: len(written.api.patches) == 2)
    assert written.api.patches[1]["status"]["conditions"] == [{"type": "Ready", "status": "True"}]


async def test_its_own_writes_come_back_without_an_echo(written: Written) -> None:
    await asyncio.wait_for(written.writer.flushed(), 5)
    written.writer.seen(pod(10, None))  # the watch is behind
    written.writer.seen(pod(11, status("True")))
    written.writer.seen(pod(12, status("True")))
    written.writer.set(status("False"))
    await written.api.until(lambda: len(written.api.patches) == 2)
    assert written.api.patches[1]["status"]["conditions"] == [{"type": "Ready", "status": "False"}]


async def test_conditions_of_others_are_never_written(written: Written) -> None:
    await asyncio.wait_for(written.writer.flushed(), 5)
    written.writer.set(status("True", Gate="False"))
    written.writer.seen(pod(12, status("False", Gate="True")))
    await written.api.until(lambda: len(written.api.patches) == 2)
    assert written.api.patches[1]["status"]["conditions"] == [{"type": "Ready", "status": "True"}]


async def test_a_conflict_about_the_revision_is_no_end() -> None:
    made = Written()
    made.api.answers = [Conflict("please apply your changes to the latest version and try again")]
    made.api.stored = pod(11, None)
    task = asyncio.create_task(made.writer.run())
    made.writer.set(status("True"))
    await asyncio.wait_for(made.writer.flushed(), 5)
    assert (len(made.api.patches), made.writer.gone) == (2, False)
    task.cancel()


async def test_a_conflict_about_the_uid_is_the_end() -> None:
    made = Written()
    made.api.answers = [Conflict("UID in precondition")]
    made.api.stored = pod(11, None, uid="another")
    task = asyncio.create_task(made.writer.run())
    made.writer.set(status("True"))
    await asyncio.wait_for(task, 5)
    assert (len(made.api.patches), made.writer.gone) == (1, True)


async def test_a_pod_that_a_node_may_not_see_is_not_its_own() -> None:
    made = Written()
    made.api.answers = [Conflict("UID in precondition")]
    made.api.hidden = True
    task = asyncio.create_task(made.writer.run())
    made.writer.set(status("True"))
    await asyncio.wait_for(task, 5)
    assert (len(made.api.patches), made.writer.gone) == (1, True)


async def test_a_fault_does_not_silence_the_writer() -> None:
    made = Written()
    made.api.answers = [ValueError("an answer that is no JSON")]
    task = asyncio.create_task(made.writer.run())
    made.writer.set(status("True"))
    await asyncio.wait_for(made.writer.flushed(), 5)
    assert len(made.api.patches) == 2
    task.cancel()


async def test_it_follows_an_api_server_whose_etcd_was_set_back(written: Written) -> None:
    await asyncio.wait_for(written.writer.flushed(), 5)
    written.writer.seen(pod(1000, status("True")))
    written.api.revision = 500
    written.writer.set(status("False"))
    await asyncio.wait_for(written.writer.flushed(), 5)
    written.writer.set(status("True"))
    await asyncio.wait_for(written.writer.flushed(), 5)
    assert [patch["status"]["conditions"][0]["status"] for patch in written.api.patches] == ["True", "False", "True"]


async def test_a_status_that_may_wait_is_replaced_by_the_next(written: Written) -> None:
    writer, api = written.writer, written.api
    await asyncio.wait_for(writer.flushed(), 5)
    writer.set(status("False"), within=60)
    writer.set(status("False", Initialized="True"), within=60)
    await asyncio.sleep(0.01)
    assert len(api.patches) == 1
    writer.set(status("True", Initialized="False"))
    await api.until(lambda: len(api.patches) == 2)
    assert api.patches[1]["status"]["conditions"] == [{"type": "Initialized", "status": "False"}]
    writer.set(status("False"), within=0.01)
    await api.until(lambda: len(api.patches) == 3)
