"""``/metrics/resource``: CPU and memory of the node, its pods and containers, each with the time it was read at.

What metrics-server scrapes. The names and labels are promised to stay.
https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/727-resource-metrics-endpoint
"""

from __future__ import annotations

from kubelet.stats.collector import Measured
from kubelet.stats.exposition import Family, counter, gauge, labels, milliseconds
from kubelet.stats.samples import PodSamples, Sample
from kubelet.stats.summary import total


class ResourceMetrics:
    """One answer's families."""

    def __init__(self) -> None:
        self.node_cpu = counter(
            "node_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the node in core-seconds"
        )
        self.node_memory = gauge("node_memory_working_set_bytes", "[STABLE] Current working set of the node in bytes")
        self.node_swap = gauge("node_swap_usage_bytes", "[ALPHA] Current swap usage of the node in bytes")
        self.cpu = counter(
            "container_cpu_usage_seconds_total",
            "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        )
        self.memory = gauge(
            "container_memory_working_set_bytes", "[STABLE] Current working set of the container in bytes"
        )
        self.swap = gauge("container_swap_usage_bytes", "[ALPHA] Current amount of the container swap usage in bytes")
        self.swap_limit = gauge(
            "container_swap_limit_bytes", "[ALPHA] Current amount of the container swap limit in bytes"
        )
        self.started = gauge(
            "container_start_time_seconds", "[STABLE] Start time of the container since unix epoch in seconds"
        )
        self.pod_cpu = counter(
            "pod_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds"
        )
        self.pod_memory = gauge("pod_memory_working_set_bytes", "[STABLE] Current working set of the pod in bytes")
        self.pod_swap = gauge("pod_swap_usage_bytes", "[ALPHA] Current amount of the pod swap usage in bytes")
        self.error = gauge(
            "resource_scrape_error", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise"
        )
        self.old_error = gauge(
            "scrape_error",
            "[ALPHA] (Deprecated since 1.29.0) 1 if there was an error while getting container metrics, 0 otherwise",
        )

    def families(self) -> list[Family]:
        return [each for each in vars(self).values() if isinstance(each, Family)]


def resource_metrics(measured: Measured | None) -> list[Family]:
    """``None``: the runtime did not say what runs."""
    made = ResourceMetrics()
    for family in (made.error, made.old_error):
        family.add("", 0 if measured is not None else 1)
    if measured is None:
        return made.families()
    node = measured.node
    at = milliseconds(node.at)
    made.node_cpu.add("", node.cpu_nanoseconds / 1e9, at)
    made.node_memory.add("", node.memory_working_set, at)
    made.node_swap.add("", node.swap_total - node.swap_free, at)
    for pod in measured.reading.pods:
        _pod(made, pod)
    return made.families()


def _pod(made: ResourceMetrics, pod: PodSamples) -> None:
    first = pod.first
    for container in pod.containers:
        if not container.is_sandbox:
            text = labels(container=container.name, namespace=first.namespace, pod=first.pod_name)
            started = container.started or container.created
            made.started.add(text, started.timestamp())
            _container(made, text, pod.samples[container.id])
    text = labels(namespace=first.namespace, pod=first.pod_name)
    stats = (pod.group or total(list(pod.samples.values()))).stats
    at = milliseconds(stats.timestamp)
    made.pod_cpu.add(text, stats.cpu_nanoseconds / 1e9, at)
    made.pod_memory.add(text, stats.memory_working_set_bytes, at)
    made.pod_swap.add(text, stats.swap_bytes, at)


def _container(made: ResourceMetrics, text: str, sample: Sample) -> None:
    stats = sample.stats
    at = milliseconds(stats.timestamp)
    made.cpu.add(text, stats.cpu_nanoseconds / 1e9, at)
    made.memory.add(text, stats.memory_working_set_bytes, at)
    made.swap.add(text, stats.swap_bytes, at)
    if stats.swap_limit_bytes:
        made.swap_limit.add(text, stats.swap_limit_bytes, at)
