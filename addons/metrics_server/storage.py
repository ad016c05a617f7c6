"""The last two samples of everything, and what they say: CPU is the difference of two, memory is the last.

Upstream: metrics-server pkg/storage. A container that has just begun needs no second sample: it had used nothing when
it started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from addons.metrics_server.points import Batch, PodKey, Point

FRESH_SECONDS = 10.0
"""The least age at which a container's own start is good as its first sample."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU in nanocores over ``window`` seconds that end ``at``, memory in bytes."""

    cpu: int
    memory: int
    at: float
    window: float


def usage_of(last: Point, before: Point) -> Usage | None:
    """None for a pair that cannot be: the container began anew, or the clock went back."""
    window = last.at - before.at
    if last.start < before.start or last.cpu < before.cpu or window <= 0:
        return None
    return Usage(int((last.cpu - before.cpu) / window), last.memory, last.at, window)


class Storage:
    def __init__(self, resolution: float) -> None:
        self._resolution = resolution
        self._last = Batch()
        self._before = Batch()

    @property
    def ready(self) -> bool:
        """Whether anything can be told."""
        return bool(self._before.nodes) or bool(self._before.pods)

    def store(self, batch: Batch) -> None:
        """A scrape of all nodes. What is not in it is forgotten."""
        nodes = {
            name: before
            for name, point in batch.nodes.items()
            if (before := self._node_before(name, point)) is not None
        }
        pods: dict[PodKey, Mapping[str, Point]] = {}
        for key, containers in batch.pods.items():
            found = {
                name: before
                for name, point in containers.items()
                if (before := self._container_before(key, name, point)) is not None
            }
            if found:
                pods[key] = found
        self._last, self._before = batch, Batch(nodes, pods)

    def _node_before(self, name: str, point: Point) -> Point | None:
        return _earlier(point, self._last.nodes.get(name), self._before.nodes.get(name))

    def _container_before(self, key: PodKey, name: str, point: Point) -> Point | None:
        age = point.at - point.start
        if FRESH_SECONDS <= age < self._resolution:
            return Point(point.start, point.start, 0, 0)
        last = self._last.pods.get(key, {}).get(name)
        if last is None or point.start >= last.at:
            return None  # another container of the same name
        return _earlier(point, last, self._before.pods.get(key, {}).get(name))

    def node(self, name: str) -> Usage | None:
        last, before = self._last.nodes.get(name), self._before.nodes.get(name)
        return usage_of(last, before) if last is not None and before is not None else None

    def pod(self, key: PodKey) -> dict[str, Usage] | None:
        """By container; None when not all of them can be told."""
        last, before = self._last.pods.get(key), self._before.pods.get(key)
        if last is None or before is None:
            return None
        found = {}
        for name, point in last.items():
            earlier = before.get(name)
            if earlier is None:
                return None
            usage = usage_of(point, earlier)
            if usage is not None:
                found[name] = usage
        return found


def _earlier(point: Point, last: Point | None, before: Point | None) -> Point | None:
    """The stored point to compare a new one with: the last, unless the new one is no newer (the kubelet told the same
    again)."""
    if last is None or point.at > last.at:
        return last
    return before if before is not None and before.at < point.at else None
