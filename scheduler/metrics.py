"""The scheduler's metrics, under upstream's names: https://kubernetes.io/docs/reference/instrumentation/metrics/"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = tuple(0.001 * 2**n for n in range(15))
QUEUES = ("active", "backoff", "unschedulable", "gated")


class SchedulerMetrics:
    """``result`` is scheduled, unschedulable or error."""

    def __init__(self, registry: CollectorRegistry, sizes: Callable[[], dict[str, int]]) -> None:
        labels = ["profile", "result"]
        self.attempts = Counter(
            "scheduler_schedule_attempts",
            "Number of attempts to schedule pods, by the result.",
            labels,
            registry=registry,
        )
        self.attempt_duration = Histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            labels,
            buckets=_SECONDS,
            registry=registry,
        )
        self.algorithm_duration = Histogram(
            "scheduler_scheduling_algorithm_duration_seconds",
            "Scheduling algorithm latency in seconds",
            buckets=_SECONDS,
            registry=registry,
        )
        pending = Gauge("scheduler_pending_pods", "Number of pending pods, by the queue.", ["queue"], registry=registry)
        for queue in QUEUES:
            pending.labels(queue=queue).set_function(lambda queue=queue: sizes()[queue])  # type: ignore[misc]

    def observe(self, profile: str, result: str, seconds: float) -> None:
        self.attempts.labels(profile, result).inc()
        self.attempt_duration.labels(profile, result).observe(seconds)
