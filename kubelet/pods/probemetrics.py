"""What the probes have found, counted: upstream's series of ``/metrics/probes``.

https://kubernetes.io/docs/reference/instrumentation/metrics/ (prober_probe_total, prober_probe_duration_seconds)
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from kubelet.pods.identity import PodIdentity

_WHERE = ("probe_type", "container", "pod", "namespace")
RESULTS = ("successful", "failed")


class ProbeMetrics:
    """In a registry of its own: these series are many, and who wants them asks for them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._total = Counter(
            "prober_probe",
            "Cumulative number of a liveness, readiness or startup probe for a container by result.",
            ("probe_type", "result", "container", "pod", "namespace", "pod_uid"),
            registry=self.registry,
        )
        self._duration = Histogram(
            "prober_probe_duration_seconds",
            "Duration in seconds for a probe response.",
            _WHERE,
            registry=self.registry,
        )

    def count(self, pod: PodIdentity, container: str, kind: str, ok: bool, seconds: float) -> None:
        name = kind.capitalize()
        result = RESULTS[0] if ok else RESULTS[1]
        self._total.labels(name, result, container, pod.name, pod.namespace, pod.uid).inc()
        if ok:
            self._duration.labels(name, container, pod.name, pod.namespace).observe(seconds)

    def forget(self, pod: PodIdentity, container: str, kind: str) -> None:
        """The container is not probed so any more."""
        name = kind.capitalize()
        for result in RESULTS:
            self._total.remove(name, result, container, pod.name, pod.namespace, pod.uid)
        self._duration.remove(name, container, pod.name, pod.namespace)
