"""How many pods may be starting at once: beyond it Docker gets slower, not faster.

A pod keeps its slot from its sandbox to its last container, so that pods become ready one after the other instead of
all at the end. What takes long and is none of Docker's starts (a pull, a hook, a volume that does not come) lends it
to others meanwhile: pods that wait must not keep pods from starting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
LEND_AFTER = 0.25
"""Seconds that a step may take before others get the slot."""


class StartSlot:
    """``async with StartSlot(semaphore) as slot``."""

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore = semaphore
        self._held = False

    async def __aenter__(self) -> StartSlot:
        await self._acquire()
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._release()

    async def lend(self, step: Coroutine[Any, Any, T]) -> T:
        """Runs the step; when it is long, without the slot."""
        task = asyncio.ensure_future(step)
        try:
            await asyncio.wait({task}, timeout=LEND_AFTER)
            if not task.done():
                self._release()
                await asyncio.wait({task})
                await self._acquire()
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _acquire(self) -> None:
        await self._semaphore.acquire()
        self._held = True

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._semaphore.release()
