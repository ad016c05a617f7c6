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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kubelet.runtime.cgroups import flat

log = logging.getLogger("kubelet.oom")

LOOK_SECONDS = 10.0
REMEMBERED = 4096
"""Containers whose kills are remembered when the log has them no more."""
_READ_ALL, _SIZE = 3, 10
_MOST = 1 << 20
# A record of the kernel's own (facility 0), when it was written, and perhaps by whom.
_RECORD = r"^<[0-7]>(?:\[[^]\n]*\])* ?"
# Since 5.0; and before.
_CGROUP = re.compile(
    _RECORD + r"(?:oom-kill:constraint=.*,task_memcg=(.*?),task=|Task in (.*) killed as a result of limit of )", re.M
)
_MACHINE = re.compile(_RECORD + r"Out of memory[^:\n]*: Kill(?:ed)? process (\d+) \((.*?)\)(?: |,|$).*", re.M)
_CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class SystemKill:
    """A kill because the machine as a whole had no memory left, not a cgroup of it."""

    pid: int
    process: str
    record: str
    """The text of the kernel's record: by its time it differs from others."""


def killed_containers(text: str) -> list[str]:
    """Ids of the containers in whose cgroups (or in ones below) a process was killed, whatever ran out of memory. A
    path may name several: a container of a node that is one itself."""
    paths = [match[1] or match[2] for match in _CGROUP.finditer(text)]
    return [found for path in paths for found in _CONTAINER_ID.findall(path)]


def system_kills(text: str) -> list[SystemKill]:
    """Oldest first. Their dumps are rate limited by the kernel (ten in five seconds), the records read here are not."""
    return [SystemKill(int(match[1]), match[2], match[0]) for match in _MACHINE.finditer(text)]


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
        self._told: frozenset[SystemKill] = frozenset()
        """Of what the log has, what the event was made of."""
        self._news: Sequence[SystemKill] = ()
        self._readable = True

    async def killed_in(self, container_id: str) -> bool:
        """Whether the kernel has killed a process of the container for want of memory. The record is there before the
        process ends."""
        if container_id not in self._containers:
            await self._look()
        return container_id in self._containers

    async def run(self, tell: Callable[[str], None]) -> None:
        """Tells of each kill that was the machine's as a whole, and keeps what containers need when the log moves on.
        At the start what the log has is told again, as upstream does: it may be what ended the last kubelet."""
        while True:
            for kill in await self.news():
                tell(f"System OOM encountered, victim process: {kill.process}, pid: {kill.pid}")
            await asyncio.sleep(LOOK_SECONDS)

    async def news(self) -> Sequence[SystemKill]:
        """Those that were not given before."""
        await self._look()
        news, self._news = self._news, ()
        return news

    async def _look(self) -> None:
        async with self._lock:
            text = await asyncio.to_thread(self._changed)
            if text is None:
                return
            self._containers.update(dict.fromkeys(killed_containers(text)))
            for old in list(self._containers)[:-REMEMBERED]:
                del self._containers[old]
            kills = system_kills(text)
            self._news = (*self._news, *(kill for kill in kills if kill not in self._told))[-REMEMBERED:]
            self._told = frozenset(kills)

    def _changed(self) -> str | None:
        """The log, if there may be something new in it. The kernel names the cgroup, then counts and kills, and then
        names the process: that it has counted is no proof that it has written all, so the log is read once more at the
        next look."""
        kills = self._source.kills()
        if kills is not None and self._read == (kills, True):
            return None
        try:
            text = self._source.text()
        except OSError as error:
            if self._readable:
                log.warning("the kernel's log cannot be read, some ends for want of memory may not be told: %s", error)
            self._readable = False
            return None
        self._read, self._readable = (kills, kills == self._read[0]), True
        return text
