"""The arithmetic of Deployments: how large each ReplicaSet may be in the next step. Pure.

Two promises hold at every step of a rolling update: never more than `replicas + maxSurge` pods, never fewer than
`replicas - maxUnavailable` available ones.
https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-update-deployment
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

Sizes = dict[str, int]
"""The new spec.replicas of ReplicaSets, by name."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a Deployment asks for. `max_surge` and `max_unavailable` are resolved; both are 0 for Recreate."""

    replicas: int
    max_surge: int = 0
    max_unavailable: int = 0
    rolling: bool = True

    @property
    def most(self) -> int:
        """The most pods that may exist."""
        return self.replicas + self.max_surge

    @property
    def least_available(self) -> int:
        """The fewest pods that must be available."""
        return self.replicas - self.max_unavailable


@dataclass(frozen=True, slots=True)
class View:
    """What the arithmetic needs of a ReplicaSet."""

    name: str
    created: datetime
    replicas: int
    """spec.replicas"""
    actual: int = 0
    """status.replicas"""
    ready: int = 0
    available: int = 0
    desired_then: int | None = None
    """The Deployment's replicas when this was last scaled (annotation deployment.kubernetes.io/desired-replicas)."""
    most_then: int | None = None
    """replicas + maxSurge when this was last scaled (annotation deployment.kubernetes.io/max-replicas)."""


def resolve(value: int | str | None, total: int, *, round_up: bool) -> int:
    """An intOrString: a number, or a percentage of `total`."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"invalid value {value!r}: neither an integer nor a percentage")
    scaled = int(value[:-1]) * total
    return -(-scaled // 100) if round_up else scaled // 100


def goal(replicas: int, max_surge: int | str | None, max_unavailable: int | str | None) -> Goal:
    """The goal of a rolling update. When both bounds round to 0, one pod may be missing: else nothing could move."""
    surge = resolve(max_surge, replicas, round_up=True)
    unavailable = resolve(max_unavailable, replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Goal(replicas, surge, min(unavailable, replicas))


def active(sets: Sequence[View]) -> list[View]:
    """Those that want pods."""
    return [each for each in sets if each.replicas > 0]


def new_size(goal: Goal, new: View, old: Sequence[View]) -> int:
    """The size of the new ReplicaSet: as large as the surge allows, or just what is wanted for Recreate."""
    if not goal.rolling:
        return goal.replicas
    if new.replicas > goal.replicas:
        return goal.replicas
    room = goal.most - new.replicas - sum(each.replicas for each in old)
    return new.replicas + max(0, min(room, goal.replicas - new.replicas))


def shrink_old(goal: Goal, new: View, old: Sequence[View]) -> Sizes:
    """How far old ReplicaSets shrink: first by pods that are not available anyway, then by what may be missing."""
    old = sorted(active(old), key=lambda each: each.created)
    total = new.replicas + sum(each.replicas for each in old)
    budget = total - goal.least_available - max(0, new.replicas - new.available)
    if not old or budget <= 0:
        return {}
    remaining, cleaned = [], 0
    for each in old:
        unhealthy = max(0, each.replicas - each.available)
        step = min(budget - cleaned, unhealthy)
        cleaned += step
        remaining.append(replace(each, replicas=each.replicas - step))
    spare = new.available + sum(each.available for each in old) - goal.least_available
    sizes: Sizes = {}
    for before, each in zip(old, remaining, strict=True):
        step = min(each.replicas, max(0, spare))
        spare -= step
        if each.replicas - step != before.replicas:
            sizes[each.name] = each.replicas - step
    return sizes


def is_scaling(goal: Goal, sets: Sequence[View]) -> bool:
    """Whether the Deployment's replicas changed since its ReplicaSets were last scaled."""
    return any(each.desired_then not in (None, goal.replicas) for each in active(sets))


def scale(goal: Goal, new: View | None, old: Sequence[View]) -> Sizes:
    """Sizes after a change of replicas outside of (or in the middle of) a rollout.

    One ReplicaSet alone takes the new size. A finished rollout empties the old ones. In the middle of a rollout every
    ReplicaSet grows or shrinks in proportion, to lower the risk that all new pods are of a revision that fails.
    https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#proportional-scaling
    """
    only = _active_or_latest(new, old)
    if only is not None:
        return {only.name: goal.replicas} if only.replicas != goal.replicas else {}
    if new is not None and _saturated(goal, new):
        return {each.name: 0 for each in active(old)}
    if not goal.rolling:
        return {}
    return _in_proportion(goal, active([*old, *([new] if new else [])]))


def _active_or_latest(new: View | None, old: Sequence[View]) -> View | None:
    """The only active ReplicaSet; the newest when none is active; None when several are."""
    everything = [*old, *([new] if new else [])]
    with_pods = active(everything)
    if len(with_pods) > 1:
        return None
    if with_pods:
        return with_pods[0]
    return new or max(old, key=lambda each: each.created, default=None)


def _saturated(goal: Goal, new: View) -> bool:
    return new.desired_then == new.replicas == new.available == goal.replicas


def _in_proportion(goal: Goal, sets: Sequence[View]) -> Sizes:
    """Deals the difference out by size, largest first; what rounding leaves goes to the largest.

    All sets are named, also those whose size stays: their annotations change.
    """
    allowed = goal.most if goal.replicas > 0 else 0
    to_add = allowed - sum(each.replicas for each in sets)
    newest_first = sorted(sets, key=lambda each: each.created, reverse=to_add > 0)
    ordered = sorted(newest_first, key=lambda each: -each.replicas)
    sizes, added = {}, 0
    for each in ordered:
        share = _share(goal, each, to_add, added)
        sizes[each.name] = each.replicas + share
        added += share
    if ordered and to_add:
        largest = ordered[0].name
        sizes[largest] = max(0, sizes[largest] + to_add - added)
    return sizes


def _share(goal: Goal, each: View, to_add: int, added: int) -> int:
    if to_add == 0 or to_add == added:
        return 0
    fraction = _fraction(goal, each)
    return min(fraction, to_add - added) if to_add > 0 else max(fraction, to_add - added)


def _fraction(goal: Goal, each: View) -> int:
    """How much the set changes if it keeps its share of the whole."""
    if goal.replicas == 0:
        return -each.replicas
    before = each.most_then or each.actual
    if before == 0:
        return 0
    return _round(each.replicas * goal.most / before) - each.replicas


def _round(value: float) -> int:
    """Half away from zero, unlike Python's round."""
    return int(value - 0.5) if value < 0 else int(value + 0.5)
