"""Reads a log in CRI's format for ``kubectl logs``: upstream's semantics (pkg/kubelet/kuberuntime/logs).

The file that is written to now is read, and following it goes on in the next one when it is rotated. No file is open
while a client takes its time: a slow reader keeps no rotated log on the disk, and no more than a chunk in memory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from kubelet.logs.keeper import LogKeeper

CHUNK = 64 * 1024
APPEAR, APPEAR_STEP = 100, 0.05
"""A container that has just begun: so often and so long its log is waited for."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: datetime | None = None
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader is; ``begun``: in the middle of a line that came in parts; ``end``: how far it reads."""

    inode: int
    offset: int
    begun: bool = False
    end: int | None = None


async def read(keeper: LogKeeper, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
    """Ends at the end of the log, with ``follow`` at the end of the container."""
    remaining = options.limit_bytes
    with keeper.subscribed(container_id) as written:
        path = await _path(keeper, container_id)
        if path is None:
            yield f"unable to retrieve container logs for {container_id}: there is no log file\n".encode()
            return
        place = await asyncio.to_thread(_start, path, options)
        last = not options.follow
        while True:
            written.clear()
            place, text, more = await asyncio.to_thread(_next, path, place, options)
            if remaining is not None:
                text = text[:remaining]
                remaining -= len(text)
            if text:
                yield text
            if remaining == 0:
                return
            if more:
                continue
            if last:
                return
            if keeper.ended(container_id):
                last = True
                await keeper.catch_up(container_id)
                continue
            await written.wait()


async def _path(keeper: LogKeeper, container_id: str) -> Path | None:
    for _ in range(APPEAR):
        path = await keeper.catch_up(container_id)
        if path is not None:
            return path
        await asyncio.sleep(APPEAR_STEP)
    return None


def _start(path: Path, options: LogOptions) -> Place:
    """Who does not follow reads what there is now, however fast it grows."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            offset = 0 if options.tail is None else tail_offset(file.fileno(), status.st_size, options.tail)
            return Place(status.st_ino, offset, end=None if options.follow else status.st_size)
    except FileNotFoundError:
        return Place(0, 0, end=None if options.follow else 0)


def tail_offset(file: int, size: int, count: int) -> int:
    """Where the last ``count`` lines begin."""
    end = size
    if count == 0:
        return size
    count += 1  # the end of the last line is the first that is met
    while end > 0:
        begin = max(0, end - CHUNK)
        block = os.pread(file, end - begin, begin)
        at = len(block)
        while count and (at := block.rfind(b"\n", 0, at)) >= 0:
            count -= 1
            if not count:
                return begin + at + 1
        end = begin
    return 0


def _next(path: Path, place: Place, options: LogOptions) -> tuple[Place, bytes, bool]:
    """The next text, and whether there was anything."""
    data, place = _chunk(path, place)
    end = data.rfind(b"\n") + 1
    if not end:
        if len(data) < CHUNK:
            return place, b"", False
        end = len(data)  # nothing of ours
    text, begun = as_text(data[:end], options, place.begun)
    return replace(place, offset=place.offset + end, begun=begun), text, True


def _chunk(path: Path, place: Place) -> tuple[bytes, Place]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            size = CHUNK if place.end is None else min(CHUNK, place.end - place.offset)
            if status.st_ino == place.inode:
                if place.offset > status.st_size:
                    place = replace(place, offset=0)  # somebody cut it
                return os.pread(file.fileno(), size, place.offset), place
            rest = _rotated(path, place, size)
            if rest or place.end is not None:
                return rest, place
            return os.pread(file.fileno(), CHUNK, 0), Place(status.st_ino, 0, place.begun)
    except FileNotFoundError:
        return b"", place


def _rotated(path: Path, place: Place, size: int) -> bytes:
    """The rest of the file that was read, after it was given another name; the newest of those is not compressed."""
    prefix = f"{path.name}."
    names = sorted((name for name in os.listdir(path.parent) if name.startswith(prefix)), reverse=True)
    for name in names:
        try:
            with path.with_name(name).open("rb") as file:
                if os.fstat(file.fileno()).st_ino == place.inode:
                    return os.pread(file.fileno(), size, place.offset)
        except FileNotFoundError:
            continue
    return b""


def as_text(data: bytes, options: LogOptions, begun: bool) -> tuple[bytes, bool]:
    """What a reader is shown of whole lines of the file; whether its last one goes on."""
    since = _stamp(options.since) if options.since else b""
    shown = []
    for line in data.splitlines(keepends=True) if b"\r" not in data else _lines(data):
        parts = line.split(b" ", 3)
        if len(parts) < 4:
            continue  # nothing of ours
        time, _, tag, text = parts
        first, begun = not begun, tag.startswith(b"P")
        if time < since:
            continue
        if options.timestamps and first:
            shown.append(time + b" ")
        shown.append(text[:-1] if begun else text)
    return b"".join(shown), begun


def _lines(data: bytes) -> list[bytes]:
    """At newlines alone: what a container writes may have every other character in it."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


def _stamp(time: datetime) -> bytes:
    """As times are in the file: the bytes' order is the times'."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()
