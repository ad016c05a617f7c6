"""Docker's streams when Docker falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubelet.cri import RuntimeFailure
from kubelet.runtime.engine import Engine
from kubelet.runtime.streams import MAX_FRAME, demultiplex, json_objects


async def test_a_stream_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    """A pull from a registry that hangs would keep one of the few places for pulls for ever."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"GET /version" in await reader.readuntil(b"\r\n\r\n"):
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"ApiVersion":"1.41"}')
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"a": 1}\n\r\n')
        await reader.read()  # until the client is gone
        writer.close()

    socket = str(tmp_path / "docker.sock")
    engine = Engine(socket)
    async with await asyncio.start_unix_server(hang, socket), asyncio.timeout(5):
        found = []
        with pytest.raises(RuntimeFailure, match=r"no progress for 0\.1 s"):
            async with engine.stream("POST", "/images/create", {}, silence=0.1) as chunks:
                async for each in json_objects(chunks):
                    found.append(each)
        assert found == [{"a": 1}]
        await engine.close()


async def test_frames_are_taken_apart_however_they_are_cut() -> None:
    stream = b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x00\x02\0\0\0\0\1\0\x00" + b"e" * 65_536
    for size in (1, 3, 8, 9, 1000, len(stream)):

        async def chunks(size: int = size) -> AsyncIterator[bytes]:
            for at in range(0, len(stream), size):
                yield stream[at : at + size]

        found = [frame async for frame in demultiplex(chunks(), tty=False)]
        assert b"".join(data for stream_, data in found if stream_ == "stdout") == b"out"
        assert b"".join(data for stream_, data in found if stream_ == "stderr") == b"e" * 65_536
        assert all(0 < len(data) <= MAX_FRAME for _, data in found)
