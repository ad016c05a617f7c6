"""What the probes have found, counted: upstream's series of ``/metrics/probes``.

https://kubernetes.io/docs/reference/instrumentation/metrics/ (prober_probe_total, prober_probe_duration_seconds)
"""

from __future__ import annotations

from kubelet.metrics import PROBE_DURATION, PROBE_TOTAL
from kubelet.pods.identity import PodIdentity

RESULTS = ("successful", "failed")


def count(pod: PodIdentity, container: str, kind: str, ok: bool, seconds: float) -> None:
    name = kind.capitalize()
    result = RESULTS[0] if ok else RESULTS[1]
    PROBE_TOTAL.labels(name, result, container, pod.name, pod.namespace, pod.uid).inc()
    if ok:
        PROBE_DURATION.labels(name, container, pod.name, pod.namespace).observe(seconds)


def forget(pod: PodIdentity, container: str, kind: str) -> None:
    """The container is not probed so any more: its rows would stay for good."""
    name = kind.capitalize()
    for result in RESULTS:
        PROBE_TOTAL.remove(name, result, container, pod.name, pod.namespace, pod.uid)
    PROBE_DURATION.remove(name, container, pod.name, pod.namespace)
