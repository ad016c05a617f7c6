"""Samples of all running containers and their pods' cgroups, taken when they are asked for and never otherwise.

CPU is counted by the kernel as time; a rate is the difference to an earlier sample. The earlier sample is the one
before, or an older one, so that the rate is about some ten seconds when somebody asks every second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kubelet.cri import ContainerStats, Runtime, RuntimeContainer

MIN_AGE = 1.0
"""Seconds: who asks more often is told the same."""
WINDOW = 10.0
"""Seconds that a rate is about, at least, once there were samples for so long (upstream's housekeeping interval)."""
STALE = 180.0
"""Seconds after which an old sample says nothing about now."""


@dataclass(frozen=True, slots=True)
class Sample:
    stats: ContainerStats
    nano_cores: int | None
    """None when there is no earlier sample."""


@dataclass(frozen=True, slots=True)
class PodSamples:
    """One pod's: its sandbox, its containers, and its own cgroup if it has one."""

    sandbox: RuntimeContainer | None
    containers: Sequence[RuntimeContainer]
    """The sandbox among them; oldest first."""
    samples: Mapping[str, Sample]
    """By container id."""
    group: Sample | None = None

    @property
    def first(self) -> RuntimeContainer:
        return self.containers[0]


@dataclass(frozen=True, slots=True)
class Reading:
    pods: Sequence[PodSamples]
    all_pods: Sample | None
    """The cgroup of all pods, if there is one."""
    full: bool
    taken: float


class Rates:
    """CPU rates by whatever names the cgroup."""

    def __init__(self) -> None:
        self._bases: dict[str, tuple[datetime, int]] = {}
        self._asked: set[str] = set()

    def rate(self, key: str, at: datetime, nanoseconds: int) -> int | None:
        """Nanoseconds a second since the base, which then moves on when it is WINDOW old."""
        self._asked.add(key)
        base = self._bases.get(key)
        seconds = (at - base[0]).total_seconds() if base is not None else 0.0
        if base is None or seconds > STALE or nanoseconds < base[1]:
            self._bases[key] = (at, nanoseconds)
            return None
        if seconds <= 0:
            return None
        if seconds >= WINDOW:
            self._bases[key] = (at, nanoseconds)
        return int((nanoseconds - base[1]) / seconds)

    def sweep(self) -> None:
        """Forgets what was not asked about since the last sweep."""
        self._bases = {key: base for key, base in self._bases.items() if key in self._asked}
        self._asked = set()


class Sampler:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._rates = Rates()
        self._lock = asyncio.Lock()
        self._last: Reading | None = None

    async def read(self, *, full: bool = False) -> Reading:
        """Raises RuntimeFailure when the runtime does not say what runs."""
        async with self._lock:
            last = self._last
            if last is None or time.monotonic() - last.taken >= MIN_AGE or (full and not last.full):
                last = self._last = await self._take(full)
            return last

    async def _take(self, full: bool) -> Reading:
        running = [each for each in await self._runtime.list_containers() if each.running]
        found = await self._runtime.stats_of(running, full=full)
        groups = {path for each in running if (path := pod_cgroup(found.get(each.id), each.pod_uid))}
        top = next((parent for path in groups if (parent := pods_cgroup(path))), "")
        of_groups = await self._runtime.cgroup_stats([*groups, *([top] if top else [])], full=full)
        samples = {key: self._sample(stats) for key, stats in {**found, **of_groups}.items()}
        self._rates.sweep()
        pods = []
        for held in by_pod(running).values():
            held = [each for each in held if each.id in samples]
            if held:
                path = next((p for each in held if (p := pod_cgroup(found[each.id], each.pod_uid))), "")
                sandbox = next((each for each in held if each.is_sandbox), None)
                own = {each.id: samples[each.id] for each in held}
                pods.append(PodSamples(sandbox, held, own, samples.get(path)))
        return Reading(pods, samples.get(top), full, time.monotonic())

    def _sample(self, stats: ContainerStats) -> Sample:
        key = stats.container_id or stats.cgroup
        return Sample(stats, self._rates.rate(key, stats.timestamp, stats.cpu_nanoseconds))


def by_pod(containers: Sequence[RuntimeContainer]) -> dict[str, list[RuntimeContainer]]:
    pods: dict[str, list[RuntimeContainer]] = {}
    for container in sorted(containers, key=lambda each: each.created):
        pods.setdefault(container.pod_uid, []).append(container)
    return pods


def pod_cgroup(stats: ContainerStats | None, pod_uid: str) -> str:
    """The pod's own cgroup, one above its container's; "" when it has none."""
    if stats is None or not stats.cgroup:
        return ""
    above, _, _ = stats.cgroup.rstrip("/").rpartition("/")
    # systemd's names have underscores where others have dashes
    return above if pod_uid and pod_uid.replace("-", "_") in above.rpartition("/")[2].replace("-", "_") else ""


def pods_cgroup(path: str) -> str:
    """The cgroup of all pods above a pod's; "" when there is none."""
    parts = path.split("/")
    for index, part in enumerate(parts):
        if part == "kubepods" or f"-{part}".endswith("-kubepods.slice"):
            return "/".join(parts[: index + 1])
    return ""
