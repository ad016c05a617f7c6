"""What Docker's one-way streams (events, logs, pulls) mean, however their bytes are cut."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from kubelet.cri import RuntimeFailure, Stream
from kubelet.runtime.hijack import FRAME_HEADER, STREAMS

log = logging.getLogger(__name__)

MAX_LINE = 1 << 20
"""Bytes of one line of JSON: Docker's are a few hundred. What sends more without an end is none of Docker's."""
MAX_FRAME = 32 * 1024
"""Bytes handed on at once, however long the line is that a container wrote."""


async def json_objects(chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any] | None]:
    """One JSON object a line, however the bytes are cut; None for a line that is none.

    A daemon that is killed leaves half a line, and what was in it is lost: readers that must miss nothing look anew.
    """
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        *lines, rest = buffer.split(b"\n")
        buffer = rest
        for line in lines:
            if line.strip():
                yield _object(line)
        if len(buffer) > MAX_LINE:
            raise RuntimeFailure(f"a line of more than {MAX_LINE} bytes")
    if buffer.strip():
        yield _object(buffer)


def _object(line: bytearray) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    log.warning("Docker sent a line that is no JSON object: %r", bytes(line[:100]))
    return None


async def demultiplex(chunks: AsyncIterator[bytes], *, tty: bool) -> AsyncIterator[tuple[Stream, bytes]]:
    """Docker's multiplexed stream taken apart. A long frame is handed on in parts: a container may write a line of
    any length, and what is kept of it here must not grow with it."""
    header = bytearray()
    stream: Stream = "stdout"
    remaining = 0
    async for chunk in chunks:
        if tty:
            yield "stdout", chunk
            continue
        at, size = 0, len(chunk)
        while at < size:
            if remaining:
                part = chunk[at : at + min(remaining, MAX_FRAME)]
                at += len(part)
                remaining -= len(part)
                yield stream, part
            elif not header and at + FRAME_HEADER <= size:
                start = at + FRAME_HEADER
                stream, remaining = STREAMS.get(chunk[at], "stdout"), int.from_bytes(chunk[at + 4 : start], "big")
                at = start
            else:  # a header that is cut
                taken = chunk[at : at + FRAME_HEADER - len(header)]
                header += taken
                at += len(taken)
                if len(header) == FRAME_HEADER:
                    stream, remaining = STREAMS.get(header[0], "stdout"), int.from_bytes(header[4:8], "big")
                    header.clear()


async def limited(
    frames: AsyncIterator[tuple[Stream, bytes]], limit: int | None
) -> AsyncIterator[tuple[Stream, bytes]]:
    """Stops after ``limit`` bytes."""
    remaining = limit
    async for stream, data in frames:
        if remaining is not None:
            data = data[:remaining]
            remaining -= len(data)
        if data:
            yield stream, data
        if remaining == 0:
            return


async def back_off(attempt: int) -> None:
    await asyncio.sleep(min(0.2 * 2**attempt, 10))
