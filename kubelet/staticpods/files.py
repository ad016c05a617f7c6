"""Reads the manifests of ``--pod-manifest-path``, a folder or one file: when something in it changes, and now and then.

A file that cannot be read as a pod is told of once for each change, and what it said before stays: a person who is
still typing ends nothing. The others are not touched. Hidden files are none; folders are not entered.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lightkube.resources.core_v1 import Pod

from common.api.meta import key_of
from kubelet.staticpods.manifest import MAX_BYTES, ManifestError, Origin, parse_manifest
from kubelet.staticpods.watch import FolderWatch

log = logging.getLogger("kubelet.staticpods")

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    stamp: Stamp
    pod: Pod | None


class ManifestFolder:
    def __init__(self, path: Path, node_name: str, complain: Callable[[str], None]) -> None:
        """``complain`` is called with what is wrong with a file, once for each change of it."""
        self._path = path
        self._node_name = node_name
        self._complain = complain
        self._known: dict[str, _Read] = {}
        self._problem = ""
        self._complaints: list[str] = []

    async def run(self, changed: Callable[[list[Pod]], None], period: float) -> None:
        """Until cancelled. The first look is at once."""
        with FolderWatch(self._path) as watch:
            while True:
                watch.renew()
                pods = await asyncio.to_thread(self.read)
                for text in self._complaints:
                    self._complain(text)
                self._complaints.clear()
                if pods is not None:
                    changed(pods)
                await watch.wait(period)

    def read(self) -> list[Pod] | None:
        """All pods as the files say it now; None when nobody can say. Blocking."""
        try:
            found = self._stamps()
            self._problem = ""
        except OSError as error:
            # As upstream: a path that is not there has no pods, any other trouble says nothing about them.
            text = f'unable to read config path "{self._path}": {error.strerror}'
            if text != self._problem:
                log.warning("%s", text)
            self._problem = text
            if not isinstance(error, FileNotFoundError):
                return None
            found = {}
        known = self._known
        self._known = {path: self._look(path, stamp, known.get(path)) for path, stamp in found.items()}
        return self._unique()

    def _stamps(self) -> dict[str, Stamp]:
        if self._path.is_file():
            paths = [self._path]
        else:
            paths = [self._path / name for name in os.listdir(self._path) if not name.startswith(".")]
        found = {}
        for path in sorted(paths):
            try:
                status = path.stat()
            except OSError:
                continue  # gone between the two looks, or a link to nothing
            if stat.S_ISREG(status.st_mode):
                found[str(path)] = (status.st_mtime_ns, status.st_size, status.st_ino)
        return found

    def _look(self, path: str, stamp: Stamp, known: _Read | None) -> _Read:
        if known is not None and known.stamp == stamp:
            return known
        try:
            with open(path, "rb") as file:
                text = file.read(MAX_BYTES + 1)
            if len(text) > MAX_BYTES:
                raise ManifestError(f"it has more than {MAX_BYTES} bytes")
            seen = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            pod = parse_manifest(text, Origin("file", path), self._node_name, seen)
        except (OSError, ManifestError) as error:
            self._complaints.append(f'Could not process manifest file "{path}": {error}')
            return _Read(stamp, known.pod if known is not None else None)
        if known is not None and known.pod is not None and uid_of(known.pod) == uid_of(pod):
            pod = known.pod
        return _Read(stamp, pod)

    def _unique(self) -> list[Pod]:
        """The first file in the order of names has the name."""
        pods: dict[str, Pod] = {}
        for path, read in self._known.items():
            if read.pod is None:
                continue
            first = pods.setdefault(key_of(read.pod), read.pod)
            if first is not read.pod:
                name = key_of(read.pod).rpartition("/")[2]
                text = f'Could not process manifest file "{path}": duplicate pod name "{name}", ignoring'
                self._complaints.append(text)
                self._known[path] = _Read(read.stamp, None)
        return list(pods.values())


def uid_of(pod: Pod) -> str:
    assert pod.metadata is not None
    return str(pod.metadata.uid)
