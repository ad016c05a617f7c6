"""What a controller has asked for and not yet seen.

A controller decides from a cache that lags behind the server. After it created three pods the cache may still show
none, and a second look would create three more. So it writes down how many creations and which deletions it expects to
see, and touches nothing until its watch has shown them. Upstream: `UIDTrackingControllerExpectations`.

An expectation that is never met (a watch event lost with a connection) is given up after five minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

TIMEOUT_SECONDS = 300.0


@dataclass(slots=True)
class _Expected:
    since: float
    creations: int = 0
    deletions: set[str] = field(default_factory=set)


class Expectations:
    """Expected creations (a number) and deletions (pod keys), for each owner's key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._expected: dict[str, _Expected] = {}

    def satisfied(self, key: str) -> bool:
        """Whether the cache shows all that was asked for, or has had long enough."""
        expected = self._expected.get(key)
        if expected is None:
            return True
        if expected.creations <= 0 and not expected.deletions:
            return True
        return self._clock() - expected.since > TIMEOUT_SECONDS

    def expect_creations(self, key: str, count: int) -> None:
        """Announces creations, before the first of them."""
        self._expected[key] = _Expected(self._clock(), creations=count)

    def expect_deletions(self, key: str, pods: Iterable[str]) -> None:
        """Announces deletions, before the first of them."""
        self._expected[key] = _Expected(self._clock(), deletions=set(pods))

    def creation_observed(self, key: str, count: int = 1) -> None:
        """Creations were seen, or turned out not to happen."""
        if expected := self._expected.get(key):
            expected.creations -= count

    def deletion_observed(self, key: str, pod: str) -> None:
        """A deletion was seen, or turned out not to happen."""
        if expected := self._expected.get(key):
            expected.deletions.discard(pod)

    def forget(self, key: str) -> None:
        """The owner is gone."""
        self._expected.pop(key, None)
