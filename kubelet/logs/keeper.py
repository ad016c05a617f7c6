"""Copies every container's log as it grows, all of them with one inotify descriptor and one thread.

An idle node costs nothing: nobody looks at a log that is not written. A busy one is copied every 100 ms at most, in
turns of 256 KiB for each container, and half of the time at most is spent on it: a container that writes faster than
that is behind, and what Docker has rotated away before it was read would have been rotated away here as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from inotify_simple import INotify, flags

from kubelet.cri import RuntimeContainer
from kubelet.logs.copy import LogCopy, Step
from kubelet.logs.paths import LogPaths
from kubelet.runtime.spec import LogLimits

log = logging.getLogger(__name__)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PAUSE = 0.1
"""Seconds between two looks at what has been written: events of a busy log are many."""
TURN = 0.05
"""Seconds of copying, and as many of rest."""
RETRY = 5.0
"""Seconds after a step that failed (the disk is full)."""
CATCH_UP = 64
"""Steps at most for a reader that wants all that is there: a log may grow as fast as it is read, until its end."""
_MASK = flags.MODIFY | flags.CREATE | flags.MOVED_TO | flags.ONLYDIR


class LogKeeper:
    """Its methods are called on the loop; what blocks is done in its own thread, one step after another."""

    def __init__(self, paths: LogPaths, state: Path, limits: LogLimits) -> None:
        """``state`` is the folder of what is remembered about each container's copy."""
        self._paths = paths
        self._state = state
        self._limits = limits
        self._copies: dict[str, LogCopy] = {}
        self._pods: dict[str, set[str]] = {}
        self._dirty: dict[str, None] = {}
        self._ended: set[str] = set()
        self._readers: dict[str, set[asyncio.Event]] = {}
        self._watched: dict[int, str] = {}
        self._watches: dict[str, int] = {}
        self._problems: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="logs")
        self._inotify: INotify | None = None

    # -- containers come and go -------------------------------------------------------------------------------------

    async def link(self, containers: Iterable[RuntimeContainer]) -> None:
        """Begins to copy the logs of these, or goes on where an earlier kubelet was."""
        for container in containers:
            if not container.log_path or container.is_sandbox or container.id in self._copies:
                continue
            try:
                path = await self._do(self._prepare, container)
            except OSError as error:
                log.warning("log of container %s: %s", container.name, error)
                continue
            copy = LogCopy(Path(container.log_path), path, self._state / container.id, self._limits)
            self._copies[container.id] = copy
            self._pods.setdefault(container.pod_uid, set()).add(container.id)
            self.touch(container.id, ended=not container.running)

    def touch(self, container_id: str, *, ended: bool = False) -> None:
        """Something happened to the container, or to its log."""
        if ended:
            self._ended.add(container_id)
        if container_id in self._copies:
            self._dirty[container_id] = None
            self._wake.set()

    async def unlink(self, container: RuntimeContainer) -> None:
        """Of a container that is removed."""
        copy = self._forget(container.id) or LogCopy(
            Path(container.log_path), self._paths.path(container), self._state / container.id, self._limits
        )
        self._pods.get(container.pod_uid, set()).discard(container.id)
        await self._do(copy.remove)
        await self._do(self._paths.unlink, container)

    async def remove(self, pod_uid: str) -> None:
        """All of a pod's."""
        for container_id in self._pods.pop(pod_uid, set()):
            if copy := self._forget(container_id):
                await self._do(copy.remove)
        await self._do(self._paths.remove, pod_uid)

    async def sweep(self, known: Set[str], containers: Iterable[RuntimeContainer]) -> None:
        """Removes what is left of pods that are not ``known``, and of containers that are not there; notices ends that
        no event told of."""
        there = {container.id: container for container in containers}
        for container_id in list(self._copies):
            if container_id not in self._ended and container_id in there and not there[container_id].running:
                self.touch(container_id, ended=True)
        self._ended &= there.keys() | self._copies.keys()
        await self._do(self._paths.sweep, known)
        await self._do(self._sweep_state, there.keys() | self._copies.keys())

    def _forget(self, container_id: str) -> LogCopy | None:
        self._dirty.pop(container_id, None)
        self._problems.pop(container_id, None)
        self._ended.add(container_id)
        self._tell(container_id)
        self._unwatch(container_id)
        return self._copies.pop(container_id, None)

    # -- readers ----------------------------------------------------------------------------------------------------

    async def catch_up(self, container_id: str) -> Path | None:
        """Copies what the runtime has by now, and tells where; None for a container without a log."""
        copy = self._copies.get(container_id)
        if copy is None:
            return None
        steps = 0
        while steps < CATCH_UP or container_id in self._ended:
            steps += 1
            try:
                step = await self._do(copy.step)
            except OSError as error:
                log.warning("log %s: %s", copy.path, error)
                break
            if not step.more:
                break
        return copy.path

    def ended(self, container_id: str) -> bool:
        return container_id in self._ended

    @contextmanager
    def subscribed(self, container_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when there is more to read, or when there will be no more."""
        event = asyncio.Event()
        self._readers.setdefault(container_id, set()).add(event)
        try:
            yield event
        finally:
            readers = self._readers[container_id]
            readers.discard(event)
            if not readers:
                del self._readers[container_id]

    def _tell(self, container_id: str) -> None:
        for event in self._readers.get(container_id, ()):
            event.set()

    # -- copying ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            log.warning("logs are looked at every second: %s", error)
        inotify = self._inotify

        def readable() -> None:
            """Not again before the next look: each write of every container is an event."""
            assert inotify is not None
            loop.remove_reader(inotify.fileno())
            self._wake.set()

        try:
            while True:
                if inotify is not None:
                    loop.add_reader(inotify.fileno(), readable)
                try:
                    async with asyncio.timeout(None if inotify is not None else 1.0):
                        await self._wake.wait()
                except TimeoutError:
                    self._dirty |= dict.fromkeys(self._copies)
                self._wake.clear()
                self._collect()
                await self._copy()
                await asyncio.sleep(PAUSE)
        finally:
            if inotify is not None:
                loop.remove_reader(inotify.fileno())
                inotify.close()
                self._inotify = None

    def _collect(self) -> None:
        """What inotify has seen."""
        if self._inotify is None:
            return
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                self._dirty |= dict.fromkeys(self._copies)
            elif event.mask & flags.IGNORED:
                self._watches.pop(self._watched.pop(event.wd, ""), 0)
            elif (container_id := self._watched.get(event.wd)) is not None:
                self._dirty[container_id] = None

    async def _copy(self) -> None:
        """All that is dirty, in turns."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self._dirty:
            container_id = next(iter(self._dirty))
            del self._dirty[container_id]
            copy = self._copies.get(container_id)
            if copy is None:
                continue
            step = await self._step(container_id, copy)
            if step.more:
                self._dirty[container_id] = None
            elif container_id in self._ended:
                self._unwatch(container_id)
            if step.wrote or container_id in self._ended:
                self._tell(container_id)
            if (spent := loop.time() - began) > TURN:
                await asyncio.sleep(spent)
                began = loop.time()

    async def _step(self, container_id: str, copy: LogCopy) -> Step:
        if container_id not in self._watches and container_id not in self._ended:
            self._watch(container_id, copy.source)
        try:
            step = await self._do(copy.step)
            self._problems.pop(container_id, None)
            return step
        except OSError as error:
            if self._problems.get(container_id) != str(error):
                log.warning("log %s: %s", copy.path, error)
            self._problems[container_id] = str(error)
            asyncio.get_running_loop().call_later(RETRY, self.touch, container_id)
            return Step()

    def _watch(self, container_id: str, folder: Path) -> None:
        if self._inotify is None:
            return
        try:
            watch = self._inotify.add_watch(folder, _MASK)
        except OSError as error:
            log.warning("log of container %s is not watched: %s", container_id[:12], error)
            asyncio.get_running_loop().call_later(RETRY, self.touch, container_id)
            return
        self._watches[container_id], self._watched[watch] = watch, container_id

    def _unwatch(self, container_id: str) -> None:
        watch = self._watches.pop(container_id, None)
        if watch is not None and self._inotify is not None:
            self._watched.pop(watch, None)
            try:
                self._inotify.rm_watch(watch)
            except OSError:
                return  # the folder went first

    # -- in the thread ----------------------------------------------------------------------------------------------

    async def _do(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    def _prepare(self, container: RuntimeContainer) -> Path:
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._paths.prepare(container)

    def _sweep_state(self, there: Set[str]) -> None:
        if self._state.is_dir():
            for path in self._state.iterdir():
                if path.name not in there:
                    path.unlink(missing_ok=True)
