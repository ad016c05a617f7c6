"""No pod is lost in the queue, and none is tried in vain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.framework import ClusterEvent
from scheduler.podinfo import PodInfo
from scheduler.queue import SchedulingQueue
from tests.unit.scheduler.conftest import make_pod


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> SchedulingQueue:
    return SchedulingQueue(clock)


def info(name: str, **fields: Any) -> PodInfo:
    return PodInfo.of(make_pod(name, **fields), keep=True)


async def pop(queue: SchedulingQueue) -> Any:
    return await asyncio.wait_for(queue.pop(), 5)


async def empty(queue: SchedulingQueue) -> bool:
    try:
        await asyncio.wait_for(queue.pop(), 0.01)
    except TimeoutError:
        return True
    return False


async def test_higher_priority_first_then_first_come(queue: SchedulingQueue, clock: Clock) -> None:
    for name, priority in (("a", 0), ("b", 10), ("c", 0), ("d", 10)):
        queue.add(info(name, priority=priority))
        clock.now += 1
    assert [(await pop(queue)).pod.name for _ in range(4)] == ["b", "d", "a", "c"]


async def test_an_unschedulable_pod_waits_for_what_helps(queue: SchedulingQueue, clock: Clock) -> None:
    queue.add(info("a"))
    queue.unschedulable(await pop(queue), [ClusterEvent.NODE_ADD])
    clock.now += 60
    queue.move(ClusterEvent.NODE_LABEL)
    assert queue.sizes()["unschedulable"] == 1
    queue.move(ClusterEvent.NODE_ADD)
    assert (await pop(queue)).attempts == 2


async def test_what_helps_too_early_waits_for_the_backoff(queue: SchedulingQueue, clock: Clock) -> None:
    queue.add(info("a"))
    queue.unschedulable(await pop(queue), [ClusterEvent.NODE_ADD])
    queue.move(ClusterEvent.NODE_ADD)
    assert queue.sizes()["backoff"] == 1
    clock.now += 1.0
    assert (await pop(queue)).pod.name == "a"


async def test_an_event_during_the_attempt_is_not_lost(queue: SchedulingQueue, clock: Clock) -> None:
    queue.add(info("a"))
    queued = await pop(queue)
    queue.move(ClusterEvent.NODE_ADD)
    queue.unschedulable(queued, [ClusterEvent.NODE_ADD])
    assert queue.sizes() == {"active": 0, "backoff": 1, "unschedulable": 0, "gated": 0}


async def test_backoff_doubles_up_to_ten_seconds(queue: SchedulingQueue, clock: Clock) -> None:
    queue.add(info("a"))
    waits = []
    for _ in range(6):
        queued = await pop(queue)
        queue.failed(queued)
        waits.append(queued.backoff_until - clock.now)
        clock.now = queued.backoff_until
    assert waits == [1, 2, 4, 8, 10, 10]


async def test_after_five_minutes_it_is_tried_whatever_happened(queue: SchedulingQueue, clock: Clock) -> None:
    queue.add(info("a"))
    queue.unschedulable(await pop(queue), [])
    clock.now += 299
    assert await empty(queue)
    clock.now += 31
    assert (await pop(queue)).pod.name == "a"


async def test_gates(queue: SchedulingQueue) -> None:
    queue.add(info("a", schedulingGates=[{"name": "example.org/wait"}]))
    assert await empty(queue)
    assert queue.sizes()["gated"] == 1
    queue.update(info("a"))
    assert (await pop(queue)).pod.name == "a"


async def test_a_changed_pod_is_tried_again_a_touched_one_is_not(queue: SchedulingQueue, clock: Clock) -> None:
    queue.add(info("a", nodeSelector={"x": "y"}))
    queue.unschedulable(await pop(queue), [])
    clock.now += 2
    queue.update(info("a", nodeSelector={"x": "y"}))
    assert await empty(queue)
    queue.update(info("a"))
    assert (await pop(queue)).pod.spec.nodeSelector is None


async def test_a_deleted_pod_leaves_and_its_successor_is_another(queue: SchedulingQueue) -> None:
    queue.add(info("a", uid="1"))
    queued = await pop(queue)
    queue.update(info("a", uid="2"))
    queue.done(queued)
    assert (await pop(queue)).pod.uid == "2"
    queue.delete("default/a")
    assert await empty(queue)


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "pop", "fail", "unschedulable", "done", "delete", "event", "wait"]), st.integers(0, 4)
    ),
    max_size=60,
)


@settings(deadline=None)  # other tests share the machine
@given(steps)
def test_every_pod_is_in_exactly_one_place(drawn: list[tuple[str, int]]) -> None:
    """Whatever happens, a pod that was added and neither finished nor deleted comes up again."""

    async def play() -> None:
        clock = Clock()
        queue, pending, flying = SchedulingQueue(clock), set[str](), list[Any]()
        for verb, number in drawn:
            name = f"p{number}"
            match verb:
                case "add":
                    queue.add(info(name))
                    pending.add(name)
                case "pop" if sum(queue.sizes().values()) and queue.sizes()["active"]:
                    flying.append(await pop(queue))
                case "fail" if flying:
                    queue.failed(flying.pop())
                case "unschedulable" if flying:
                    queue.unschedulable(flying.pop(), [ClusterEvent.NODE_ADD])
                case "done" if flying:
                    queued = flying.pop()
                    if queue.get(queued.pod.key) is queued:
                        pending.discard(queued.pod.name)
                    queue.done(queued)
                case "delete":
                    queue.delete(f"default/{name}")
                    pending.discard(name)
                case "event":
                    queue.move(ClusterEvent.NODE_ADD)
                case "wait":
                    clock.now += number
        for queued in flying:
            queue.failed(queued)
        clock.now += 1000
        assert sum(queue.sizes().values()) == len(pending)
        found = {(await pop(queue)).pod.name for _ in pending}
        assert found == pending

    asyncio.run(play())


async def test_a_change_of_the_pod_during_its_attempt_counts(queue: SchedulingQueue, clock: Clock) -> None:
    """A toleration that is added just then would else wait for the five minutes after which all are tried."""
    queue.add(info("a"))
    attempt = await pop(queue)
    queue.add(info("a", tolerations=[{"operator": "Exists"}]))
    queue.unschedulable(attempt, [ClusterEvent.NODE_ADD])
    assert queue.sizes()["backoff"] == 1
    clock.now += 1.0
    again = await pop(queue)
    assert again.pod.spec.tolerations
    queue.unschedulable(again, [ClusterEvent.NODE_ADD])
    assert queue.sizes()["unschedulable"] == 1, "it counts once"
