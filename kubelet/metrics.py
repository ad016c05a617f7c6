"""The kubelet's own metrics, under upstream's names, and where each is counted.

https://kubernetes.io/docs/reference/instrumentation/metrics/. Probes are counted in a registry of their own, which
``/metrics/probes`` serves.
"""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

PROBES = CollectorRegistry()

_STARTS = (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)
_OPERATIONS = (0.005, 0.0125, 0.03125, 0.078125, 0.1953125, 0.48828125, 1.220703125, 3.0517578125, 7.62939453125,
               19.073486328125, 47.6837158203125, 119.20928955078125, 298.0232238769531, 745.0580596923828)  # fmt: skip

NODE_NAME = Gauge("kubelet_node_name", "The node's name. The count is always 1.", ["node"])
RUNNING_PODS = Gauge("kubelet_running_pods", "Number of pods that have a running pod sandbox")
RUNNING_CONTAINERS = Gauge("kubelet_running_containers", "Number of containers currently running", ["container_state"])
POD_START = Histogram(
    "kubelet_pod_start_duration_seconds",
    "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
    buckets=_STARTS,
)
POD_WORKER = Histogram(
    "kubelet_pod_worker_duration_seconds",
    "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync",
    ["operation_type"],
)
POD_WORKER_START = Histogram(
    "kubelet_pod_worker_start_duration_seconds", "Duration in seconds from kubelet seeing a pod to starting a worker."
)
RUNTIME_OPERATIONS = Counter(
    "kubelet_runtime_operations", "Cumulative number of runtime operations by operation type.", ["operation_type"]
)
RUNTIME_ERRORS = Counter(
    "kubelet_runtime_operations_errors",
    "Cumulative number of runtime operation errors by operation type.",
    ["operation_type"],
)
RUNTIME_DURATION = Histogram(
    "kubelet_runtime_operations_duration_seconds",
    "Duration in seconds of runtime operations. Broken down by operation type.",
    ["operation_type"],
    buckets=_OPERATIONS,
)
STARTED_CONTAINERS = Counter(
    "kubelet_started_containers", "Cumulative number of containers started", ["container_type"]
)
STARTED_CONTAINER_ERRORS = Counter(
    "kubelet_started_containers_errors",
    "Cumulative number of errors when starting containers",
    ["container_type", "code"],
)
STARTED_PODS = Counter("kubelet_started_pods", "Cumulative number of pods started")
STARTED_POD_ERRORS = Counter("kubelet_started_pods_errors", "Cumulative number of errors when starting pods")
RELIST_DURATION = Histogram("kubelet_pleg_relist_duration_seconds", "Duration in seconds for relisting pods in PLEG.")
LAST_SEEN = Gauge("kubelet_pleg_last_seen_seconds", "Timestamp in seconds when PLEG was last seen active.")
HTTP_REQUESTS = Counter(
    "kubelet_http_requests",
    "Number of the http requests received since the server started",
    ["method", "path", "server_type", "long_running"],
)
HTTP_DURATION = Histogram(
    "kubelet_http_requests_duration_seconds",
    "Duration in seconds to serve http requests",
    ["method", "path", "server_type", "long_running"],
)
HTTP_INFLIGHT = Gauge(
    "kubelet_http_inflight_requests",
    "Number of the inflight http requests",
    ["method", "path", "server_type", "long_running"],
)
STORAGE_DURATION = Histogram(
    "storage_operation_duration_seconds",
    "Storage operation duration",
    ["volume_plugin", "operation_name", "status", "migrated"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600),
)
SHUTDOWN_START = Gauge(
    "kubelet_graceful_shutdown_start_time_seconds", "Last graceful shutdown start time since unix epoch in seconds"
)
SHUTDOWN_END = Gauge(
    "kubelet_graceful_shutdown_end_time_seconds", "Last graceful shutdown end time since unix epoch in seconds"
)
LIFECYCLE_FALLBACKS = Counter(
    "kubelet_lifecycle_handler_http_fallbacks",
    "The number of times lifecycle handlers successfully fell back to http from https.",
)
PROBE_TOTAL = Counter(
    "prober_probe",
    "Cumulative number of a liveness, readiness or startup probe for a container by result.",
    ["probe_type", "result", "container", "pod", "namespace", "pod_uid"],
    registry=PROBES,
)
PROBE_DURATION = Histogram(
    "prober_probe_duration_seconds",
    "Duration in seconds for a probe response.",
    ["probe_type", "container", "pod", "namespace"],
    registry=PROBES,
)
EVICTIONS: dict[str, int] = {}
"""How often pods were evicted, by signal. Upstream's counter has no ``_total``, which the library would add."""
PREEMPTIONS: dict[str, int] = {}
"""How often pods were ended for a critical one, by what that one had too little of; without ``_total`` likewise."""


def count_eviction(signal: str) -> None:
    """``signal`` as in upstream's thresholds: ``memory.available``, …"""
    EVICTIONS[signal] = EVICTIONS.get(signal, 0) + 1


def count_preemption(resource: str) -> None:
    PREEMPTIONS[resource] = PREEMPTIONS.get(resource, 0) + 1
