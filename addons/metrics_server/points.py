"""Points: what a kubelet's ``/metrics/resource`` says of the node and its containers at one moment. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

NODE_CPU, NODE_MEMORY = "node_cpu_usage_seconds_total", "node_memory_working_set_bytes"
CPU, MEMORY = "container_cpu_usage_seconds_total", "container_memory_working_set_bytes"
START = "container_start_time_seconds"
WANTED = (NODE_CPU, NODE_MEMORY, CPU, MEMORY, START)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')

PodKey = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Point:
    """Cumulative CPU (nanoseconds) since ``start``, and memory, at a time. Times are seconds since the epoch."""

    start: float
    at: float
    cpu: int
    memory: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Of one node, or of all."""

    nodes: Mapping[str, Point] = field(default_factory=dict)
    pods: Mapping[PodKey, Mapping[str, Point]] = field(default_factory=dict)


@dataclass(slots=True)
class _Draft:
    start: float = 0.0
    at: float | None = None
    cpu: int | None = None
    memory: int | None = None

    def point(self) -> Point | None:
        """None while something is missing: half a point would be a wrong one."""
        if self.at is None or self.cpu is None or self.memory is None:
            return None
        return Point(self.start, self.at, self.cpu, self.memory)


def parse(text: str, node: str, now: float) -> Batch:
    """A scrape's points. Samples without a time are of ``now``. A pod of which a container is incomplete is left
    out, as upstream does it: its sum would be wrong."""
    of_node, containers = _Draft(), dict[tuple[str, str, str], _Draft]()
    for name, labels, value, at in samples(text):
        if name in (NODE_CPU, NODE_MEMORY):
            _take(of_node, name == NODE_CPU, value, at if at is not None else now)
            continue
        key = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", ""))
        draft = containers.setdefault(key, _Draft())
        if name == START:
            draft.start = value
        else:
            _take(draft, name == CPU, value, at if at is not None else now)
    pods: dict[PodKey, dict[str, Point]] = {}
    broken: set[PodKey] = set()
    for (namespace, pod, container), draft in containers.items():
        point = draft.point()
        if point is None:
            broken.add((namespace, pod))
        else:
            pods.setdefault((namespace, pod), {})[container] = point
    node_point = of_node.point()
    return Batch(
        {node: node_point} if node_point is not None else {},
        {key: found for key, found in pods.items() if key not in broken},
    )


def _take(draft: _Draft, is_cpu: bool, value: float, at: float) -> None:
    if is_cpu:
        draft.cpu, draft.at = int(value * 1e9), at  # the time of CPU is the one that rates depend on
    else:
        draft.memory = int(value)
        draft.at = at if draft.at is None else draft.at


def samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float, float | None]]:
    """Name, labels, value and time (seconds) of the series that are wanted. Lines that cannot be read are passed
    over."""
    for line in text.splitlines():
        if not line.startswith(WANTED):
            continue
        head, brace, rest = line.partition("{")
        if brace:
            inside, closing, rest = rest.rpartition("}")
            if not closing:
                continue
            labels = {name: _unescaped(value) for name, value in _LABEL.findall(inside)}
        else:
            head, _, rest = line.partition(" ")
            labels = {}
        if head not in WANTED:
            continue
        words = rest.split()
        try:
            yield head, labels, float(words[0]), int(words[1]) / 1000 if len(words) > 1 else None
        except (ValueError, IndexError):
            continue


def _unescaped(value: str) -> str:
    if "\\" not in value:
        return value
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], value)
