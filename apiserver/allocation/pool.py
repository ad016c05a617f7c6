"""A range of numbers, each of which one owner has at most.

What is taken is derived: the stored objects say so, and the pool follows them through the watch cache. Between the
choice of a number and the stored object that carries it, a reservation holds it; one whose object was never stored
(validation refused it, the client went away) runs out by itself. So nothing can leak, and nothing needs repair.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from itertools import chain

RESERVATION_SECONDS = 60.0
RANDOM_TRIES = 64


class AlreadyAllocated(Exception):
    pass


class NotInRange(Exception):
    pass


class RangeFull(Exception):
    def __str__(self) -> str:
        return "range is full"


def static_band(size: int, step: int, limit: int) -> int:
    """How many numbers at the bottom are left to those who ask for one by hand (KEP-3070, KEP-3668)."""
    offset = min(max(16, size // step), limit)
    return offset if offset < size else 0


class Pool:
    """Numbers from ``first`` to ``last``; automatic choices come from above the static band while it has free ones."""

    def __init__(self, first: int, last: int, band: int) -> None:
        self.first, self.last, self._band = first, last, band
        self._owners: dict[int, str] = {}
        self._held: dict[str, frozenset[int]] = {}
        self._reserved: dict[int, tuple[str, float]] = {}

    def observe(self, owner: str, numbers: Iterable[int]) -> list[int]:
        """What the stored object of ``owner`` carries now. Returns numbers that another owner has already."""
        new = frozenset(n for n in numbers if self.first <= n <= self.last)
        for number in self._held.get(owner, frozenset()) - new:
            if self._owners.get(number) == owner:
                del self._owners[number]
        clashes = []
        for number in new:
            if self._owners.setdefault(number, owner) != owner:
                clashes.append(number)
            if self._reserved.get(number, ("", 0.0))[0] == owner:
                del self._reserved[number]
        if new:
            self._held[owner] = new
        else:
            self._held.pop(owner, None)
        return clashes

    def take(self, number: int, owner: str, *, reserve: bool = True) -> None:
        """Reserves the number asked for. Raises NotInRange, AlreadyAllocated."""
        if not self.first <= number <= self.last:
            raise NotInRange
        if not self._free(number, owner):
            raise AlreadyAllocated
        if reserve:
            self._reserve(number, owner)

    def choose(self, owner: str, *, reserve: bool = True) -> int:
        """Reserves any free number. Raises RangeFull."""
        number = self._pick()
        if reserve:
            self._reserve(number, owner)
        return number

    def _pick(self) -> int:
        upper = self.first + self._band
        for _ in range(RANDOM_TRIES):
            number = random.randint(upper, self.last)
            if self._free(number):
                return number
        for low, high in ((upper, self.last), (self.first, upper - 1)):
            if high < low:
                continue
            start = random.randint(low, high)
            for number in chain(range(start, high + 1), range(low, start)):
                if self._free(number):
                    return number
        raise RangeFull

    def _free(self, number: int, owner: str | None = None) -> bool:
        """Whether nobody has it (or ``owner`` itself has)."""
        if self._owners.get(number, owner) != owner:
            return False
        holder, deadline = self._reserved.get(number, (owner, 0.0))
        return holder == owner or deadline < time.monotonic()

    def _reserve(self, number: int, owner: str) -> None:
        if self._owners.get(number) != owner:
            self._reserved[number] = (owner, time.monotonic() + RESERVATION_SECONDS)
        if len(self._reserved) > 4096:
            now = time.monotonic()
            self._reserved = {n: r for n, r in self._reserved.items() if r[1] >= now}
