"""Docker's one-way streams (events, logs, pulls) read on the event loop, so that they hold no thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from kubelet.runtime.hijack import FRAME_HEADER, STREAMS
from kubelet.types import RuntimeFailure, RuntimeNotFound, RuntimeUnavailable, Stream


class DockerStreams:
    def __init__(self, socket_path: str) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=socket_path, limits=httpx.Limits(max_connections=256)),
            base_url="http://docker",
        )

    async def close(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        silence: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """``silence``: after so many seconds without a word the stream is given up."""
        timeout = httpx.Timeout(10, read=silence)
        try:
            async with self._client.stream(
                method, path, params=dict(params), headers=headers, timeout=timeout
            ) as response:
                if response.status_code >= 400:
                    await response.aread()
                    raise refusal(response.status_code, response.content)
                yield response
        except httpx.ReadTimeout as error:
            raise RuntimeFailure(f"canceled because of no progress for {silence:g} s") from error
        except httpx.TransportError as error:
            raise RuntimeUnavailable(f"cannot connect to the Docker daemon: {error}") from error


def refusal(status: int, content: bytes) -> RuntimeFailure:
    try:
        text = str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        text = content.decode(errors="replace")
    message = f"Error response from daemon: {text}"
    return RuntimeNotFound(message) if status == 404 else RuntimeFailure(message)


async def json_objects(chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """One JSON object a line, however the bytes are cut."""
    buffer = b""
    async for chunk in chunks:
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
    if buffer.strip():
        yield json.loads(buffer)


async def demultiplex(chunks: AsyncIterator[bytes], *, tty: bool) -> AsyncIterator[tuple[Stream, bytes]]:
    """Whole frames of Docker's multiplexed stream."""
    buffer = bytearray()
    async for chunk in chunks:
        if tty:
            yield "stdout", chunk
            continue
        buffer += chunk
        while len(buffer) >= FRAME_HEADER:
            end = FRAME_HEADER + int.from_bytes(buffer[4:8], "big")
            if len(buffer) < end:
                break
            yield STREAMS.get(buffer[0], "stdout"), bytes(buffer[FRAME_HEADER:end])
            del buffer[:end]


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
