"""The loop against an API that answers as tests want: what is bound, reported, tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from lightkube.resources.core_v1 import PersistentVolumeClaim
from prometheus_client import CollectorRegistry

from common.api.status import Conflict, ServiceUnavailable
from scheduler.cache import Cache
from scheduler.eventhandlers import EventHandlers
from scheduler.metrics import SchedulerMetrics
from scheduler.plugins import default_profile
from scheduler.queue import SchedulingQueue
from scheduler.scheduler import Scheduler, condition_patch
from tests.unit.scheduler.conftest import make_node, make_pod


class Api:
    """Client and recorder in one. ``answers``: errors for the next bindings, None for success."""

    def __init__(self) -> None:
        self.bound: list[tuple[str, str]] = []
        self.patches: list[tuple[str, dict[str, Any]]] = []
        self.events: list[tuple[str, str]] = []
        self.answers: list[Exception | None] = []
        self.changed = asyncio.Event()

    async def post_subresource(self, kind: Any, name: str, what: str, body: dict[str, Any], namespace: str) -> None:
        assert what == "binding"
        error = self.answers.pop(0) if self.answers else None
        self.bound.append((name, body["target"]["name"]))
        self.changed.set()
        if error is not None:
            raise error

    async def patch(self, kind: Any, name: str, patch: dict[str, Any], namespace: str, **options: Any) -> None:
        assert options["subresource"] == "status"
        self.patches.append((name, patch))
        self.changed.set()

    def event(self, pod: Any, type: str, reason: str, message: str) -> None:
        self.events.append((reason, message))
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class FakeInformer:
    def add_handler(self, *handlers: Any) -> None:
        pass


class FakeFactory:
    def informer(self, kind: Any, **selection: Any) -> FakeInformer:
        return FakeInformer()


class Loop:
    def __init__(self) -> None:
        self.api: Any = Api()
        self.cache, self.queue, self.registry = Cache(), SchedulingQueue(), CollectorRegistry()
        factory: Any = FakeFactory()
        self.handlers = EventHandlers(factory, self.cache, self.queue, "default-scheduler")
        metrics = SchedulerMetrics(self.registry, self.queue.sizes)
        self.claims: dict[str, Any] = {}
        profile = default_profile(self.api, self.claims.get)
        self.scheduler = Scheduler(
            self.api, self.cache, self.queue, profile, self.api, metrics, name="default-scheduler"
        )


@pytest.fixture
async def loop() -> AsyncIterator[Loop]:
    made = Loop()
    task = asyncio.create_task(made.scheduler.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_pod_is_bound_and_the_event_says_so(loop: Loop) -> None:
    loop.handlers.node_added(make_node("node-1"))
    loop.handlers.pod_changed(make_pod("x"))
    await loop.api.until(lambda: bool(loop.api.events))
    assert loop.api.bound == [("x", "node-1")]
    assert loop.api.events == [("Scheduled", "Successfully assigned default/x to node-1")]
    labels = {"profile": "default-scheduler", "result": "scheduled"}
    assert loop.registry.get_sample_value("scheduler_schedule_attempts_total", labels) == 1


async def test_who_waits_is_told_and_bound_when_a_node_comes(loop: Loop) -> None:
    loop.handlers.pod_changed(make_pod("x"))
    await loop.api.until(lambda: bool(loop.api.patches))
    message = "no nodes available to schedule pods"
    assert loop.api.events == [("FailedScheduling", message)]
    (condition,) = loop.api.patches[0][1]["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("PodScheduled", "False")
    assert (condition["reason"], condition["message"]) == ("Unschedulable", message)
    loop.handlers.node_added(make_node("node-1"))
    await loop.api.until(lambda: bool(loop.api.bound))
    assert loop.api.bound == [("x", "node-1")]


async def test_pods_of_others_are_left_alone(loop: Loop) -> None:
    loop.handlers.node_added(make_node("node-1"))
    loop.handlers.pod_changed(make_pod("other", schedulerName="my-scheduler"))
    loop.handlers.pod_changed(make_pod("gated", schedulingGates=[{"name": "wait"}]))
    loop.handlers.pod_changed(make_pod("going", deleted="2026-01-01T00:00:00Z"))
    loop.handlers.pod_changed(make_pod("mine"))
    await loop.api.until(lambda: bool(loop.api.events))
    assert loop.api.bound == [("mine", "node-1")]


async def test_a_refused_binding_gives_the_room_back_and_is_tried_again(loop: Loop) -> None:
    loop.api.answers = [ServiceUnavailable("away")]
    loop.handlers.node_added(make_node("node-1", allocatable={"pods": "1"}))
    loop.handlers.pod_changed(make_pod("x"))
    await loop.api.until(lambda: ("Scheduled", "Successfully assigned default/x to node-1") in loop.api.events)
    assert loop.api.bound == [("x", "node-1")] * 2


async def test_a_bound_pod_is_never_bound_again(loop: Loop) -> None:
    """The answer was lost: the pod has its node, the API says conflict, and the watch brings the truth."""
    loop.api.answers = [Conflict("pod x is already assigned to node node-2")]
    loop.handlers.node_added(make_node("node-1"))
    loop.handlers.pod_changed(make_pod("x"))
    await loop.api.until(lambda: bool(loop.api.bound))
    loop.handlers.pod_changed(make_pod("x", nodeName="node-2"))
    assert loop.queue.get("default/x") is None
    assert {p.name for p in loop.cache.nodes.pods_on("node-2")} == {"x"}
    assert not list(loop.cache.nodes.pods_on("node-1"))
    assert loop.api.events == []


async def test_a_deleted_pod_makes_room(loop: Loop) -> None:
    loop.handlers.node_added(make_node("node-1", allocatable={"pods": "1"}))
    loop.handlers.pod_changed(make_pod("x", nodeName="node-1"))
    loop.handlers.pod_changed(make_pod("y"))
    await loop.api.until(lambda: bool(loop.api.patches))
    assert "1 Too many pods" in loop.api.events[0][1]
    loop.handlers.pod_deleted(make_pod("x", nodeName="node-1"))
    await loop.api.until(lambda: bool(loop.api.bound))
    assert loop.api.bound == [("y", "node-1")]


def test_the_condition_is_written_once_and_keeps_its_time() -> None:
    pod = make_pod("x")
    assert condition_patch(pod, "Unschedulable", "why") is not None
    since = "2026-01-01T00:00:00Z"
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "why"}
    told = type(pod).from_dict(pod.to_dict() | {"status": {"conditions": [condition | {"lastTransitionTime": since}]}})
    assert condition_patch(told, "Unschedulable", "why") is None
    patch: Any = condition_patch(told, "Unschedulable", "another reason")
    assert patch["status"]["conditions"][0]["lastTransitionTime"] == since


async def test_a_pod_waits_for_its_claim(loop: Loop) -> None:
    loop.handlers.node_added(make_node("node-1"))
    loop.handlers.pod_changed(make_pod("x", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]))
    await loop.api.until(lambda: bool(loop.api.patches))
    assert 'persistentvolumeclaim "data" not found' in loop.api.events[0][1]
    pending = PersistentVolumeClaim.from_dict({"metadata": {"name": "data"}, "status": {"phase": "Pending"}})
    bound = PersistentVolumeClaim.from_dict({"metadata": {"name": "data"}, "status": {"phase": "Bound"}})
    loop.claims["default/data"] = bound
    assert loop.api.bound == []
    loop.handlers.claim_updated(pending, bound)
    await loop.api.until(lambda: bool(loop.api.bound))
    assert loop.api.bound == [("x", "node-1")]


async def test_a_pod_that_the_watch_shows_bound_before_a_lost_answer_keeps_its_node(loop: Loop) -> None:
    """The binding was carried out, the watch told so, and only then its answer was lost."""
    loop.handlers.node_added(make_node("node-1"))

    async def bind(_: Any, name: str, *rest: Any) -> None:
        if name == "x":
            loop.handlers.pod_changed(make_pod("x", nodeName="node-1"))
            raise ServiceUnavailable("connection reset")

    loop.api.post_subresource = bind
    loop.handlers.pod_changed(make_pod("x"))
    loop.handlers.pod_changed(make_pod("next"))
    await loop.api.until(lambda: bool(loop.api.events))
    assert loop.queue.get("default/x") is None, "it is not tried again"
    assert {p.name for p in loop.cache.nodes.pods_on("node-1")} == {"x", "next"}, "its room stays taken"
    assert loop.api.events == [("Scheduled", "Successfully assigned default/next to node-1")]


async def test_a_fault_in_a_binding_ends_neither_the_loop_nor_the_pod(loop: Loop) -> None:
    loop.api.answers = [ValueError("an answer that is no JSON")]
    loop.handlers.node_added(make_node("node-1"))
    loop.handlers.pod_changed(make_pod("x"))
    await loop.api.until(lambda: ("Scheduled", "Successfully assigned default/x to node-1") in loop.api.events)
    assert loop.api.bound == [("x", "node-1")] * 2
