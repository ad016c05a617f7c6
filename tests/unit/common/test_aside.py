"""What is large is read aside."""

from __future__ import annotations

import asyncio
import threading

import pytest

from common.aside import LARGE, aside


async def test_large_work_holds_up_nobody() -> None:
    go = threading.Event()
    waiting = asyncio.create_task(aside(LARGE + 1, go.wait, 10))
    await asyncio.sleep(0)
    go.set()  # were the work done here, nobody would come to this
    assert await waiting


async def test_small_work_is_done_at_once_and_errors_are_the_work_s() -> None:
    assert await aside(1, threading.get_ident) == threading.get_ident()
    assert await aside(LARGE + 1, threading.get_ident) != threading.get_ident()
    for size in (1, LARGE + 1):
        with pytest.raises(ValueError, match="invalid literal"):
            await aside(size, int, "x")
