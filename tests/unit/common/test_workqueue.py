"""The work queue's promises: one worker a key, nothing lost, later is later."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.workqueue import ShutDown, WorkQueue


async def test_a_key_waits_once_and_is_handled_by_one_worker() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.add("a")  # while it is handled
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"


async def test_the_earliest_delay_counts() -> None:
    queue = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)
    assert await asyncio.wait_for(queue.get(), 5) == "a"


async def test_failures_wait_twice_as_long_until_forgotten() -> None:
    queue = WorkQueue(base_delay=10, max_delay=35)
    waits = []
    loop = asyncio.get_running_loop()
    for _ in range(4):
        queue.add_rate_limited("a")
        waits.append(round(queue._delayed.pop("a").when() - loop.time()))
    assert waits == [10, 20, 35, 35]
    assert queue.num_requeues("a") == 4
    queue.forget("a")
    assert queue.num_requeues("a") == 0


async def test_shutdown_hands_out_what_waits_and_then_ends() -> None:
    queue = WorkQueue()
    queue.add("a")
    waiting = asyncio.create_task(queue.get())
    assert await waiting == "a"
    blocked = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.shutdown()
    with pytest.raises(ShutDown):
        await blocked
    queue.add("b")
    assert len(queue) == 0


async def test_a_cancelled_getter_takes_nothing_with_it() -> None:
    queue = WorkQueue()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 5) == "a"


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 3))
def test_every_added_key_is_handled_after_it_was_added(adds: list[str], workers: int) -> None:
    async def scenario() -> None:
        queue = WorkQueue()
        pending: set[str] = set()
        active: set[str] = set()

        async def work() -> None:
            while True:
                key = await queue.get()
                assert key not in active
                active.add(key)
                pending.discard(key)
                await asyncio.sleep(0)
                active.discard(key)
                queue.done(key)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        for key in adds:
            pending.add(key)
            queue.add(key)
            await asyncio.sleep(0)
        queue.shutdown()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(r, ShutDown) for r in results)
        assert not pending

    asyncio.run(scenario())
