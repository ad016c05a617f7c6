"""When Python's collector walks the whole heap: once in a while, and not whenever so and so much was allocated.

Nearly all is freed by its count of references; what is left to the collector are cycles. A walk of everything takes ten
milliseconds for ten thousand objects that a cache keeps, and under load Python began one every second or two: each held
up all requests that were under way, which made a good part of the slowest percent. Now young objects are looked through
some thousand at a time (a millisecond), everything every FULL_SECONDS, and what a process loads at its start never.
"""

from __future__ import annotations

import asyncio
import gc

from common import heap

YOUNG, MIDDLE = 1500, 6
"""Allocations between two looks at the young, and such looks between two at those that survived one."""
NEVER = 1_000_000_000
FREEZE_SECONDS = 15.0
"""After this long what a process loads at its start is there."""
FULL_SECONDS = 30.0


async def run() -> None:
    """Until cancelled."""
    gc.set_threshold(YOUNG, MIDDLE, NEVER)
    await asyncio.sleep(FREEZE_SECONDS)
    gc.collect()
    gc.freeze()
    await asyncio.to_thread(heap.give_back)
    while True:
        await asyncio.sleep(FULL_SECONDS)
        if has_worked():
            gc.collect()
            await asyncio.to_thread(heap.give_back)


def has_worked() -> bool:
    """Whether anything has grown old since the last full look: an idle process has nothing to look for."""
    return gc.get_count()[2] > 0
