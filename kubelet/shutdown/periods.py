"""How long pods have to end when the node shuts down, by their priority. Pure.

https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#pod-priority-graceful-node-shutdown
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lightkube.resources.core_v1 import Pod

from kubelet.pods.identity import DEFAULT_GRACE_PERIOD, SYSTEM_CRITICAL_PRIORITY, spec_of


@dataclass(frozen=True, slots=True)
class Period:
    """Pods of this priority and above, up to the next period's, have so many seconds."""

    priority: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Group:
    seconds: int
    pods: tuple[Pod, ...]


def parse_periods(text: str) -> tuple[Period, ...]:
    """``0=30,1000=10``: priority and seconds. Raises ValueError."""
    periods = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        priority, _, seconds = part.partition("=")
        period = Period(int(priority), int(seconds))
        if period.seconds < 0:
            raise ValueError(f"ShutdownGracePeriodSeconds {period.seconds} must be >= 0")
        periods.append(period)
    if len({period.priority for period in periods}) < len(periods):
        raise ValueError("a priority has two shutdown grace periods")
    return tuple(sorted(periods, key=lambda period: period.priority))


def periods_of(total: float, critical: float) -> tuple[Period, ...]:
    """--shutdown-grace-period, the last part of which is the critical pods'. None when the first is 0."""
    if critical > total:
        raise ValueError(f"ShutdownGracePeriodCriticalPods {critical:g}s must be <= ShutdownGracePeriod {total:g}s")
    if 0 < total < 1 or 0 < critical < 1:
        raise ValueError("shutdown grace periods must be either zero or otherwise >= 1 sec")
    if not total:
        return ()
    return (Period(0, int(total - critical)), Period(SYSTEM_CRITICAL_PRIORITY, int(critical)))


def groups(periods: Sequence[Period], pods: Iterable[Pod]) -> list[Group]:
    """In the order of ending; pods below the lowest priority go with it. Groups without pods take no time."""
    bounds = [period.priority for period in periods]
    held: list[list[Pod]] = [[] for _ in periods]
    for pod in pods:
        held[max(0, bisect_right(bounds, spec_of(pod).priority or 0) - 1)].append(pod)
    return [Group(period.seconds, tuple(found)) for period, found in zip(periods, held, strict=True) if found]


def grace_of(pod: Pod, group: Group) -> int:
    """The pod's own grace period when it is shorter."""
    own = spec_of(pod).terminationGracePeriodSeconds
    return min(DEFAULT_GRACE_PERIOD if own is None else int(own), group.seconds)
