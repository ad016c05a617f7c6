"""Conditions: one entry for each type, whose lastTransitionTime tells when its status last changed."""

from __future__ import annotations

from typing import Any, TypeVar

from common.api.time import now

C = TypeVar("C")


def get_condition(conditions: list[C] | None, type_: str) -> C | None:
    for condition in conditions or ():
        if condition.type == type_:  # type: ignore[attr-defined]
            return condition
    return None


def is_true(conditions: list[Any] | None, type_: str) -> bool:
    condition = get_condition(conditions, type_)
    return condition is not None and condition.status == "True"


_TIMES = ("lastTransitionTime", "lastUpdateTime", "lastHeartbeatTime", "lastProbeTime")


def set_condition(conditions: list[Any], new: Any) -> bool:
    """Puts ``new`` in its place. Returns whether anything but times changed.

    lastTransitionTime is kept while the status is unchanged, else it is ``new``'s or the present.
    """
    for i, old in enumerate(conditions):
        if old.type != new.type:
            continue
        if old.status == new.status:
            new.lastTransitionTime = old.lastTransitionTime
        elif new.lastTransitionTime is None:
            new.lastTransitionTime = now()
        conditions[i] = new
        return any(getattr(old, f) != getattr(new, f) for f in type(new).__struct_fields__ if f not in _TIMES)
    if new.lastTransitionTime is None:
        new.lastTransitionTime = now()
    conditions.append(new)
    return True
