"""The first process of each container, by the number that the kernel's log has for it.

The log names the cgroups of at most ten killed processes in five seconds, and the numbers of all. Docker tells a number
only as long as the process is there, which may be for less time than it takes to ask; its cgroup is read at once.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Container
from dataclasses import dataclass

from kubelet.runtime.cgroups import CgroupMissing, Cgroups

_INITIAL_NAMESPACE = 0xEFFFFFFC
"""The kernel's number of the namespace that all processes of the machine are counted in."""


@dataclass(frozen=True, slots=True)
class First:
    pid: int
    since: float
    """time.monotonic()."""


class FirstProcesses:
    """Nothing is known where the runtime's cgroups are systemd's, of containers that an earlier kubelet started, and by
    a kubelet that does not see the machine's own numbers: a node that is a container."""

    def __init__(self) -> None:
        self._cgroups = Cgroups()
        self._places: dict[str, str] = {}
        self._firsts: dict[str, First] = {}

    def created(self, container_id: str, cgroup_parent: str) -> None:
        if cgroup_parent.startswith("/") and _counts_as_the_kernel():
            self._places[container_id] = f"{cgroup_parent.rstrip('/')}/{container_id}"

    async def started(self, container_id: str) -> None:
        place = self._places.pop(container_id, None)
        if place is not None:
            try:
                pid = await asyncio.to_thread(self._cgroups.first_process, place)
            except CgroupMissing:
                return  # it has ended
            self._firsts[container_id] = First(pid, time.monotonic())

    def of(self, container_id: str) -> First | None:
        return self._firsts.get(container_id)

    def keep(self, present: Container[str]) -> None:
        """Forgets the others."""
        self._places = {key: value for key, value in self._places.items() if key in present}
        self._firsts = {key: value for key, value in self._firsts.items() if key in present}


def _counts_as_the_kernel() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _INITIAL_NAMESPACE
    except OSError:
        return False
