"""The server's metrics, under upstream's names (https://kubernetes.io/docs/reference/instrumentation/metrics/).

What every request adds to are plain numbers in a :class:`Series` for each kind of request; they become Prometheus's
metrics when somebody looks. One event loop writes them, so they need no locks: 0.45 microseconds a request, where the
client library's own counter and histogram cost 1.0, and more when they are looked up by their labels.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

DURATIONS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
             20.0, 30.0, 45.0, 60.0)  # fmt: skip
SIZES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
COMPONENT = "apiserver"
_REPORTED = {"create": "POST", "update": "PUT", "": "OTHER"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What requests are counted by."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    scope: str = ""
    dry_run: str = ""

    def labels(self) -> list[str]:
        return [str(getattr(self, f.name)) for f in fields(self)][:6]


def reported_verb(verb: str) -> str:
    """Metrics tell some verbs by their method."""
    return _REPORTED.get(verb) or verb.upper()


_LABELS = ("verb", "group", "version", "resource", "subresource", "scope")
_SCRAPED = (*_LABELS, "component")


class Tally:
    """A histogram's numbers."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = DURATIONS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus has them."""
        found, sum_ = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            sum_ += count
            found.append(("+Inf" if bound == float("inf") else str(bound), float(sum_)))
        return found


class Series:
    """Requests of one kind."""

    __slots__ = ("codes", "durations", "kind", "running", "sizes")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.codes: dict[int, int] = {}
        self.durations = Tally()
        self.sizes = Tally(SIZES) if kind.verb in ("GET", "LIST") else None
        self.running = 0
        """Of those that last: how many are open."""

    def observe(self, code: int, seconds: float, size: int = 0) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1
        self.durations.observe(seconds)
        if self.sizes is not None and size:
            self.sizes.observe(size)


@dataclass(eq=False)
class Metrics(Collector):
    """``sources`` are what other rooms tell when they are asked: limits, caches, watchers."""

    registry: CollectorRegistry = REGISTRY
    sources: list[Callable[[], Iterable[Metric]]] = field(default_factory=list)
    _series: dict[tuple[str, ...], Series] = field(default_factory=dict)
    _etcd: dict[str, Tally] = field(default_factory=dict)
    _terminated: dict[tuple[Kind, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.registry.register(self)

    def series(self, key: tuple[str, ...]) -> Series:
        """By the values of a Kind's fields. They must come from what is served: each is kept for good."""
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = Series(Kind(reported_verb(key[0]), *key[1:]))
        return found

    def terminated(self, key: tuple[str, ...], code: int) -> None:
        """Counts a request that the server ended to defend itself."""
        kind = self.series(key).kind
        self._terminated[kind, code] = self._terminated.get((kind, code), 0) + 1

    def observe_etcd(self, operation: str, seconds: float) -> None:
        tally = self._etcd.get(operation)
        if tally is None:
            tally = self._etcd[operation] = Tally()
        tally.observe(seconds)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield self._long_running()
        etcd = HistogramMetricFamily(
            "etcd_request_duration_seconds", "How long etcd took.", labels=("operation", "type")
        )
        for operation, tally in self._etcd.items():
            etcd.add_metric((operation, ""), tally.buckets(), tally.total)
        yield etcd
        for source in self.sources:
            yield from source()

    def _requests(self) -> Iterator[Metric]:
        total = CounterMetricFamily(
            "apiserver_request",
            "Requests by verb, dry run, group, version, resource, scope, component and HTTP code.",
            labels=("code", *_SCRAPED, "dry_run"),
        )
        duration = HistogramMetricFamily(
            "apiserver_request_duration_seconds", "How long answers took.", labels=(*_SCRAPED, "dry_run")
        )
        sizes = HistogramMetricFamily("apiserver_response_sizes", "Bytes of answers.", labels=_SCRAPED)
        ended = CounterMetricFamily(
            "apiserver_request_terminations",
            "Requests that the server ended to defend itself.",
            labels=("code", *_SCRAPED),
        )
        for series in self._series.values():
            labels, dry_run = [*series.kind.labels(), COMPONENT], series.kind.dry_run
            for code, count in series.codes.items():
                total.add_metric([str(code), *labels, dry_run], count)
            if series.codes:
                tally = series.durations
                duration.add_metric([*labels, dry_run], tally.buckets(), tally.total)
            if series.sizes is not None and not dry_run:
                sizes.add_metric(labels, series.sizes.buckets(), series.sizes.total)
        for (kind, code), count in self._terminated.items():
            ended.add_metric([str(code), *kind.labels(), COMPONENT], count)
        yield from (total, duration, sizes, ended)

    def _long_running(self) -> Metric:
        gauge = GaugeMetricFamily(
            "apiserver_longrunning_requests", "Watches, logs and tunnels that are open.", labels=_SCRAPED
        )
        for series in self._series.values():
            if series.running:
                gauge.add_metric([*series.kind.labels(), COMPONENT], series.running)
        return gauge
