"""Waiting for a step that something else may end, or that must succeed at some time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
FIRST_RETRY, MAX_RETRY = 1.0, 60.0
"""Seconds."""


async def interruptible(step: Coroutine[Any, Any, T], *by: asyncio.Event) -> T | None:
    """Runs a step; any of the events ends it in the middle, then None."""
    task = asyncio.ensure_future(step)
    endings = [asyncio.ensure_future(event.wait()) for event in by]
    try:
        await asyncio.wait({task, *endings}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, *endings):
            each.cancel()
        await asyncio.gather(task, *endings, return_exceptions=True)


async def repeated(step: Callable[[], Coroutine[Any, Any, None]], failed: Callable[[Exception], None]) -> None:
    """Until it succeeds, each time after a longer pause; ``failed`` hears why it did not."""
    delay = FIRST_RETRY
    while True:
        try:
            return await step()
        except Exception as error:  # whatever it is: what is left to do must not be forgotten
            failed(error)
        await asyncio.sleep(delay)
        delay = min(delay * 2, MAX_RETRY)
