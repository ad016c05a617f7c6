"""``/stats/summary``: upstream's v1alpha1 Summary, as pure functions from figures to the document.

https://kubernetes.io/docs/reference/instrumentation/node-metrics/#summary-api-source (staging: kubelet/pkg/apis/stats)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from common.api.time import to_rfc3339
from kubelet.cri import ContainerStats, RuntimeContainer
from kubelet.node.machine import FileSystem
from kubelet.stats.disk import Usage
from kubelet.stats.network import Interface
from kubelet.stats.node import NodeFigures, ProcessFigures
from kubelet.stats.places import VolumePlace
from kubelet.stats.samples import PodSamples, Reading, Sample

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PodPlaces:
    """What is known of the disk and network that a pod uses."""

    interfaces: Sequence[Interface] = ()
    default: Interface | None = None
    volumes: Sequence[VolumePlace] = ()
    layers: Mapping[str, Usage] = field(default_factory=dict)
    """By container id."""
    logs: Mapping[str, Usage] = field(default_factory=dict)
    usage: Mapping[str, Usage] = field(default_factory=dict)
    """By volume name."""


@dataclass(frozen=True, slots=True)
class NodePlaces:
    fs: FileSystem
    image_fs: FileSystem
    image_bytes: int
    interfaces: Sequence[Interface] = ()
    default: Interface | None = None


def summary(node: Document, reading: Reading, places: Mapping[str, PodPlaces] | None, disk: FileSystem) -> Document:
    """``places`` by pod uid; None for CPU and memory only."""
    pods = [pod_stats(pod, None if places is None else places.get(pod.first.pod_uid), disk) for pod in reading.pods]
    return {"node": node, "pods": pods}


def node_stats(
    name: str,
    started: datetime,
    figures: NodeFigures,
    nano_cores: int | None,
    systems: Sequence[Document],
    places: NodePlaces | None,
) -> Document:
    at = to_rfc3339(figures.at)
    found: Document = {
        "nodeName": name,
        "systemContainers": list(systems),
        "startTime": to_rfc3339(started),
        "cpu": cpu(figures.at, figures.cpu_nanoseconds, nano_cores),
        "memory": {
            "time": at,
            "availableBytes": max(0, figures.memory_capacity - figures.memory_working_set),
            "usageBytes": figures.memory_usage,
            "workingSetBytes": figures.memory_working_set,
            "rssBytes": figures.memory_rss,
            "pageFaults": figures.page_faults,
            "majorPageFaults": figures.major_page_faults,
        },
        "swap": {
            "time": at,
            "swapAvailableBytes": figures.swap_free,
            "swapUsageBytes": figures.swap_total - figures.swap_free,
        },
    }
    if places is not None:
        found["network"] = network(figures.at, places.interfaces, places.default)
        found["fs"] = fs(figures.at, places.fs, places.fs.used, places.fs.inodes - places.fs.inodes_free)
        image_inodes = places.image_fs.inodes - places.image_fs.inodes_free
        image = fs(figures.at, places.image_fs, places.image_bytes, image_inodes)
        found["runtime"] = {"imageFs": image, "containerFs": image}
        found["rlimit"] = {"time": at, "maxpid": figures.pids_max, "curproc": figures.pids}
    return found


def system_stats(name: str, figures: ProcessFigures, nano_cores: int | None) -> Document:
    """The kubelet and the runtime: their processes' figures."""
    return {
        "name": name,
        "startTime": to_rfc3339(figures.started),
        "cpu": cpu(figures.at, figures.cpu_nanoseconds, nano_cores),
        "memory": {
            "time": to_rfc3339(figures.at),
            "usageBytes": figures.memory_rss,
            "workingSetBytes": figures.memory_rss,
            "rssBytes": figures.memory_rss,
            "pageFaults": figures.page_faults,
            "majorPageFaults": figures.major_page_faults,
        },
    }


def all_pods_stats(reading: Reading, started: datetime, available: int) -> Document:
    """``pods`` among the system containers: their common cgroup, or their sum where they have none."""
    if reading.all_pods is not None:
        sample = reading.all_pods
    else:
        sample = total([sample for pod in reading.pods for sample in pod.samples.values()])
    found = {"name": "pods", "startTime": to_rfc3339(started), **usage(sample)}
    found["memory"]["availableBytes"] = max(0, available - sample.stats.memory_working_set_bytes)
    return found


def pod_stats(pod: PodSamples, places: PodPlaces | None, disk: FileSystem) -> Document:
    first = pod.first
    own = pod.group or total(list(pod.samples.values()))
    containers = [each for each in pod.containers if not each.is_sandbox]
    found: Document = {
        "podRef": {"name": first.pod_name, "namespace": first.namespace, "uid": first.pod_uid},
        "startTime": to_rfc3339(first.created),
        "containers": [container_stats(each, pod.samples[each.id], places) for each in containers],
        **usage(own),
    }
    if places is not None:
        found["process_stats"] = {"process_count": own.stats.pids}
        if places.default is not None or places.interfaces:
            found["network"] = network(own.stats.timestamp, places.interfaces, places.default)
        volumes = [
            _volume(each, places.usage[each.name], first) for each in places.volumes if each.name in places.usage
        ]
        if volumes:
            found["volume"] = volumes
        found["ephemeral-storage"] = _ephemeral(own.stats.timestamp, places, disk)
    return found


def container_stats(container: RuntimeContainer, sample: Sample, places: PodPlaces | None) -> Document:
    found: Document = {
        "name": container.name,
        "startTime": to_rfc3339(container.started or container.created),
        **usage(sample),
    }
    if places is not None:
        at = sample.stats.timestamp
        if (layer := places.layers.get(container.id)) is not None:
            found["rootfs"] = fs(at, layer.disk, layer.used, layer.inodes)
        if (logs := places.logs.get(container.id)) is not None:
            found["logs"] = fs(at, logs.disk, logs.used, logs.inodes)
    return found


def usage(sample: Sample) -> Document:
    """cpu, memory and swap of a cgroup."""
    stats = sample.stats
    at = to_rfc3339(stats.timestamp)
    memory = {
        "time": at,
        "usageBytes": stats.memory_usage_bytes,
        "workingSetBytes": stats.memory_working_set_bytes,
        "rssBytes": stats.memory_rss_bytes,
        "pageFaults": stats.page_faults,
        "majorPageFaults": stats.major_page_faults,
    }
    if stats.memory_limit_bytes:
        memory["availableBytes"] = max(0, stats.memory_limit_bytes - stats.memory_working_set_bytes)
    swap: Document = {"time": at, "swapUsageBytes": stats.swap_bytes}
    if stats.swap_limit_bytes:
        swap["swapAvailableBytes"] = max(0, stats.swap_limit_bytes - stats.swap_bytes)
    return {"cpu": cpu(stats.timestamp, stats.cpu_nanoseconds, sample.nano_cores), "memory": memory, "swap": swap}


def cpu(at: datetime, nanoseconds: int, nano_cores: int | None) -> Document:
    found: Document = {"time": to_rfc3339(at), "usageCoreNanoSeconds": nanoseconds}
    if nano_cores is not None:
        found["usageNanoCores"] = nano_cores
    return found


def total(samples: Sequence[Sample]) -> Sample:
    """The sum, for pods without a cgroup of their own. A rate that is not known yet leaves the sum unknown."""
    stats = [sample.stats for sample in samples]
    rates = [sample.nano_cores for sample in samples]
    added = ContainerStats(
        container_id="",
        timestamp=max((each.timestamp for each in stats), default=datetime.now(UTC)),
        cpu_nanoseconds=sum(each.cpu_nanoseconds for each in stats),
        memory_usage_bytes=sum(each.memory_usage_bytes for each in stats),
        memory_working_set_bytes=sum(each.memory_working_set_bytes for each in stats),
        memory_rss_bytes=sum(each.memory_rss_bytes for each in stats),
        pids=sum(each.pids for each in stats),
        page_faults=sum(each.page_faults for each in stats),
        major_page_faults=sum(each.major_page_faults for each in stats),
        swap_bytes=sum(each.swap_bytes for each in stats),
    )
    known = [rate for rate in rates if rate is not None]
    return Sample(added, sum(known) if len(known) == len(rates) else None)


def network(at: datetime, interfaces: Iterable[Interface], default: Interface | None) -> Document:
    found: Document = {"time": to_rfc3339(at)}
    if default is not None:
        found |= _interface(default)
    found["interfaces"] = [_interface(each) for each in interfaces]
    return found


def fs(at: datetime, disk: FileSystem, used: int, inodes: int) -> Document:
    return {
        "time": to_rfc3339(at),
        "availableBytes": disk.available,
        "capacityBytes": disk.capacity,
        "usedBytes": used,
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
        "inodesUsed": inodes,
    }


def _interface(each: Interface) -> Document:
    return {
        "name": each.name,
        "rxBytes": each.rx_bytes,
        "rxErrors": each.rx_errors,
        "txBytes": each.tx_bytes,
        "txErrors": each.tx_errors,
    }


def _volume(place: VolumePlace, measured: Usage, first: RuntimeContainer) -> Document:
    found = {**fs(datetime.now(UTC), measured.disk, measured.used, measured.inodes), "name": place.name}
    if place.claim:
        found["pvcRef"] = {"name": place.claim, "namespace": first.namespace}
    return found


def _ephemeral(at: datetime, places: PodPlaces, disk: FileSystem) -> Document:
    """Writable layers, logs and emptyDirs on disk: what counts against a pod's limit of ephemeral storage."""
    parts = [*places.layers.values(), *places.logs.values()]
    parts += [places.usage[each.name] for each in places.volumes if each.ephemeral and each.name in places.usage]
    return fs(at, disk, sum(each.used for each in parts), sum(each.inodes for each in parts))
