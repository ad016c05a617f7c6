"""Many requests at a time, but not too many, and none more than needed when the first ones fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from common.api.status import StatusError

T = TypeVar("T")
AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How many of a batch were done, and why it stopped."""

    done: int
    error: Exception | None = None


class Batches:
    """Bounded concurrency for the requests of one controller."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._slots = asyncio.Semaphore(at_once)

    async def slow_start(self, count: int, action: Callable[[], Awaitable[object]]) -> BatchResult:
        """Runs `action` `count` times, in batches of 1, 2, 4, 8 …, and stops after a batch with a failure.

        A quota or an admission plugin that refuses one pod refuses the next as well: so a thousand doomed requests
        become one. Upstream: `slowStartBatch`.
        """
        done, size = 0, 1
        while done < count:
            size = min(size, count - done)
            results = await asyncio.gather(*(self._bounded(action()) for _ in range(size)), return_exceptions=True)
            errors = failures(results)
            done += size - len(errors)
            if errors:
                return BatchResult(done, errors[0])
            size *= 2
        return BatchResult(done)

    async def each(self, items: Iterable[T], action: Callable[[T], Awaitable[object]]) -> None:
        """Runs `action` on all items, and raises the first failure after all have ended."""
        results = await asyncio.gather(*(self._bounded(action(item)) for item in items), return_exceptions=True)
        if errors := failures(results):
            raise errors[0]

    async def _bounded(self, request: Awaitable[object]) -> None:
        async with self._slots:
            await request


def failures(results: Iterable[object]) -> list[Exception]:
    """The exceptions among the results of a gather. A cancellation is not a failure and is raised."""
    errors = []
    for result in results:
        if isinstance(result, Exception):
            errors.append(result)
        elif isinstance(result, BaseException):
            raise result
    return errors


def is_namespace_terminating(error: Exception) -> bool:
    """Whether a creation was refused since the namespace is being deleted: trying again is of no use."""
    if not isinstance(error, StatusError):
        return False
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
