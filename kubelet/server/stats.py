"""/stats/summary: what the node and its containers use (upstream: stats/v1alpha1 Summary).

CPU is told as cumulative time; the rate is computed from the sample before, when there is one. Samples of all
containers are taken at most once in ten seconds, a few at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.api.time import to_rfc3339
from kubelet.node.machine import FileSystem, file_system, meminfo
from kubelet.types import ContainerStats, Runtime, RuntimeContainer, RuntimeFailure

log = logging.getLogger("kubelet.server")

MAX_AGE = 10.0
_PARALLEL = 4
_CLOCK_TICKS = 100


@dataclass(frozen=True, slots=True)
class Sample:
    container: RuntimeContainer
    stats: ContainerStats
    nano_cores: int | None


class StatsCollector:
    """Samples of this node's running containers."""

    def __init__(self, runtime: Runtime, node_name: str, root_dir: Path) -> None:
        self._runtime = runtime
        self._node_name = node_name
        self._root_dir = root_dir
        self._started = datetime.now(UTC)
        self._lock = asyncio.Lock()
        self._samples: dict[str, Sample] = {}
        self._taken = -MAX_AGE

    async def summary(self) -> dict[str, Any]:
        samples = await self.samples()
        node = await asyncio.to_thread(self._node)
        return {"node": node, "pods": pod_stats(samples)}

    async def samples(self) -> Sequence[Sample]:
        async with self._lock:
            if time.monotonic() - self._taken >= MAX_AGE:
                self._samples = await self._take()
                self._taken = time.monotonic()
            return list(self._samples.values())

    async def _take(self) -> dict[str, Sample]:
        running = [container for container in await self._runtime.list_containers() if container.running]
        gate = asyncio.Semaphore(_PARALLEL)

        async def one(container: RuntimeContainer) -> Sample | None:
            async with gate:
                try:
                    stats = await self._runtime.stats(container.id)
                except RuntimeFailure as error:
                    log.debug("no stats of container %s: %s", container.id[:12], error)
                    return None
            before = self._samples.get(container.id)
            return Sample(container, stats, nano_cores(before.stats if before else None, stats))

        found = await asyncio.gather(*(one(container) for container in running))
        return {sample.container.id: sample for sample in found if sample is not None}

    def _node(self) -> dict[str, Any]:
        memory = meminfo(_text("/proc/meminfo"))
        now = to_rfc3339(datetime.now(UTC))
        total, available = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
        disk = file_system(self._root_dir)
        return {
            "nodeName": self._node_name,
            "startTime": to_rfc3339(self._started),
            "cpu": {"time": now, "usageCoreNanoSeconds": busy_nanoseconds(_text("/proc/stat"))},
            "memory": {
                "time": now,
                "availableBytes": available,
                "usageBytes": total - memory.get("MemFree", 0),
                "workingSetBytes": total - available,
                "rssBytes": memory.get("AnonPages", 0),
            },
            "fs": fs_stats(disk, now),
            "runtime": {"imageFs": fs_stats(disk, now)},
        }


def nano_cores(before: ContainerStats | None, after: ContainerStats) -> int | None:
    if before is None:
        return None
    seconds = (after.timestamp - before.timestamp).total_seconds()
    used = after.cpu_nanoseconds - before.cpu_nanoseconds
    return int(used / seconds) if seconds > 0 and used >= 0 else None


def pod_stats(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """An entry for each pod: its containers, and their sum (the sandbox counts in the sum only)."""
    pods: dict[str, list[Sample]] = {}
    for sample in samples:
        pods.setdefault(sample.container.pod_uid, []).append(sample)
    return [_pod(held) for held in pods.values()]


def _pod(samples: Sequence[Sample]) -> dict[str, Any]:
    first = min(samples, key=lambda sample: sample.container.created).container
    rates = [sample.nano_cores for sample in samples]
    cpu: dict[str, Any] = {
        "time": to_rfc3339(max(sample.stats.timestamp for sample in samples)),
        "usageCoreNanoSeconds": sum(sample.stats.cpu_nanoseconds for sample in samples),
    }
    if all(rate is not None for rate in rates):
        cpu["usageNanoCores"] = sum(rate for rate in rates if rate is not None)
    return {
        "podRef": {"name": first.pod_name, "namespace": first.namespace, "uid": first.pod_uid},
        "startTime": to_rfc3339(first.created),
        "containers": [_container(sample) for sample in samples if not sample.container.is_sandbox],
        "cpu": cpu,
        "memory": {
            "time": cpu["time"],
            "usageBytes": sum(sample.stats.memory_usage_bytes for sample in samples),
            "workingSetBytes": sum(sample.stats.memory_working_set_bytes for sample in samples),
            "rssBytes": sum(sample.stats.memory_rss_bytes for sample in samples),
        },
        "process_stats": {"process_count": sum(sample.stats.pids for sample in samples)},
    }


def _container(sample: Sample) -> dict[str, Any]:
    stats, at = sample.stats, to_rfc3339(sample.stats.timestamp)
    cpu: dict[str, Any] = {"time": at, "usageCoreNanoSeconds": stats.cpu_nanoseconds}
    if sample.nano_cores is not None:
        cpu["usageNanoCores"] = sample.nano_cores
    return {
        "name": sample.container.name,
        "startTime": to_rfc3339(sample.container.started or sample.container.created),
        "cpu": cpu,
        "memory": {
            "time": at,
            "usageBytes": stats.memory_usage_bytes,
            "workingSetBytes": stats.memory_working_set_bytes,
            "rssBytes": stats.memory_rss_bytes,
        },
    }


def busy_nanoseconds(stat: str) -> int:
    """CPU time that was not idle since the boot: /proc/stat, first line, less idle and iowait (guest is in user)."""
    fields = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    busy = sum(fields) - sum(fields[3:5])
    return busy * (1_000_000_000 // _CLOCK_TICKS)


def fs_stats(disk: FileSystem, at: str) -> dict[str, Any]:
    return {
        "time": at,
        "availableBytes": disk.available,
        "capacityBytes": disk.capacity,
        "usedBytes": disk.used,
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
        "inodesUsed": disk.inodes - disk.inodes_free,
    }


def _text(path: str) -> str:
    return Path(path).read_text()
