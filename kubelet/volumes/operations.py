"""Calls into file systems that may never come back: a server of NFS that is gone holds whoever asks it.

Each such call runs in a thread of its own, never in a pool that others need, and is waited for only so long. A call
that hangs goes on: asked for again under the same key, it is the one that is waited for, so that a volume never has
two threads. The number of those that hang is bounded; at the bound new calls fail at once, with the reason.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from kubelet.types import VolumeError

T = TypeVar("T")
MAX_HANGING = 128


class Operations:
    """Running calls by key. Keys begin with the pod's uid."""

    def __init__(self, limit: int = MAX_HANGING) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._running: dict[str, Future[Any]] = {}
        self._hanging: set[str] = set()
        """Keys of calls that somebody has waited for in vain."""

    async def run(self, key: str, function: Callable[[], T], *, seconds: float, what: str) -> T:
        """``function()``'s result. Raises what it raises, or VolumeError when it takes longer."""
        future: Future[T] = self._start(key, function)
        waiter = asyncio.wrap_future(future)
        # Not wait_for: what cannot be cancelled is left to end by itself.
        done, _ = await asyncio.wait({waiter}, timeout=seconds)
        if not done:
            waiter.add_done_callback(_forget)
            raise self._unanswered(key, what, seconds)
        return waiter.result()

    def call(self, key: str, function: Callable[[], T], *, seconds: float, what: str) -> T:
        """The same for callers that are in a thread of a pool already."""
        future: Future[T] = self._start(key, function)
        wait({future}, timeout=seconds)
        if not future.done():
            raise self._unanswered(key, what, seconds)
        return future.result()

    async def settled(self, prefix: str, seconds: float) -> bool:
        """Whether all calls whose key begins so have ended, or do within so long."""
        with self._lock:
            running = [future for key, future in self._running.items() if key.startswith(prefix)]
        if not running:
            return True
        waiters = [asyncio.wrap_future(future) for future in running]
        _, pending = await asyncio.wait(waiters, timeout=seconds)
        for waiter in waiters:
            waiter.add_done_callback(_forget)
        return not pending

    def _start(self, key: str, function: Callable[[], T]) -> Future[T]:
        with self._lock:
            held = self._running.get(key)
            if held is not None:
                return held
            if len(self._hanging) >= self._limit:
                raise VolumeError("too many operations on volumes of this node do not come back")
            future: Future[T] = Future()
            self._running[key] = future
        threading.Thread(target=self._work, args=(key, function, future), name=f"volume {key}", daemon=True).start()
        return future

    def _work(self, key: str, function: Callable[[], T], future: Future[T]) -> None:
        try:
            result = function()
        except BaseException as error:
            self._end(key)
            future.set_exception(error)
        else:
            self._end(key)
            future.set_result(result)

    def _end(self, key: str) -> None:
        with self._lock:
            self._running.pop(key, None)
            self._hanging.discard(key)

    def _unanswered(self, key: str, what: str, seconds: float) -> VolumeError:
        with self._lock:
            if key in self._running:
                self._hanging.add(key)
        return VolumeError(f"{what}: no answer within {seconds:.0f} s")


def _forget(waiter: asyncio.Future[Any]) -> None:
    if not waiter.cancelled():
        waiter.exception()  # nobody asks for it any more
