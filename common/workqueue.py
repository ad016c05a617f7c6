"""Work queue: a key is handled by one worker at a time, however often it is added meanwhile.

Rate-limited and delayed adds as in client-go's workqueue, whose words are kept:
https://pkg.go.dev/k8s.io/client-go/util/workqueue
"""

from __future__ import annotations

import asyncio
from collections import deque

BASE_DELAY = 0.005
MAX_DELAY = 1000.0
"""Seconds: the wait after a key's first failure doubles with each further one, up to the largest."""


class ShutDown(Exception):
    """The queue was shut down and is empty."""


class WorkQueue:
    """Keys that wait, keys being handled, and keys to be handled again when that is done."""

    def __init__(self, *, base_delay: float = BASE_DELAY, max_delay: float = MAX_DELAY) -> None:
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._queue: deque[str] = deque()
        self._dirty: set[str] = set()
        self._processing: set[str] = set()
        self._failures: dict[str, int] = {}
        self._delayed: dict[str, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._down = False
        self.adds = 0
        self.retries = 0

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, key: str) -> None:
        """Now, unless it waits already; when it is being handled, once more afterwards."""
        if self._down or key in self._dirty:
            return
        self.adds += 1
        self._dirty.add(key)
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Later. Of several delayed adds of a key the earliest counts."""
        if self._down:
            return
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        pending = self._delayed.get(key)
        if pending is not None:
            if pending.when() <= loop.time() + seconds:
                return
            pending.cancel()
        self._delayed[key] = loop.call_later(seconds, self._due, key)

    def add_rate_limited(self, key: str) -> None:
        """After a failure: later, and each time twice as late."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.retries += 1
        self.add_after(key, min(self._base_delay * 2.0 ** min(failures, 60), self._max_delay))

    def forget(self, key: str) -> None:
        """After success: the next failure starts from the smallest wait."""
        self._failures.pop(key, None)

    def num_requeues(self, key: str) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> str:
        """The next key; :meth:`done` must follow. Raises ShutDown."""
        while not self._queue:
            if self._down:
                raise ShutDown
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                elif self._queue:
                    self._wake()  # the wake-up was ours: pass it on
                raise
        key = self._queue.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: str) -> None:
        self._processing.discard(key)
        if key in self._dirty:
            self._push(key)

    def shutdown(self) -> None:
        """No more adds; workers get what waits already, then ShutDown."""
        self._down = True
        for handle in self._delayed.values():
            handle.cancel()
        self._delayed.clear()
        while self._waiters:
            self._wake()

    def _due(self, key: str) -> None:
        self._delayed.pop(key, None)
        self.add(key)

    def _push(self, key: str) -> None:
        self._queue.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
