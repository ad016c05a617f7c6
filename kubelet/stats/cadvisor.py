"""``/metrics/cadvisor``: the main series of cAdvisor, with upstream's names and labels.

https://github.com/google/cadvisor/blob/master/docs/storage/prometheus.md. A pod's network belongs to its sandbox, and
its own cgroup (where it has one) has no container's name. Sandboxes have neither, as with upstream's CRI runtimes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kubelet.cri import CgroupDetails, ContainerStats, RuntimeContainer
from kubelet.node.machine import Machine
from kubelet.stats.collector import Measured
from kubelet.stats.exposition import Family, counter, gauge, labels, milliseconds
from kubelet.stats.network import Interface
from kubelet.stats.samples import PodSamples
from kubelet.stats.summary import PodPlaces

Value = Callable[[ContainerStats, CgroupDetails], float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """A series of every cgroup. ``cpu``: with the label ``cpu="total"``."""

    name: str
    help: str
    value: Value
    is_counter: bool = False
    cpu: bool = False


SERIES: Sequence[Series] = (
    Series("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.",
           lambda s, d: s.cpu_nanoseconds / 1e9, True, True),
    Series("container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.",
           lambda s, d: d.cpu_user_nanoseconds / 1e9, True),
    Series("container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.",
           lambda s, d: d.cpu_system_nanoseconds / 1e9, True),
    Series("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.",
           lambda s, d: d.cfs_periods if d.cpu_quota else None, True),
    Series("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.",
           lambda s, d: d.cfs_throttled_periods if d.cpu_quota else None, True),
    Series("container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled.",
           lambda s, d: d.cfs_throttled_nanoseconds / 1e9 if d.cpu_quota else None, True),
    Series("container_memory_usage_bytes",
           "Current memory usage in bytes, including all memory regardless of when it was accessed",
           lambda s, d: s.memory_usage_bytes),
    Series("container_memory_working_set_bytes", "Current working set in bytes.",
           lambda s, d: s.memory_working_set_bytes),
    Series("container_memory_rss", "Size of RSS in bytes.", lambda s, d: s.memory_rss_bytes),
    Series("container_memory_cache", "Number of bytes of page cache memory.", lambda s, d: d.memory_cache_bytes),
    Series("container_memory_mapped_file", "Size of memory mapped files in bytes.",
           lambda s, d: d.memory_mapped_file_bytes),
    Series("container_memory_swap", "Container swap usage in bytes.", lambda s, d: s.swap_bytes),
    Series("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes",
           lambda s, d: d.memory_max_usage_bytes),
    Series("container_memory_failcnt", "Number of memory usage hits limits", lambda s, d: d.memory_failures, True),
    Series("container_oom_events_total", "Count of out of memory events observed for the container",
           lambda s, d: d.oom_events, True),
    Series("container_processes", "Number of processes running inside the container.", lambda s, d: s.pids),
    Series("container_threads", "Number of threads running inside the container", lambda s, d: s.pids),
    Series("container_threads_max",
           "Maximum number of threads allowed inside the container, infinity if value is zero",
           lambda s, d: d.threads_max),
    Series("container_fs_reads_bytes_total", "Cumulative count of bytes read", lambda s, d: d.read_bytes, True),
    Series("container_fs_writes_bytes_total", "Cumulative count of bytes written",
           lambda s, d: d.written_bytes, True),
    Series("container_fs_reads_total", "Cumulative count of reads completed", lambda s, d: d.reads, True),
    Series("container_fs_writes_total", "Cumulative count of writes completed", lambda s, d: d.writes, True),
    Series("container_spec_cpu_period", "CPU period of the container.", lambda s, d: d.cpu_period or None),
    Series("container_spec_cpu_quota", "CPU quota of the container.", lambda s, d: d.cpu_quota or None),
    Series("container_spec_cpu_shares", "CPU share of the container.", lambda s, d: d.cpu_shares),
    Series("container_spec_memory_limit_bytes", "Memory limit for the container.", lambda s, d: s.memory_limit_bytes),
    Series("container_spec_memory_reservation_limit_bytes", "Memory reservation limit for the container.",
           lambda s, d: d.memory_soft_limit_bytes),
    Series("container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.",
           lambda s, d: s.swap_limit_bytes or 0),
)  # fmt: skip

NETWORK: Sequence[tuple[str, str, Callable[[Interface], int]]] = (
    ("receive_bytes", "bytes received", lambda i: i.rx_bytes),
    ("receive_packets", "packets received", lambda i: i.rx_packets),
    ("receive_errors", "errors encountered while receiving", lambda i: i.rx_errors),
    ("receive_packets_dropped", "packets dropped while receiving", lambda i: i.rx_dropped),
    ("transmit_bytes", "bytes transmitted", lambda i: i.tx_bytes),
    ("transmit_packets", "packets transmitted", lambda i: i.tx_packets),
    ("transmit_errors", "errors encountered while transmitting", lambda i: i.tx_errors),
    ("transmit_packets_dropped", "packets dropped while transmitting", lambda i: i.tx_dropped),
)
NO_DETAILS = CgroupDetails()


class CadvisorMetrics:
    """One answer's families."""

    def __init__(self) -> None:
        self.series = [(each, Family(each.name, each.help, _kind(each.is_counter))) for each in SERIES]
        self.network = [
            (value, counter(f"container_network_{name}_total", f"Cumulative count of {what}"))
            for name, what, value in NETWORK
        ]
        self.memory_failures = counter(
            "container_memory_failures_total", "Cumulative count of memory allocation failures."
        )
        self.fs_usage = gauge(
            "container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem."
        )
        self.fs_limit = gauge(
            "container_fs_limit_bytes", "Number of bytes that can be consumed by the container on this filesystem."
        )
        self.fs_inodes_free = gauge("container_fs_inodes_free", "Number of available Inodes")
        self.fs_inodes = gauge("container_fs_inodes_total", "Number of Inodes")
        self.started = gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds.")
        self.seen = gauge("container_last_seen", "Last time a container was seen by the exporter")
        self.scrape_error = gauge(
            "container_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise"
        )

    def families(self) -> list[Family]:
        single = [each for each in vars(self).values() if isinstance(each, Family)]
        return [*single, *(family for _, family in self.series), *(family for _, family in self.network)]

    def cgroup(self, names: dict[str, str], stats: ContainerStats) -> None:
        details, at = stats.details or NO_DETAILS, milliseconds(stats.timestamp)
        plain, cpu = labels(**names), labels(**names, cpu="total")
        for series, family in self.series:
            value = series.value(stats, details)
            if value is not None:
                family.add(cpu if series.cpu else plain, value, at)
        for kind, own, all_ in (
            ("pgfault", details.own_page_faults, stats.page_faults),
            ("pgmajfault", details.own_major_page_faults, stats.major_page_faults),
        ):
            for scope, count in (("container", own), ("hierarchy", all_)):
                self.memory_failures.add(labels(**names, failure_type=kind, scope=scope), count, at)
        self.seen.add(plain, at // 1000, at)

    def interfaces(self, names: dict[str, str], found: Sequence[Interface], at: int) -> None:
        for interface in found:
            text = labels(**names, interface=interface.name)
            for value, family in self.network:
                family.add(text, value(interface), at)


def cadvisor_metrics(measured: Measured | None, machine: Machine, swap: int) -> list[Family]:
    """``None``: the runtime did not say what runs."""
    made = CadvisorMetrics()
    made.scrape_error.add("", 0 if measured is not None else 1)
    if measured is not None:
        for pod in measured.reading.pods:
            _pod(made, pod, (measured.places or {}).get(pod.first.pod_uid))
        if measured.reading.all_pods is not None:
            stats = measured.reading.all_pods.stats
            made.cgroup(_names(stats.cgroup), stats)
    return [*made.families(), *machine_metrics(machine, swap)]


def _pod(made: CadvisorMetrics, pod: PodSamples, places: PodPlaces | None) -> None:
    first = pod.first
    of_pod = {"namespace": first.namespace, "pod": first.pod_name}
    for container in pod.containers:
        stats = pod.samples[container.id].stats
        names = _names(stats.cgroup, container) | of_pod
        made.cgroup(names, stats)
        at = milliseconds(stats.timestamp)
        made.started.add(labels(**names), (container.started or container.created).timestamp(), at)
        layer = places.layers.get(container.id) if places is not None else None
        if layer is not None:
            text = labels(**names, device="")
            made.fs_usage.add(text, layer.used, at)
            made.fs_limit.add(text, layer.disk.capacity, at)
            made.fs_inodes.add(text, layer.disk.inodes, at)
            made.fs_inodes_free.add(text, layer.disk.inodes_free, at)
        if container.is_sandbox and places is not None:
            made.interfaces(names, places.interfaces, at)
    if pod.group is not None:
        made.cgroup(_names(pod.group.stats.cgroup) | of_pod, pod.group.stats)


def _names(path: str, container: RuntimeContainer | None = None) -> dict[str, str]:
    names = {"container": "", "id": path, "image": "", "name": "", "namespace": "", "pod": ""}
    if container is not None:
        names |= {"image": container.image, "name": container.id}
        if not container.is_sandbox:
            names["container"] = container.name
    return names


def machine_metrics(machine: Machine, swap: int) -> list[Family]:
    text = labels(boot_id=machine.boot_id, machine_id=machine.machine_id, system_uuid=machine.system_uuid)
    made = []
    for name, help, value in (
        ("machine_cpu_cores", "Number of logical CPU cores.", machine.cpus),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", machine.memory),
        ("machine_swap_bytes", "Amount of swap memory available on the machine.", swap),
    ):
        family = gauge(name, help)
        family.add(text, value)
        made.append(family)
    scrape_error = gauge("machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise.")
    scrape_error.add("", 0)
    version = gauge("cadvisor_version_info", "A metric with a constant '1' value labeled by versions and revision.")
    version.add(
        labels(
            cadvisorRevision="", cadvisorVersion="", dockerVersion="",
            kernelVersion=machine.kernel_version, osVersion=machine.os_image,
        ),
        1,
    )  # fmt: skip
    return [*made, scrape_error, version]


def _kind(is_counter: bool) -> str:
    return "counter" if is_counter else "gauge"
