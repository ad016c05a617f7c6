"""Exponential back-off by key: 10 s doubling to 5 min, forgotten after twice the maximum without a failure.

The same for restarts (CrashLoopBackOff) and for image pulls (ImagePullBackOff), as in client-go's flowcontrol.Backoff.
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

INITIAL = timedelta(seconds=10)
MAXIMUM = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class _Entry:
    delay: timedelta
    updated: datetime


def utcnow() -> datetime:
    return datetime.now(UTC)


class Backoff:
    def __init__(
        self,
        initial: timedelta = INITIAL,
        maximum: timedelta = MAXIMUM,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def now(self) -> datetime:
        return self._clock()

    def delay(self, key: str) -> timedelta:
        entry = self._entries.get(key)
        return entry.delay if entry else timedelta(0)

    def remaining_since(self, key: str, event: datetime) -> timedelta:
        """How long to wait still, when the last failure was at ``event``; zero when the time has come."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, event):
            return timedelta(0)
        return max(timedelta(0), event + entry.delay - self._clock())

    def remaining(self, key: str) -> timedelta:
        """How long to wait still since the failure that was counted last."""
        entry = self._entries.get(key)
        return self.remaining_since(key, entry.updated) if entry else timedelta(0)

    def next(self, key: str, event: datetime) -> None:
        """Counts a failure (or a restart) after one at ``event``."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, event):
            delay = self._initial
        else:
            delay = min(entry.delay * 2, self._maximum)
        self._entries[key] = _Entry(delay, self._clock())

    def reset(self, key: str) -> None:
        self._entries.pop(key, None)

    def forget(self, prefix: str) -> None:
        """All keys of something that is gone."""
        for key in [key for key in self._entries if key.startswith(prefix)]:
            del self._entries[key]

    def _expired(self, entry: _Entry, event: datetime) -> bool:
        return event - entry.updated > self._maximum * 2
