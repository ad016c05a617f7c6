"""How much is done at a time, and for how long: what keeps one client from taking the server from the others.

Requests in flight are counted by kind, reading and changing (upstream: filters.WithMaxInFlightLimit), which costs two
additions. Deadlines cost no timer for each request either: requests end in milliseconds, so all that are running stand
in one ordered dict, and a look at its oldest once a second finds those that are overdue. A request that names a shorter
``timeout`` gets a timer of its own.
https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/ (--max-requests-inflight, …)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from apiserver.types import User
from common.api.duration import parse_duration
from common.api.status import BadRequest, Timeout, TooManyRequests

if TYPE_CHECKING:
    from apiserver.endpoints.request import Request

LOOK_SECONDS = 1.0
MASTERS = "system:masters"
READING = frozenset({"get", "list", "watch"})
LONG_SUBRESOURCES = frozenset({"attach", "exec", "proxy", "log", "portforward"})
PROBES = ("/healthz", "/livez", "/readyz")
"""Whoever asks whether a busy server lives must be told."""


class Pool:
    """Requests of one kind that are in flight."""

    __slots__ = ("kind", "most", "refused", "running")

    def __init__(self, kind: str, most: int) -> None:
        self.kind = kind
        self.most = most
        """0 for no limit."""
        self.running = 0
        self.refused = 0

    def enter(self, user: User) -> bool:
        """Whether the request is counted. Raises TooManyRequests when there is no room; masters need none."""
        if self.running < self.most or not self.most:
            self.running += 1
            return True
        if MASTERS in user.groups:
            return False
        self.refused += 1
        raise TooManyRequests("Too many requests, please try again later.", {"retryAfterSeconds": 1})

    def leave(self) -> None:
        self.running -= 1


class Limits:
    """The pools and the deadlines of one server."""

    def __init__(
        self, *, reading: int = 400, mutating: int = 200, seconds: float = 60.0, watch_seconds: int = 1800
    ) -> None:
        self.reading = Pool("readOnly", reading)
        self.mutating = Pool("mutating", mutating)
        self._seconds = seconds
        self._watch_seconds = watch_seconds
        self._running: dict[Request, asyncio.Task[object]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def figures(self) -> Iterator[Metric]:
        running = GaugeMetricFamily(
            "apiserver_current_inflight_requests", "Requests that are worked on.", labels=("request_kind",)
        )
        refused = CounterMetricFamily(
            "apiserver_dropped_requests", "Requests that found no room.", labels=("request_kind",)
        )
        for pool in (self.reading, self.mutating):
            running.add_metric([pool.kind], pool.running)
            refused.add_metric([pool.kind], pool.refused)
        yield from (running, refused)

    def pool(self, verb: str) -> Pool:
        return self.reading if verb in READING else self.mutating

    def watch_seconds(self) -> float:
        """For how long a watch that does not say: differently long, so that they do not all come again at once."""
        return random.uniform(self._watch_seconds, 2 * self._watch_seconds)

    def begin(self, request: Request) -> None:
        """From here on the request has ``seconds``; :meth:`end` must follow."""
        task = asyncio.current_task()
        assert task is not None
        self._running[request] = task
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def end(self, request: Request) -> None:
        """The request is done, or turned out to be one that may last."""
        self._running.pop(request, None)
        if request.timer is not None:
            request.timer.cancel()
            request.timer = None

    def shorten(self, request: Request) -> None:
        """Heeds the client's own ``timeout``. Raises BadRequest for one that cannot be read."""
        text = request.param("timeout")
        if not text:
            return
        try:
            seconds = parse_duration(text.lstrip("+")) if not text.startswith("-") else -parse_duration(text[1:])
        except ValueError:
            raise BadRequest(
                f'invalid timeout specified in the request URL - time: invalid duration "{text}"'
            ) from None
        if 0 < seconds < self._seconds and request in self._running:
            request.timer = asyncio.get_running_loop().call_later(seconds, self._expire, request)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        overdue = loop.time() - self._seconds
        for request in self._oldest(overdue):
            self._expire(request)
        self._timer = loop.call_later(LOOK_SECONDS, self._look) if self._running else None

    def _oldest(self, overdue: float) -> list[Request]:
        found = []
        for request in self._running:
            if request.began > overdue:
                break  # all that follow began later
            found.append(request)
        return found

    def _expire(self, request: Request) -> None:
        task = self._running.pop(request, None)
        if task is not None:
            request.expired = True
            task.cancel()


def is_long_running(verb: str, subresource: str) -> bool:
    """What lasts as long as its client wishes (upstream: BasicLongRunningRequestCheck)."""
    return verb == "watch" or subresource in LONG_SUBRESOURCES


def too_late() -> Timeout:
    return Timeout("Timeout: request did not complete within the allotted timeout", {})
