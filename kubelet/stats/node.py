"""The node's own figures, from /proc. Blocking, but only briefly."""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kubelet.node.memory import meminfo

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class NodeFigures:
    at: datetime
    cpu_nanoseconds: int
    memory_capacity: int
    memory_usage: int
    memory_working_set: int
    memory_rss: int
    page_faults: int
    major_page_faults: int
    swap_total: int
    swap_free: int
    pids: int
    pids_max: int


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    at: datetime
    cpu_nanoseconds: int
    memory_rss: int
    page_faults: int
    major_page_faults: int
    started: datetime


def read_node(proc: Path = Path("/proc")) -> NodeFigures:
    memory, faults = meminfo(_text(proc / "meminfo")), _counters(_text(proc / "vmstat"))
    total, free = memory.get("MemTotal", 0), memory.get("MemFree", 0)
    load = _text(proc / "loadavg").split()
    limits = [int(_text(proc / "sys/kernel" / name) or 0) for name in ("pid_max", "threads-max")]
    usage = total - free
    return NodeFigures(
        at=datetime.now(UTC),
        cpu_nanoseconds=busy_nanoseconds(_text(proc / "stat")),
        memory_capacity=total,
        memory_usage=usage,
        memory_working_set=max(0, usage - memory.get("Inactive(file)", 0)),
        memory_rss=memory.get("AnonPages", 0),
        page_faults=faults.get("pgfault", 0),
        major_page_faults=faults.get("pgmajfault", 0),
        swap_total=memory.get("SwapTotal", 0),
        swap_free=memory.get("SwapFree", 0),
        pids=int(load[3].partition("/")[2] or 0) if len(load) > 3 else 0,
        pids_max=min((limit for limit in limits if limit), default=0),
    )


def read_process(pid: int, proc: Path = Path("/proc")) -> ProcessFigures | None:
    """None when there is no such process."""
    text = _text(proc / str(pid) / "stat")
    _, _, rest = text.rpartition(")")  # the name may have blanks in it
    fields = rest.split()
    if len(fields) < 22:
        return None
    boot = _counters(_text(proc / "stat")).get("btime", 0)
    return ProcessFigures(
        at=datetime.now(UTC),
        cpu_nanoseconds=(int(fields[11]) + int(fields[12])) * _TICK,
        memory_rss=int(fields[21]) * _PAGE,
        page_faults=int(fields[7]),
        major_page_faults=int(fields[9]),
        started=datetime.fromtimestamp(boot + int(fields[19]) * _TICK / 1e9, UTC),
    )


def peer_of(socket_path: str) -> int:
    """The process that listens on a Unix socket; 0 when it cannot be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(socket_path)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return 0
    return int(struct.unpack("3i", credentials)[0])


def busy_nanoseconds(stat: str) -> int:
    """CPU time that was not idle since the boot: /proc/stat, first line, less idle and iowait (guest is in user)."""
    fields = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    busy = sum(fields) - sum(fields[3:5])
    return busy * _TICK


def _counters(text: str) -> Mapping[str, int]:
    values = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit():
            values[words[0]] = int(words[1])
    return values


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
