"""The server's metrics, under upstream's names (https://kubernetes.io/docs/reference/instrumentation/metrics/)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

DURATIONS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2, 3, 5, 10, 20, 30, 60)


@dataclass(frozen=True, slots=True)
class Kind:
    """What requests are counted by."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    scope: str = ""

    def labels(self) -> dict[str, str]:
        return {
            "verb": self.verb,
            "group": self.group,
            "version": self.version,
            "resource": self.resource,
            "subresource": self.subresource,
            "scope": self.scope,
        }


_LABELS = ("verb", "group", "version", "resource", "subresource", "scope")


class Metrics:
    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._total = Counter(
            "apiserver_request_total",
            "Requests by verb, resource and HTTP code.",
            (*_LABELS, "code"),
            registry=registry,
        )
        self._duration = Histogram(
            "apiserver_request_duration_seconds",
            "How long requests took.",
            _LABELS,
            buckets=DURATIONS,
            registry=registry,
        )
        self._etcd = Histogram(
            "etcd_request_duration_seconds", "How long etcd took.", ("operation",), buckets=DURATIONS, registry=registry
        )
        self._in_flight = Gauge(
            "apiserver_longrunning_requests", "Watches and streams that are open.", _LABELS, registry=registry
        )
        # The children are kept: finding one by its labels costs as much as the rest of a small request.
        self._counters: dict[tuple[Kind, int], Callable[[], None]] = {}
        self._durations: dict[Kind, Callable[[float], None]] = {}
        self._etcd_durations: dict[str, Callable[[float], None]] = {}

    def observe(self, kind: Kind, code: int, seconds: float) -> None:
        count = self._counters.get((kind, code))
        if count is None:
            count = self._counters[kind, code] = self._total.labels(**kind.labels(), code=str(code)).inc
        count()
        duration = self._durations.get(kind)
        if duration is None:
            duration = self._durations[kind] = self._duration.labels(**kind.labels()).observe
        duration(seconds)

    def observe_etcd(self, operation: str, seconds: float) -> None:
        duration = self._etcd_durations.get(operation)
        if duration is None:
            duration = self._etcd_durations[operation] = self._etcd.labels(operation).observe
        duration(seconds)

    def long_running(self, kind: Kind) -> Gauge:
        gauge: Gauge = self._in_flight.labels(**kind.labels())
        return gauge
