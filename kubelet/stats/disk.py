"""What folders take of a disk: counted file by file as ``du`` does, at most once a minute for each, when asked.

A walk may take long and a network file system may not answer at all, so walks have two threads of their own and nobody
waits longer than a few seconds: what is not known by then is told the next time.
https://kubernetes.io/docs/reference/instrumentation/node-metrics/
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kubelet.node.machine import FileSystem, file_system
from kubelet.types import DiskUsage
from kubelet.volumes.usage import tree_usage

MAX_AGE = 60.0
"""Seconds, as upstream's --volume-stats-agg-period."""
PATIENCE = 5.0
"""Seconds that one question waits for all of its folders."""
_BLOCK = 512
_KEPT = 2000
"""Folders whose figures are remembered."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a folder takes, and the file system that it is on."""

    used: int
    inodes: int
    disk: FileSystem
    taken: float = 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A folder to measure. ``files``: only these files of it; ``whole``: all of its file system."""

    path: str
    whole: bool = False
    files: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, bool, tuple[str, ...]]:
        return self.path, self.whole, self.files


class Disks:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pool: ThreadPoolExecutor | None = None
        self._known: dict[Wanted, Usage] = {}
        self._running: dict[Wanted, Future[Usage]] = {}

    async def of(self, wanted: Iterable[Wanted]) -> dict[Wanted, Usage]:
        """The figures there are of each, measured anew when they are old; those of which nothing is known left out."""
        asked = list(dict.fromkeys(wanted))
        now = self._clock()
        waiting = []
        for each in asked:
            known = self._known.get(each)
            if known is None or now - known.taken >= MAX_AGE:
                waiting.append(self._start(each))
        if waiting:
            await asyncio.wait([asyncio.wrap_future(each) for each in waiting], timeout=PATIENCE)
        self._collect()
        return {each: self._known[each] for each in asked if each in self._known}

    def _start(self, wanted: Wanted) -> Future[Usage]:
        running = self._running.get(wanted)
        if running is None:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(2, thread_name_prefix="disk-usage")
            running = self._running[wanted] = self._pool.submit(self._measure, wanted)
        return running

    def _measure(self, wanted: Wanted) -> Usage:
        disk = file_system(Path(wanted.path))
        if wanted.whole:
            return Usage(disk.used, disk.inodes - disk.inodes_free, disk, self._clock())
        found = measure_files(wanted.files) if wanted.files else tree_usage(wanted.path)
        return Usage(found.bytes, found.inodes, disk, self._clock())

    def _collect(self) -> None:
        for wanted in [each for each, future in self._running.items() if future.done()]:
            future = self._running.pop(wanted)
            if future.exception() is None:
                self._known.pop(wanted, None)
                self._known[wanted] = future.result()
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def measure_files(paths: Iterable[str]) -> DiskUsage:
    """Bytes and inodes of files (links followed), each once."""
    used, seen = 0, set()
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            continue
        if (found.st_dev, found.st_ino) not in seen:
            seen.add((found.st_dev, found.st_ino))
            used += found.st_blocks * _BLOCK
    return DiskUsage(used, len(seen))
