"""Controller: a queue of keys and workers that call ``reconcile(key)``. Every control loop is one of these.

``reconcile`` is level-triggered: it looks at what is, not at what happened, and may be called at any time, again and
again. It may return a number of seconds after which it wants to look once more. A StatusError of the kind that time
heals (conflict, server away) is retried quietly, anything else is logged with its traceback; both with back-off.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from common.api.meta import key_of
from common.api.status import Conflict, StatusError
from common.workqueue import WorkQueue

log = logging.getLogger(__name__)

DEPTH = Gauge("workqueue_depth", "Current depth of workqueue", ["name"])
ADDS = Counter("workqueue_adds", "Total number of adds handled by workqueue", ["name"])
RETRIES = Counter("workqueue_retries", "Total number of retries handled by workqueue", ["name"])
WORK = Histogram(
    "workqueue_work_duration_seconds",
    "How long in seconds processing an item from workqueue takes.",
    ["name"],
    buckets=(0.001, 0.01, 0.1, 1, 10),
)

MAX_DELAY = 60.0
"""Seconds. Upstream's controllers wait up to 1,000: too long for a class after a server was away."""

Reconcile = Callable[[str], Awaitable[float | None]]


class Controller:
    """``name`` is the controller's for logs and metrics; at most ``workers`` keys are handled at once."""

    def __init__(self, name: str, reconcile: Reconcile, *, workers: int = 5) -> None:
        self.name = name
        self.queue = WorkQueue(max_delay=MAX_DELAY)
        self._reconcile = reconcile
        self._workers = workers
        DEPTH.labels(name).set_function(self.queue.__len__)

    def enqueue(self, obj: Any) -> None:
        """Adds the key of a struct or dict."""
        self.queue.add(key_of(obj))

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._workers):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        duration, adds, retries = WORK.labels(self.name), ADDS.labels(self.name), RETRIES.labels(self.name)
        while True:
            key = await self.queue.get()
            started = time.monotonic()
            try:
                again = await self._reconcile(key)
            except StatusError as error:
                level = logging.DEBUG if isinstance(error, Conflict) else logging.WARNING
                log.log(level, "%s: %s: %s", self.name, key, error)
                retries.inc()
                self.queue.add_rate_limited(key)
            except Exception:
                log.exception("%s: %s", self.name, key)
                retries.inc()
                self.queue.add_rate_limited(key)
            else:
                self.queue.forget(key)
                if again is not None:
                    self.queue.add_after(key, again)
            finally:
                self.queue.done(key)
                adds.inc()
                duration.observe(time.monotonic() - started)
