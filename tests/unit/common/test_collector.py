"""What the collector is left to do, and when."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from common import collector


class Node:
    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


async def test_cycles_go_in_time_and_no_walk_of_everything_comes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "FREEZE_SECONDS", 0)
    monkeypatch.setattr(collector, "FULL_SECONDS", 0.05)
    task = asyncio.create_task(collector.run())
    while not gc.get_freeze_count():  # noqa: ASYNC110
        await asyncio.sleep(0)
    full: list[str] = []
    asked = False

    def seen(phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 2 and phase == "start" and not asked:
            full.append(phase)

    gc.callbacks.append(seen)
    try:
        kept = [[n] for n in range(200_000)]  # as much as a busy server keeps
        old = Node()
        node = weakref.ref(old)
        gc.collect(1)  # it has survived: only a look at everything finds it from now on
        del old
        gc.collect(1)
        assert node() is not None and not full
        asked = True
        async with asyncio.timeout(10):
            while node() is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len(kept) == 200_000
    finally:
        gc.callbacks.remove(seen)
        task.cancel()


def test_an_idle_process_has_nothing_to_look_for() -> None:
    gc.collect()
    assert not collector.has_worked()
    gc.collect(1)
    assert collector.has_worked()
