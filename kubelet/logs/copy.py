"""One container's log in CRI's format, copied from what the runtime keeps, without a line lost or repeated.

Where the copy stands is written down after every step: the runtime's position and the copy's size. A kubelet that is
killed between the two finds a copy that is longer than what was written down, reads the same lines again and leaves out
as many bytes. Rotation is upstream's (pkg/kubelet/logs/container_log_manager.go): the file gets a time's name, all but
the newest of those are compressed, and so many are kept. Blocking.
"""

from __future__ import annotations

import calendar
import contextlib
import gzip
import json
import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from kubelet.runtime.logfiles import Position, read
from kubelet.runtime.spec import LogLimits

log = logging.getLogger(__name__)

TEMPORARY, COMPRESSED = ".tmp", ".gz"
ROTATED_TIME = "%Y%m%d-%H%M%S"


@dataclass(frozen=True, slots=True)
class Step:
    wrote: bool = False
    more: bool = False


class LogCopy:
    def __init__(self, source: Path, path: Path, state: Path, limits: LogLimits) -> None:
        self.path = path
        self.source = source
        self._state = state
        self._limits = limits
        self._position = Position()
        self._skip = 0
        """Bytes of the next lines that are in the copy already."""
        self._size = 0
        self._loaded = False

    def step(self) -> Step:
        """Copies the next lines. Raises OSError; the next step begins where this one began then."""
        if not self._loaded:
            self._load()
        batch = read(self.source, self._position)
        if batch.lost:
            log.info("log %s: lines were rotated away before they were read", self.path)
        if batch.position == self._position:
            return Step(more=batch.more)
        data = b"".join(batch.lines)
        skipped = min(self._skip, len(data))
        if self._size > self._limits.max_size and skipped < len(data):
            self._rotate()  # not before there is more: readers find something
        self._append(data[skipped:])
        self._position, self._skip = batch.position, self._skip - skipped
        self._save()
        return Step(wrote=skipped < len(data), more=batch.more)

    def remove(self) -> None:
        """The copy, what was rotated of it, and its state."""
        for path in (*self._rotated(), self.path, self._state):
            with contextlib.suppress(OSError):
                path.unlink()

    # -- writing ----------------------------------------------------------------------------------------------------

    def _append(self, data: bytes) -> None:
        """A disk that is full takes a part: it is taken back."""
        file = self._open()
        try:
            before = size = os.fstat(file).st_size
            rest = memoryview(data)
            try:
                while rest:
                    written = os.write(file, rest)
                    rest, size = rest[written:], size + written
            except OSError:
                os.ftruncate(file, before)
                raise
            self._size = size
        finally:
            os.close(file)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _rotate(self) -> None:
        rotated = self._rotated()
        for path in rotated[: max(0, len(rotated) - (self._limits.max_files - 2))]:
            path.unlink(missing_ok=True)
        taken = rotated[-1].name.removeprefix(f"{self.path.name}.").removesuffix(COMPRESSED) if rotated else ""
        self.path.rename(self.path.with_name(f"{self.path.name}.{_next_name(taken)}"))
        self._append(b"")
        self._save()
        for path in self._rotated()[:-1]:
            if not path.name.endswith(COMPRESSED):
                _compress(path)

    def _rotated(self) -> list[Path]:
        """Oldest first."""
        prefix = f"{self.path.name}."
        with contextlib.suppress(OSError):
            names = sorted(name for name in os.listdir(self.path.parent) if name.startswith(prefix))
            for name in names:
                if name.endswith(TEMPORARY):  # left by a kubelet that was killed
                    self.path.with_name(name).unlink(missing_ok=True)
            return [self.path.with_name(name) for name in names if not name.endswith(TEMPORARY)]
        return []

    # -- where it stands --------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Also makes the file: a container that has written nothing has a log."""
        file = self._open()
        try:
            status = os.fstat(file)
        finally:
            os.close(file)
        self._size = status.st_size
        try:
            saved = json.loads(self._state.read_text())
            self._position = Position(bytes.fromhex(saved["mark"]), int(saved["offset"]))
            same = saved["inode"] == status.st_ino
            # Not the same: it was rotated, and what is in the new file has not been written down yet.
            self._skip = max(0, status.st_size - (int(saved["size"]) if same else 0))
        except FileNotFoundError:
            self._skip = status.st_size
        except (ValueError, KeyError, TypeError) as error:
            log.warning("log %s: where it stood is not known: %s", self.path, error)
        self._loaded = True

    def _save(self) -> None:
        """In one small write at the file's beginning: it is there, or it is not."""
        record = {
            "mark": self._position.mark.hex(),
            "offset": self._position.offset,
            "size": self._size,
            "inode": self.path.stat().st_ino,
        }
        text = json.dumps(record).ljust(200).encode()
        file = os.open(self._state, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, text, 0)
        finally:
            os.close(file)


def _next_name(taken: str) -> str:
    """The time, as upstream names rotated files; a second later than the last one where several came in a second."""
    now = time.strftime(ROTATED_TIME, time.gmtime())
    if now > taken:
        return now
    try:
        last = calendar.timegm(time.strptime(taken, ROTATED_TIME))
    except ValueError:
        return now
    return time.strftime(ROTATED_TIME, time.gmtime(last + 1))


def _compress(path: Path) -> None:
    """Beside it first: a reader sees the one or the other."""
    temporary = path.with_name(f"{path.name}{TEMPORARY}")
    try:
        with path.open("rb") as plain, gzip.open(temporary, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed, 1 << 18)
        temporary.rename(path.with_name(f"{path.name}{COMPRESSED}"))
        path.unlink()
    except OSError as error:
        temporary.unlink(missing_ok=True)
        log.warning("rotated log %s is not compressed: %s", path, error)
