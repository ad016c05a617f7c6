"""What a cgroup uses, read from its files: version 1, version 2, or both mounted at once.

Docker's stats API answers the same in 1 to 2 ms and with a thread for each container; these files take some ten
microseconds. Where a container's cgroup is says ``/proc/<pid>/cgroup``, not a convention about paths: the runtime, its
driver and the node's settings may all have their own.
https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/index.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from kubelet.cri import CgroupDetails, ContainerStats

UNIFIED = ""
"""The name of the one tree of version 2, among the controllers' names of version 1."""
UNLIMITED = 1 << 60
"""Version 1 says a number near the largest there is when there is no limit."""
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_CHUNK = 1 << 16
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a tree is mounted, and which part of it."""

    point: str
    root: str

    def folder(self, path: str) -> str:
        """The folder of a cgroup that ``/proc/<pid>/cgroup`` names."""
        inside = path.removeprefix(self.root.rstrip("/")) if self.root != "/" else path
        return self.point + (inside.rstrip("/") if inside.startswith("/") or not inside else f"/{inside}")


def parse_mounts(mountinfo: str) -> dict[str, Mount]:
    """The trees in ``/proc/self/mountinfo``, by controller."""
    found: dict[str, Mount] = {}
    for line in mountinfo.splitlines():
        words = line.split()
        if "-" not in words:
            continue
        dash = words.index("-")
        kind, options = words[dash + 1], words[-1]
        mount = Mount(words[4], words[3])
        if kind == "cgroup2":
            found.setdefault(UNIFIED, mount)
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, mount)
    return found


def parse_membership(text: str) -> dict[str, str]:
    """``/proc/<pid>/cgroup``: controller -> path."""
    found = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = path
    return found


def of_container(path: str, container_id: str) -> str:
    """The container's own cgroup: a process of it may have moved to one below (an init system, Docker in Docker)."""
    parts = path.split("/")
    for index, part in enumerate(parts):
        if container_id in part:
            return "/".join(parts[: index + 1])
    return path


class CgroupMissing(Exception):
    """The cgroup cannot be read: its processes have ended, or it is not to be seen from here."""


class Cgroups:
    """Blocking, but only briefly: nothing here waits for a disk."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc

    @cached_property
    def _mounts(self) -> Mapping[str, Mount]:
        return parse_mounts(_text(f"{self._proc}/self/mountinfo"))

    def path_of(self, pid: int, container_id: str = "") -> str:
        """The path of a process's (or its container's) cgroup, as the memory controller has it. Raises
        CgroupMissing."""
        membership = parse_membership(_text(f"{self._proc}/{pid}/cgroup"))
        path = membership.get("memory") if "memory" in self._mounts else membership.get(UNIFIED)
        if not path:
            raise CgroupMissing(f"process {pid} has no cgroup")
        return of_container(path, container_id) if container_id else path

    def stats(self, path: str, name: str = "", *, full: bool = False) -> ContainerStats:
        """What the cgroup at a path uses; ``full`` with what a monitor wants beside. Raises CgroupMissing."""
        if "memory" in self._mounts:
            return self._version1(path, name, full)
        return self._version2(path, name, full)

    def first_process(self, path: str) -> int:
        """The oldest of the processes in the cgroup at a path. Raises CgroupMissing, also when there is none."""
        controller = "memory" if "memory" in self._mounts else UNIFIED
        pids = _text(f"{self._folder(controller, path)}/cgroup.procs").split()
        if not pids:
            raise CgroupMissing(f"{path}: no process")
        return min(map(int, pids))

    def _folder(self, controller: str, path: str) -> str:
        mount = self._mounts.get(controller)
        return mount.folder(path) if mount is not None else ""

    def _version1(self, path: str, name: str, full: bool) -> ContainerStats:
        memory, pids = self._folder("memory", path), self._folder("pids", path)
        stat = flat(_text(f"{memory}/memory.stat"))
        at, cpu = datetime.now(UTC), _number(f"{self._folder('cpuacct', path)}/cpuacct.usage")
        usage = _number(f"{memory}/memory.usage_in_bytes")
        limit = _limit(f"{memory}/memory.limit_in_bytes")
        both = _limit(f"{memory}/memory.memsw.limit_in_bytes")
        return ContainerStats(
            container_id=name,
            timestamp=at,
            cpu_nanoseconds=cpu,
            memory_usage_bytes=usage,
            memory_working_set_bytes=max(0, usage - stat.get("total_inactive_file", 0)),
            memory_rss_bytes=stat.get("total_rss", 0),
            pids=_optional(f"{pids}/pids.current") if pids else 0,
            cgroup=path,
            page_faults=stat.get("total_pgfault", 0),
            major_page_faults=stat.get("total_pgmajfault", 0),
            swap_bytes=stat.get("total_swap", 0),
            memory_limit_bytes=limit,
            swap_limit_bytes=both - limit if both and limit else None,
            details=self._details1(path, memory, pids, stat) if full else None,
        )

    def _details1(self, path: str, memory: str, pids: str, stat: Mapping[str, int]) -> CgroupDetails:
        cpu, account, disk = (self._folder(each, path) for each in ("cpu", "cpuacct", "blkio"))
        used, times = flat(_maybe(f"{cpu}/cpu.stat")), flat(_maybe(f"{account}/cpuacct.stat"))
        oom = flat(_maybe(f"{memory}/memory.oom_control"))
        read, written = transferred(_maybe(f"{disk}/blkio.throttle.io_service_bytes_recursive"))
        reads, writes = transferred(_maybe(f"{disk}/blkio.throttle.io_serviced_recursive"))
        return CgroupDetails(
            cpu_user_nanoseconds=times.get("user", 0) * _TICK,
            cpu_system_nanoseconds=times.get("system", 0) * _TICK,
            cfs_periods=used.get("nr_periods", 0),
            cfs_throttled_periods=used.get("nr_throttled", 0),
            cfs_throttled_nanoseconds=used.get("throttled_time", 0),
            cpu_shares=_optional(f"{cpu}/cpu.shares"),
            cpu_quota=max(0, _optional(f"{cpu}/cpu.cfs_quota_us")),
            cpu_period=_optional(f"{cpu}/cpu.cfs_period_us"),
            memory_cache_bytes=stat.get("total_cache", 0),
            memory_mapped_file_bytes=stat.get("total_mapped_file", 0),
            memory_max_usage_bytes=_optional(f"{memory}/memory.max_usage_in_bytes"),
            memory_failures=_optional(f"{memory}/memory.failcnt"),
            memory_soft_limit_bytes=_soft(f"{memory}/memory.soft_limit_in_bytes"),
            own_page_faults=stat.get("pgfault", 0),
            own_major_page_faults=stat.get("pgmajfault", 0),
            oom_events=oom.get("oom_kill", 0),
            threads_max=_optional(f"{pids}/pids.max"),
            read_bytes=read,
            written_bytes=written,
            reads=reads,
            writes=writes,
        )

    def _version2(self, path: str, name: str, full: bool) -> ContainerStats:
        folder = self._folder(UNIFIED, path)
        stat = flat(_text(f"{folder}/memory.stat"))
        at, cpu = datetime.now(UTC), flat(_text(f"{folder}/cpu.stat"))
        usage = _number(f"{folder}/memory.current")
        return ContainerStats(
            container_id=name,
            timestamp=at,
            cpu_nanoseconds=cpu.get("usage_usec", 0) * 1000,
            memory_usage_bytes=usage,
            memory_working_set_bytes=max(0, usage - stat.get("inactive_file", 0)),
            memory_rss_bytes=stat.get("anon", 0),
            pids=_optional(f"{folder}/pids.current"),
            cgroup=path,
            page_faults=stat.get("pgfault", 0),
            major_page_faults=stat.get("pgmajfault", 0),
            swap_bytes=_optional(f"{folder}/memory.swap.current"),
            memory_limit_bytes=_limit(f"{folder}/memory.max"),
            swap_limit_bytes=_limit(f"{folder}/memory.swap.max", missing=None),
            details=_details2(folder, stat, cpu) if full else None,
        )


def _details2(folder: str, stat: Mapping[str, int], cpu: Mapping[str, int]) -> CgroupDetails:
    events = flat(_maybe(f"{folder}/memory.events"))
    quota, _, period = _maybe(f"{folder}/cpu.max").partition(" ")
    moved = _moved(_maybe(f"{folder}/io.stat"))
    return CgroupDetails(
        cpu_user_nanoseconds=cpu.get("user_usec", 0) * 1000,
        cpu_system_nanoseconds=cpu.get("system_usec", 0) * 1000,
        cfs_periods=cpu.get("nr_periods", 0),
        cfs_throttled_periods=cpu.get("nr_throttled", 0),
        cfs_throttled_nanoseconds=cpu.get("throttled_usec", 0) * 1000,
        cpu_shares=shares_of(_optional(f"{folder}/cpu.weight")),
        cpu_quota=int(quota) if quota.isdigit() else 0,
        cpu_period=int(period) if period.strip().isdigit() else 0,
        memory_cache_bytes=stat.get("file", 0),
        memory_mapped_file_bytes=stat.get("file_mapped", 0),
        memory_max_usage_bytes=_optional(f"{folder}/memory.peak"),
        memory_failures=events.get("max", 0),
        memory_soft_limit_bytes=_soft(f"{folder}/memory.low"),
        own_page_faults=stat.get("pgfault", 0),
        own_major_page_faults=stat.get("pgmajfault", 0),
        oom_events=events.get("oom_kill", 0),
        threads_max=_optional(f"{folder}/pids.max"),
        read_bytes=moved.get("rbytes", 0),
        written_bytes=moved.get("wbytes", 0),
        reads=moved.get("rios", 0),
        writes=moved.get("wios", 0),
    )


def shares_of(weight: int) -> int:
    """Version 2's weight (1 to 10000) as version 1's shares (2 to 262144): the inverse of what runtimes convert by."""
    return 2 + (weight - 1) * 262142 // 9999 if weight else 0


def flat(text: str) -> dict[str, int]:
    """A file of ``name value`` lines."""
    values = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.isdigit():
            values[name] = int(value)
    return values


def transferred(text: str) -> tuple[int, int]:
    """What was read and written: lines of ``8:0 Read 4096``, summed over the devices."""
    sums = {"Read": 0, "Write": 0}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in sums:
            sums[words[1]] += int(words[2])
    return sums["Read"], sums["Write"]


def _moved(text: str) -> dict[str, int]:
    """io.stat: lines of ``8:0 rbytes=1 wbytes=2 …``, summed over the devices."""
    sums: dict[str, int] = {}
    for line in text.splitlines():
        for word in line.split()[1:]:
            name, _, value = word.partition("=")
            if value.isdigit():
                sums[name] = sums.get(name, 0) + int(value)
    return sums


def _text(path: str) -> str:
    """Raises CgroupMissing. The files are made when they are read, a page at a time."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CgroupMissing(f"{path}: {error.strerror}") from None
    try:
        content = b""
        while (chunk := os.read(descriptor, _CHUNK)) and len(content) < _MOST:
            content += chunk
    except OSError as error:
        raise CgroupMissing(f"{path}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return content.decode("ascii", "replace")


def _maybe(path: str) -> str:
    try:
        return _text(path)
    except CgroupMissing:
        return ""


def _number(path: str) -> int:
    try:
        return int(_text(path))
    except ValueError:
        raise CgroupMissing(f"{path}: not a number") from None


def _optional(path: str) -> int:
    """0 for a file that is not there or says ``max``."""
    text = _maybe(path).strip()
    return int(text) if text.lstrip("-").isdigit() else 0


def _limit(path: str, missing: int | None = 0) -> int:
    """0 for no limit; ``missing`` for a file that is not there."""
    text = _maybe(path).strip()
    if not text:
        return missing  # type: ignore[return-value]
    value = int(text) if text.isdigit() else 0
    return value if value < UNLIMITED else 0


def _soft(path: str) -> int:
    value = _optional(path)
    return value if value < UNLIMITED else 0
