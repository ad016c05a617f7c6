"""What Docker's ``local`` log driver keeps of a container's output, read as lines of CRI's log format.

Of Docker's drivers this one keeps the bytes as they were written (``json-file`` keeps text only) and says which pieces
belong to one line. Its files are a folder of the container's: ``container.log`` is written to, ``container.log.1`` is
the one before it, and so on. Each holds frames: a length (4 bytes, big-endian), a protobuf message (stream, time in
nanoseconds, bytes, whether it is a part of a longer line), the length again.

A place in the files is a :class:`Position`. Reading on from it gives the same lines whenever it is done, so whoever
remembers how far he came loses and repeats nothing.
https://docs.docker.com/engine/logging/drivers/local/
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHUNK = 256 * 1024
"""Bytes read at once."""
MAX_FRAME = 1 << 20
"""Docker cuts lines at 16 KiB: a longer frame is none."""
NO_FRAME = 64
"""Bytes that stand for the first frame of a file that begins with none."""
CURRENT = "container.log"
_BEGIN = b"\x0a\x06std"
"""How every message begins: field 1, six bytes, ``stdout`` or ``stderr``."""


@dataclass(frozen=True, slots=True)
class Position:
    """``offset`` in the file whose first frame has the digest ``mark``; no mark: before everything that is there."""

    mark: bytes = b""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    lines: list[bytes]
    """CRI's: ``<time> stdout|stderr F|P <bytes>\\n``."""
    position: Position
    """After them."""
    more: bool = False
    """There may be more at once."""
    lost: bool = False
    """What came next has been rotated away unread."""


def read(folder: Path, position: Position) -> Batch:
    """The next lines. Blocking; raises OSError. A folder that is not there holds nothing."""
    names = _names(folder)
    if not names:
        return Batch([], position)
    found = _find(folder, names, position.mark) if position.mark else None
    if found is None:
        oldest = names[-1]
        with _opened(folder / oldest) as file:
            batch = _read_file(file, Position()) if file is not None else Batch([], position)
        return Batch(batch.lines, batch.position, batch.more or oldest != CURRENT, lost=bool(position.mark))
    with _opened(folder / found) as file:
        if file is None or _mark(file) != position.mark:
            return Batch([], position, more=True)  # rotated just now: look again
        batch = _read_file(file, position)
    if batch.position != position or found == CURRENT:
        return batch
    # All of it is read. The next newer one, unless files have moved on meanwhile.
    index = names.index(found)
    with _opened(folder / names[index - 1]) as file:
        if _find(folder, [found], position.mark) is None:
            return Batch([], position, more=True)
        if file is None or not _mark(file):
            return Batch([], position)
        batch = _read_file(file, Position())
    return Batch(batch.lines, batch.position, batch.more or index > 1)


def _names(folder: Path) -> list[str]:
    """Newest first."""
    try:
        present = os.listdir(folder)
    except FileNotFoundError:
        return []
    numbers = {}
    for name in present:
        suffix = name.removeprefix(CURRENT)
        if name == CURRENT:
            numbers[name] = 0
        elif suffix != name and suffix[:1] == "." and suffix[1:].isdigit():
            numbers[name] = int(suffix[1:])
    return sorted(numbers, key=lambda name: numbers[name])


def _find(folder: Path, names: list[str], mark: bytes) -> str | None:
    """From the newest on: rotation moves a file the same way, so it cannot slip by."""
    for name in names:
        with _opened(folder / name) as file:
            if file is not None and _mark(file) == mark:
                return name
    return None


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield file
    finally:
        os.close(file)


def _mark(file: int) -> bytes:
    """Of the first frame, which tells a file from every other one: it has a time in nanoseconds, and the parts of one
    line, which share theirs, are numbered. Empty while the frame is not all there."""
    length = int.from_bytes(os.pread(file, 4, 0), "big")
    size = length + 8 if 0 < length <= MAX_FRAME else NO_FRAME
    frame = os.pread(file, size, 0)
    return hashlib.blake2b(frame, digest_size=16).digest() if len(frame) == size else b""


def _read_file(file: int, position: Position) -> Batch:
    buffer = os.pread(file, CHUNK, position.offset)
    lines, used = decode(buffer)
    mark = position.mark or _mark(file)
    if not used or not mark:
        return Batch([], position)
    return Batch(lines, Position(mark, position.offset + used), more=len(buffer) == CHUNK)


def decode(buffer: bytes) -> tuple[list[bytes], int]:
    """The lines of the whole frames at the beginning, and how many bytes they take. What is no frame (the machine
    lost its power, or the disk was full) is passed over."""
    lines: list[bytes] = []
    at, size = 0, len(buffer)
    second, prefix = -1, b""
    high_bytes, high = b"", 0
    while size - at >= 8:
        length = int.from_bytes(buffer[at : at + 4], "big")
        end = at + 4 + length
        if end + 4 > size and length <= MAX_FRAME and buffer[at + 4 : at + 9] == _BEGIN[: size - at - 4]:
            break
        if buffer[at + 4 : at + 9] != _BEGIN or buffer[end : end + 4] != buffer[at : at + 4]:
            found = buffer.find(_BEGIN, at + 5)
            at = found - 4 if found >= 0 else max(at + 1, size - len(_BEGIN) - 4)
            continue
        # Field 2, the time: a varint of nine bytes until the year 2262. Its upper five change every quarter second.
        if buffer[at + 17 : at + 22] != high_bytes:
            high_bytes = buffer[at + 17 : at + 22]
            high = sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(high_bytes, 4))
        nanoseconds = (
            high
            | (buffer[at + 13] & 0x7F)
            | (buffer[at + 14] & 0x7F) << 7
            | (buffer[at + 15] & 0x7F) << 14
            | (buffer[at + 16] & 0x7F) << 21
        )
        seconds, fraction = divmod(nanoseconds, 1_000_000_000)
        if seconds != second:
            second = seconds
            prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()
        # Field 3, the bytes; they are all that follows, except of a part of a line.
        start, whole = at + 22, True
        if start < end:
            width = 1
            span = buffer[start + 1]
            if span >= 0x80:
                width, span = _varint(buffer, start + 1)
            start += 1 + width
            if start + span != end:
                start, span, whole = _fields(buffer, at + 22, end)
            text = buffer[start : start + span]
        else:
            text = b""
        lines.append(
            b"%b.%09dZ %b %b %b\n" % (prefix, fraction, buffer[at + 6 : at + 12], b"F" if whole else b"P", text)
        )
        at = end + 4
    return lines, at


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    """How many bytes it has, and its value."""
    value = shift = 0
    for index in range(at, min(at + 10, len(buffer))):
        value |= (buffer[index] & 0x7F) << shift
        shift += 7
        if buffer[index] < 0x80:
            return index - at + 1, value
    return 1, 0


def _fields(buffer: bytes, at: int, end: int) -> tuple[int, int, bool]:
    """Where the bytes begin, how many they are, and whether a line ends with them."""
    start = span = 0
    partial = last = False
    while at < end:
        tag = buffer[at]
        width, value = _varint(buffer, at + 1)
        at += 1 + width
        match tag:
            case 0x1A:
                start, span = at, value
            case 0x20:
                partial = bool(value)
            case 0x2A:  # of the parts of one line: whether this is the last, the line's own name, a number
                last = buffer[at : at + 2] == b"\x08\x01"
        if tag & 7 == 2:
            at += value
    return start, span, not partial or last
