"""Whom the kernel killed for want of memory, as its log tells it.

Runtimes are told of such kills by notifications, and now and then lose one: containerd's shim does when the
container's cgroup is removed before the notification is read, in about one of forty ends with cgroups of version 1.
The log outlasts the cgroup, the runtime's restart and the kubelet's. Upstream's kubelet reads it too, for the event
SystemOOM (pkg/kubelet/oom, cadvisor's utils/oomparser); whether a container lacked memory it leaves to the runtime.

Read with syslog(2), which needs no device (there is no /dev/kmsg in a container) but CAP_SYSLOG, and only when the
kernel's count of kills has changed. What users wrote into the log is not believed.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from kubelet.runtime.cgroups import flat

log = logging.getLogger("kubelet.oom")

K = TypeVar("K")
V = TypeVar("V")

LOOK_SECONDS = 10.0
REMEMBERED = 4096
"""Containers and processes that are remembered when the log has them no more."""
_READ_ALL, _SIZE = 3, 10
_MOST = 1 << 20
# A record of the kernel's own (facility 0), when it was written, and perhaps by whom.
_RECORD = r"<[0-7]>(?:\[[^]]*\])* ?"
# What names a cgroup since 5.0, what did before, and of cgroups that are killed as a whole; each with a text to find it
# by.
_CGROUPS = {
    "oom-kill:constraint=": re.compile(_RECORD + r"oom-kill:constraint=.*,task_memcg=(.*?),task="),
    "Task in ": re.compile(_RECORD + r"Task in (.*) killed as a result of limit of "),
    "Tasks in ": re.compile(_RECORD + r"Tasks in (.*) are going to be killed due to memory\.oom\.group set"),
}
_KILL = re.compile(_RECORD + r"(Memory cgroup out|Out) of memory[^:]*: Kill(?:ed)? process (\d+) \((.*?)\)(?: |,|$)")
_CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Kill:
    pid: int
    process: str
    system: bool
    """The machine as a whole had no memory left, not a cgroup of it."""
    record: str
    """The text of the kernel's record: by its time it differs from others."""


def killed_containers(text: str) -> list[str]:
    """Ids of the containers in whose cgroups (or in ones below) a process was killed, whatever ran out of memory. A
    path may name several: a container of a node that is one itself. Not complete: the kernel names the cgroups of at
    most ten kills in five seconds."""
    lines = [(pattern, line) for words, pattern in _CGROUPS.items() for line in _lines(text, words)]
    paths = [found[1] for pattern, line in lines if (found := pattern.match(line))]
    return [found for path in paths for found in _CONTAINER_ID.findall(path)]


def kills(text: str) -> list[Kill]:
    """Oldest first. By numbers as the machine's own namespace has them."""
    found = [match for line in _lines(text, "ut of memory") if (match := _KILL.match(line))]
    return [Kill(int(match[2]), match[3], match[1] == "Out", match.string) for match in found]


def _lines(text: str, words: str) -> Iterator[str]:
    """Those that have the words in them: found much faster than by looking at each."""
    at = text.find(words)
    while at >= 0:
        end = text.find("\n", at)
        end = end if end >= 0 else len(text)
        yield text[text.rfind("\n", 0, at) + 1 : end]
        at = text.find(words, end)


class KernelLog:
    """Blocking, for milliseconds at most."""

    def __init__(self, vmstat: Path = Path("/proc/vmstat")) -> None:
        self._vmstat = vmstat
        self._libc = ctypes.CDLL(None, use_errno=True)

    def kills(self) -> int | None:
        """How many processes this machine's kernel has killed for want of memory; None if it does not count them
        (before 4.13)."""
        try:
            return flat(self._vmstat.read_text()).get("oom_kill")
        except OSError:
            return None

    def text(self) -> str:
        """What the kernel still has of its log, at most the last megabyte. Raises OSError."""
        size = min(self._ask(_SIZE, None, 0), _MOST)
        buffer = ctypes.create_string_buffer(size)
        length = self._ask(_READ_ALL, buffer, size)
        return buffer.raw[:length].decode(errors="replace")

    def _ask(self, action: int, buffer: ctypes.Array[ctypes.c_char] | None, size: int) -> int:
        answer = int(self._libc.klogctl(action, buffer, size))
        if answer < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return answer


class Source(Protocol):
    def kills(self) -> int | None: ...
    def text(self) -> str: ...


class OOMWatcher:
    def __init__(self, source: Source | None = None) -> None:
        self._source = source or KernelLog()
        self._lock = asyncio.Lock()
        self._read: tuple[int | None, bool] = (None, False)
        """The count that the log was read at, and whether it was read twice at that."""
        self._containers: dict[str, None] = {}
        self._processes: dict[int, float] = {}
        """When they were found to have been killed, time.monotonic()."""
        self._before: frozenset[Kill] = frozenset()
        """What the log had when it was read last."""
        self._news: Sequence[Kill] = ()
        self._readable = True

    async def killed_in(self, container_id: str) -> bool:
        """Whether the kernel has killed a process of the container for want of memory. The record is there before the
        process ends."""
        if container_id not in self._containers:
            await self._look()
        return container_id in self._containers

    async def killed_process(self, pid: int, since: float) -> bool:
        """Whether the kernel has killed that process, which was there at a time (time.monotonic()), for want of memory.
        The number alone is no proof: it may have been another's once."""
        await self._look()
        return self._processes.get(pid, -1.0) >= since

    async def run(self, tell: Callable[[str], None]) -> None:
        """Tells of each kill that was the machine's as a whole, and keeps what containers need when the log moves on.
        At the start what the log has is told again, as upstream does: it may be what ended the last kubelet."""
        while True:
            for kill in await self.news():
                tell(f"System OOM encountered, victim process: {kill.process}, pid: {kill.pid}")
            await asyncio.sleep(LOOK_SECONDS)

    async def news(self) -> Sequence[Kill]:
        """Kills that were the machine's as a whole and were not given before."""
        await self._look()
        news, self._news = self._news, ()
        return news

    async def _look(self) -> None:
        async with self._lock:
            read = await asyncio.to_thread(self._changed)
            if read is None:
                return
            found, containers = read
            news = [kill for kill in found if kill not in self._before]
            self._before = frozenset(found)
            self._news = (*self._news, *(kill for kill in news if kill.system))[-REMEMBERED:]
            _remember(self._containers, dict.fromkeys(containers))
            _remember(self._processes, dict.fromkeys((kill.pid for kill in news), time.monotonic()))

    def _changed(self) -> tuple[list[Kill], list[str]] | None:
        """What the log has, if there may be something new in it. The kernel names the cgroup, then counts and kills,
        and then names the process: that it has counted is no proof that it has written all, so the log is read once
        more at the next look."""
        count = self._source.kills()
        if count is not None and self._read == (count, True):
            return None
        try:
            text = self._source.text()
        except OSError as error:
            if self._readable:
                log.warning("the kernel's log cannot be read, some ends for want of memory may not be told: %s", error)
            self._readable = False
            return None
        self._read, self._readable = (count, count == self._read[0]), True
        return kills(text), killed_containers(text)


def _remember(known: dict[K, V], more: dict[K, V]) -> None:
    """The newest."""
    for key, value in more.items():
        known.pop(key, None)
        known[key] = value
    for old in list(known)[:-REMEMBERED]:
        del known[old]
