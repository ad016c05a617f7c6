"""Exec and attach: an HTTP request to Docker that becomes a raw two-way stream.

The SDK offers these as blocking sockets, each of which would hold a thread for as long as somebody's shell is open,
and it can lose bytes that arrive together with the response's headers. The exchange is small, so it is done here on
asyncio's streams (https://docs.docker.com/reference/api/engine/version/v1.41/#operation/ContainerAttach).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from kubelet.cri import RuntimeFailure, RuntimeNotFound, RuntimeUnavailable, Stream

CONNECT_TIMEOUT = 10.0
CHUNK = 32 * 1024
FRAME_HEADER = 8
STREAMS: dict[int, Stream] = {0: "stdout", 1: "stdout", 2: "stderr"}


async def open_hijacked(
    socket_path: str, path: str, body: dict[str, Any] | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """POSTs and gives the raw stream after the response's headers."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(socket_path)
    except (OSError, TimeoutError) as error:
        raise RuntimeUnavailable(f"cannot connect to the Docker daemon: {error}") from error
    payload = json.dumps(body).encode() if body is not None else b""
    try:
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
            + payload
        )
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status = int(head.split(" ", 2)[1])
            if status not in (101, 200):
                await _refuse(status, head, reader)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        writer.close()
        raise RuntimeUnavailable(f"the Docker daemon ended the connection: {error}") from error
    except BaseException:
        writer.close()
        raise
    return reader, writer


async def _refuse(status: int, head: str, reader: asyncio.StreamReader) -> None:
    length = 0
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = min(int(value), CHUNK)
    text = (await reader.readexactly(length)).decode(errors="replace")
    try:
        text = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        pass
    message = f"Error response from daemon: {text}"
    raise RuntimeNotFound(message) if status == 404 else RuntimeFailure(message)


async def read_frames(reader: asyncio.StreamReader, *, tty: bool) -> AsyncIterator[tuple[Stream, bytes]]:
    """Docker's multiplexed stream taken apart; with a tty there is one raw stream."""
    try:
        if tty:
            while data := await reader.read(CHUNK):
                yield "stdout", data
            return
        while True:
            header = await reader.readexactly(FRAME_HEADER)
            remaining = int.from_bytes(header[4:8], "big")
            while remaining and (data := await reader.read(min(remaining, CHUNK))):
                remaining -= len(data)
                yield STREAMS.get(header[0], "stdout"), data
    except (asyncio.IncompleteReadError, ConnectionError):
        return


class HijackedSession:
    """An :class:`kubelet.cri.ExecSession` over a hijacked connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        tty: bool,
        resize: Callable[[int, int], Awaitable[None]],
        exit_code: Callable[[], Awaitable[int]],
        half_close: bool = True,
    ) -> None:
        """``half_close``: the process sees the end of its stdin when its client has nothing more to say."""
        self._half_close = half_close
        self._reader = reader
        self._writer = writer
        self._tty = tty
        self._resize = resize
        self._exit_code = exit_code

    def frames(self) -> AsyncIterator[tuple[Stream, bytes]]:
        return read_frames(self._reader, tty=self._tty)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close_stdin(self) -> None:
        if self._half_close and self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    async def resize(self, width: int, height: int) -> None:
        await self._resize(width, height)

    async def exit_code(self) -> int:
        return await self._exit_code()

    async def close(self) -> None:
        self._writer.close()
