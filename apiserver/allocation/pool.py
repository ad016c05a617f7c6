"""A range of numbers, each of which one owner has at most.

What is taken is derived: the stored objects say so, and the pool follows them through the watch cache. It proposes
numbers; that nobody else took one meanwhile is made sure of where the object is stored, by a key of etcd for each
number (:mod:`apiserver.storage.claims`). So the pool reserves nothing. It only remembers for a moment what it proposed,
so that requests at the same time do not get the same proposal.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Collection, Iterable
from itertools import chain

RANDOM_TRIES = 64
RECENT = 256
"""How many proposals are remembered."""


class AlreadyAllocated(Exception):
    pass


class NotInRange(Exception):
    pass


class RangeFull(Exception):
    what = ""

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
        self._clashes: dict[int, list[str]] = {}
        """Who else carries a number that has an owner."""
        self._recent: OrderedDict[int, None] = OrderedDict()

    def observe(self, owner: str, numbers: Iterable[int]) -> list[int]:
        """What the stored object of ``owner`` carries now. Returns numbers that another owner has already."""
        new = frozenset(n for n in numbers if self.first <= n <= self.last)
        held = self._held.get(owner, frozenset())
        for number in held - new:
            self._release(number, owner)
        clashes = []
        for number in new - held:
            if self._owners.setdefault(number, owner) != owner:
                clashes.append(number)
                self._clashes.setdefault(number, []).append(owner)
        if new:
            self._held[owner] = new
        else:
            self._held.pop(owner, None)
        return clashes

    def _release(self, number: int, owner: str) -> None:
        others = self._clashes.get(number, [])
        if self._owners.get(number) != owner:
            others.remove(owner)
        elif others:
            self._owners[number] = others.pop(0)
        else:
            del self._owners[number]
        if not others:
            self._clashes.pop(number, None)

    def check(self, number: int, owner: str) -> None:
        """Raises NotInRange, or AlreadyAllocated when another owner has the number."""
        if not self.first <= number <= self.last:
            raise NotInRange
        if self._owners.get(number, owner) != owner:
            raise AlreadyAllocated

    def choose(self, but: Collection[int] = ()) -> int:
        """Any free number that is none of ``but``. Raises RangeFull."""
        number = self._pick(but)
        self._recent[number] = None
        self._recent.move_to_end(number)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return number

    def _pick(self, but: Collection[int]) -> int:
        upper = self.first + self._band
        for _ in range(RANDOM_TRIES):
            number = random.randint(upper, self.last)
            if number not in self._owners and number not in self._recent and number not in but:
                return number
        for proposed in (self._recent, ()):  # what was proposed may never have been stored
            for low, high in ((upper, self.last), (self.first, upper - 1)):
                if high < low:
                    continue
                start = random.randint(low, high)
                for number in chain(range(start, high + 1), range(low, start)):
                    if number not in self._owners and number not in proposed and number not in but:
                        return number
        raise RangeFull
