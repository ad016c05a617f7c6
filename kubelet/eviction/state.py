"""Which thresholds are met, since when, and what the node says of itself: a pure step from one look to the next.

A soft threshold counts when it has been met for its grace period; a threshold that counted goes on counting until its
minimum reclaim is there again; and a condition stays for ``--eviction-pressure-transition-period`` after it was seen
last, so that a node at the edge does not swing (upstream: pkg/kubelet/eviction, synchronize).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kubelet.eviction.signals import Observed
from kubelet.eviction.thresholds import CONDITIONS, RESOURCES, Threshold


@dataclass(frozen=True, slots=True)
class State:
    since: Mapping[Threshold, float] = field(default_factory=dict)
    """When each threshold that is met was met first."""
    seen: Mapping[str, float] = field(default_factory=dict)
    """When each condition was true last."""
    conditions: tuple[str, ...] = ()
    """What the node says: MemoryPressure, DiskPressure, PIDPressure."""
    due: tuple[Threshold, ...] = ()
    """Those that something must be done about, the most urgent first."""


def met(thresholds: Iterable[Threshold], observed: Mapping[str, Observed], *, reclaim: bool = False) -> list[Threshold]:
    """``reclaim``: with the minimum reclaim on top."""
    found = []
    for threshold in thresholds:
        now = observed.get(threshold.signal)
        if now is None:
            continue
        least = threshold.least.of(now.capacity) + (threshold.reclaim.of(now.capacity) if reclaim else 0)
        if now.available < least:
            found.append(threshold)
    return found


def advance(
    state: State,
    thresholds: Sequence[Threshold],
    observed: Mapping[str, Observed],
    now: float,
    transition: float,
) -> State:
    """``now`` in seconds of any clock that goes forward; ``transition`` in seconds."""
    present = met(thresholds, observed)
    before = [each for each in state.due if each in thresholds]
    present += [each for each in met(before, observed, reclaim=True) if each not in present]
    since = {threshold: state.since.get(threshold, now) for threshold in present}
    seen = {**state.seen, **{CONDITIONS[threshold.signal]: now for threshold in present}}
    due = [threshold for threshold, first in since.items() if now - first >= threshold.grace]
    return State(
        since=since,
        seen=seen,
        conditions=tuple(condition for condition, last in seen.items() if last == now or now - last < transition),
        due=tuple(sorted(due, key=lambda each: RESOURCES[each.signal] != "memory")),
    )
