"""Printer columns: what ``kubectl get`` shows of a kind.

Cells equal those of upstream's pkg/printers/internalversion, so that scripts that read the output keep working.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from apiserver.types import Column, Object

UNKNOWN = "<unknown>"
NONE = "<none>"


def dig(obj: Any, *path: str) -> Any:
    """The value at a path, None where any part of it is missing."""
    for key in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(key)
    return obj


def human_duration(seconds: float) -> str:
    """A duration in at most three characters or so, as apimachinery's duration.HumanDuration."""
    s = int(seconds)
    if s < -1:
        return "<invalid>"
    if s < 0:
        return "0s"
    if s < 120:
        return f"{s}s"
    minutes = s // 60
    if minutes < 10:
        return f"{minutes}m{s % 60}s" if s % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = s // 3600
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 24 * 8:
        return f"{hours // 24}d{hours % 24}h" if hours % 24 else f"{hours // 24}d"
    if hours < 24 * 365 * 2:
        return f"{hours // 24}d"
    years = hours // 24 // 365
    if years < 8:
        days = hours // 24 % 365
        return f"{years}y{days}d" if days else f"{years}y"
    return f"{years}y"


def seconds_since(time: str, now: datetime | None = None) -> float:
    return ((now or datetime.now(UTC)) - datetime.fromisoformat(time)).total_seconds()


def since(time: str | None) -> str:
    """How long ago an RFC 3339 time was."""
    return human_duration(seconds_since(time)) if time else UNKNOWN


def name_of(obj: Object) -> Any:
    return dig(obj, "metadata", "name")


def age_of(obj: Object) -> str:
    return since(dig(obj, "metadata", "creationTimestamp"))


def map_text(labels: Mapping[str, str] | None) -> str:
    """``a=b,c=d`` in order of keys, ``<none>`` when there are none."""
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) if labels else NONE


_OPERATORS = {"In": "in", "NotIn": "notin"}


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector as metav1.FormatLabelSelector prints it."""
    if selector is None:
        return NONE
    parts = [(k, f"{k}={v}") for k, v in (selector.get("matchLabels") or {}).items()]
    parts += [(e.get("key", ""), _expression(e)) for e in selector.get("matchExpressions") or ()]
    return ",".join(text for _, text in sorted(parts)) or NONE


def _expression(expression: Mapping[str, Any]) -> str:
    key, operator = expression.get("key", ""), expression.get("operator")
    if operator == "Exists":
        return str(key)
    if operator == "DoesNotExist":
        return f"!{key}"
    return f"{key} {_OPERATORS.get(str(operator), operator)} ({','.join(sorted(expression.get('values') or ()))})"


def text(name: str, *path: str, priority: int = 0, empty: str = "") -> Column:
    """A string column that shows the field at a path."""
    return Column(name, "string", lambda obj: dig(obj, *path) or empty, priority)


def number(name: str, *path: str, priority: int = 0) -> Column:
    return Column(name, "integer", lambda obj: dig(obj, *path) or 0, priority)


def cell(name: str, function: Callable[[Object], Any], *, type: str = "string", priority: int = 0) -> Column:
    return Column(name, type, function, priority)


NAME = Column("Name", "string", name_of, format="name")
AGE = Column("Age", "string", age_of)
CREATED_AT = Column("Created At", "date", lambda obj: dig(obj, "metadata", "creationTimestamp"))
NAME_AGE = (NAME, AGE)


def containers_columns(*path: str) -> tuple[Column, Column]:
    """Containers and Images of a pod template, shown by ``-o wide``."""

    def join(obj: Object, key: str) -> str:
        containers: Iterable[Mapping[str, str]] = dig(obj, *path) or ()
        return ",".join(c.get(key, "") for c in containers)

    return (
        Column("Containers", "string", lambda o: join(o, "name"), 1),
        Column("Images", "string", lambda o: join(o, "image"), 1),
    )
