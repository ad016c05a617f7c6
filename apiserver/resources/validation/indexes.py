"""Index lists of Jobs: ``1,3-5,7``, increasing, each below the number of completions."""

from __future__ import annotations

import json
import re

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
Interval = tuple[int, int]


class IndexesError(ValueError):
    """What is wrong with a list of indexes."""


def parse_indexes(text: str, completions: int) -> list[Interval]:
    """Raises IndexesError in upstream's words."""
    intervals: list[Interval] = []
    for part in text.split(",") if text else ():
        first, last = _interval(part, completions)
        if intervals and intervals[-1][1] >= first:
            raise IndexesError(f"non-increasing order, previous: {intervals[-1][1]}, current: {first}")
        intervals.append((first, last))
    return intervals


def count(intervals: list[Interval]) -> int:
    return sum(last - first + 1 for first, last in intervals)


def overlap(completed: str, failed: str, completions: int) -> int | None:
    """The first index that is in both; parts that cannot be read are passed over."""
    ours, theirs = _readable(completed, completions), _readable(failed, completions)
    i = j = 0
    while i < len(ours) and j < len(theirs):
        a, b = ours[i], theirs[j]
        if a[0] <= b[1] and b[0] <= a[1]:
            return max(a[0], b[0])
        if a[0] <= b[0]:
            i += 1
        else:
            j += 1
    return None


def _readable(text: str, completions: int) -> list[Interval]:
    found = []
    for part in text.split(",") if text else ():
        try:
            found.append(_interval(part, completions))
        except IndexesError:
            continue
    return found


def _interval(text: str, completions: int) -> Interval:
    limits = text.split("-")
    if len(limits) > 2:
        raise IndexesError(
            f"the fragment {json.dumps(text)} violates the requirement that an index interval can have at most two "
            "parts separated by '-'"
        )
    first = _index(limits[0], completions)
    if len(limits) == 1:
        return first, first
    last = _index(limits[1], completions)
    if first >= last:
        raise IndexesError(f"non-increasing order, previous: {first}, current: {last}")
    return first, last


def _index(text: str, completions: int) -> int:
    if not _INTEGER.fullmatch(text):
        raise IndexesError(f"cannot convert string to integer for index: {json.dumps(text)}")
    if (number := int(text)) >= completions:
        raise IndexesError(f"too large index: {json.dumps(text)}")
    return number
