"""Tells when something in a folder has changed, by inotify; where that cannot be told the wait ends by its time."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import TracebackType

from inotify_simple import INotify, flags

log = logging.getLogger("kubelet.staticpods")

_MASK = flags.CLOSE_WRITE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.DELETE_SELF | flags.MOVE_SELF
"""A file counts when whoever writes it has closed it."""
SETTLE = 0.05
"""Seconds after the first change: files are often written one after another."""


class FolderWatch:
    """On the loop. ``path`` may be a file: its folder is watched then, since editors replace files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inotify: INotify | None = None
        self._changed = asyncio.Event()

    def __enter__(self) -> FolderWatch:
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            log.warning("%s is not watched, only looked at from time to time: %s", self._path, error)
            return self
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._readable)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()

    def renew(self) -> None:
        """Before each look: the folder may have come, or be another one."""
        self._changed.clear()
        if self._inotify is None:
            return
        folder = self._path if self._path.is_dir() else self._path.parent
        try:
            self._inotify.add_watch(folder, _MASK)
        except OSError:
            return  # not there (yet)

    async def wait(self, seconds: float) -> None:
        """Until something changes, ``seconds`` at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
                await asyncio.sleep(SETTLE)
        except TimeoutError:
            return

    def _readable(self) -> None:
        assert self._inotify is not None
        if self._inotify.read(timeout=0):
            self._changed.set()
