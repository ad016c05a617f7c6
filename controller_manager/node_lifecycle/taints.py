"""The taints that a node's conditions call for. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-nodes-by-condition
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from lightkube.models.core_v1 import Taint
from lightkube.resources.core_v1 import Node

from common.api.conditions import get_condition
from common.api.taints import (
    DISK_PRESSURE,
    MEMORY_PRESSURE,
    NETWORK_UNAVAILABLE,
    NOT_READY,
    PID_PRESSURE,
    UNREACHABLE,
    UNSCHEDULABLE,
)
from controller_manager.node_lifecycle.health import ready_status
from controller_manager.objects import need

_BY_CONDITION = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): MEMORY_PRESSURE,
    ("DiskPressure", "True"): DISK_PRESSURE,
    ("PIDPressure", "True"): PID_PRESSURE,
    ("NetworkUnavailable", "True"): NETWORK_UNAVAILABLE,
}
_NO_SCHEDULE_KEYS = frozenset({*_BY_CONDITION.values(), UNSCHEDULABLE})
_EVICTING_KEYS = frozenset({NOT_READY, UNREACHABLE})


def no_schedule_keys(node: Node) -> list[str]:
    """The keys for which new pods stay away."""
    conditions = node.status.conditions if node.status else None
    keys = [
        key
        for (type_, status), key in _BY_CONDITION.items()
        if (found := get_condition(conditions, type_)) and found.status == status
    ]
    return [*keys, UNSCHEDULABLE] if need(node.spec).unschedulable else keys


def evicting_key(node: Node) -> str | None:
    """The key for which pods leave: not-ready or unreachable, None for a node that is well."""
    return {"True": None, "False": NOT_READY}.get(ready_status(node), UNREACHABLE)


def with_no_schedule(node: Node, now: datetime) -> list[Taint]:
    """The node's taints with the NoSchedule ones as its conditions have it; all others are kept."""
    return _with(need(node.spec).taints or (), "NoSchedule", _NO_SCHEDULE_KEYS, no_schedule_keys(node), now)


def with_evicting(taints: Sequence[Taint], key: str | None, now: datetime) -> list[Taint]:
    """Taints of which the NoExecute ones for not-ready and unreachable are just `key`."""
    return _with(taints, "NoExecute", _EVICTING_KEYS, [key] if key else [], now)


def is_evicting(taints: Sequence[Taint]) -> bool:
    """Whether pods leave since the node is not ready or unreachable."""
    return any(taint.effect == "NoExecute" and taint.key in _EVICTING_KEYS for taint in taints)


def _with(
    taints: Sequence[Taint], effect: str, managed: frozenset[str], wanted: Sequence[str], now: datetime
) -> list[Taint]:
    kept = [t for t in taints if t.effect != effect or t.key not in managed or t.key in wanted]
    present = {t.key for t in kept if t.effect == effect}
    return kept + [Taint(key=key, effect=effect, timeAdded=now) for key in wanted if key not in present]
