"""Prometheus' text format, written straight: thousands of lines whose series come and go with containers.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def labels(**values: str) -> str:
    """``{a="b",c="d"}``; "" for none. Made once for all series of a container."""
    if not values:
        return ""
    return "{" + ",".join(f'{name}="{escape(value)}"' for name, value in sorted(values.items())) + "}"


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


@dataclass(slots=True)
class Family:
    name: str
    help: str
    type: str
    lines: list[str] = field(default_factory=list)

    def add(self, labels: str, value: float, at: int | None = None) -> None:
        """``labels`` as :func:`labels` writes them, ``at`` in milliseconds since the epoch."""
        self.lines.append(f"{self.name}{labels} {value!r}" if at is None else f"{self.name}{labels} {value!r} {at}")


def counter(name: str, help: str) -> Family:
    return Family(name, help, "counter")


def gauge(name: str, help: str) -> Family:
    return Family(name, help, "gauge")


def render(families: Iterable[Family]) -> str:
    """Those that have series, by name as upstream has them."""
    parts: list[str] = []
    for family in sorted(families, key=lambda each: each.name):
        if family.lines:
            parts.append(f"# HELP {family.name} {family.help}")
            parts.append(f"# TYPE {family.name} {family.type}")
            parts += family.lines
    return "\n".join(parts) + "\n" if parts else ""
