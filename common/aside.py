"""Work on one client's megabytes, done aside: in a thread, so that it holds up nobody else.

A thread costs a tenth of a millisecond, so what is small is done at once. The work must touch nothing that others
change; it goes on to its end even if nobody waits for it any more (what has not been begun by then never is).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

LARGE = 64 * 1024
"""Bytes, or other small steps: some milliseconds."""

P = ParamSpec("P")
R = TypeVar("R")


async def aside(size: int, work: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """``size`` is how many bytes, or steps, the work is about."""
    return await asyncio.to_thread(work, *args, **named) if size > LARGE else work(*args, **named)
