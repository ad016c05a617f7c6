"""Connections of clients that send or take too slowly end; all others stay."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from common import serving
from tests.unit.common.serving_support import BIG, ends, server


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(serving, "TAKING_SECONDS", 0.5)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n1",
    ],
)
async def test_whoever_lets_the_server_wait_is_hung_up_on(sent: bytes) -> None:
    async with server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answer = await ends(reader)
        assert answer.count(b"200 OK") == sent.count(b"\r\n\r\n")
        writer.close()


async def test_a_connection_between_requests_stays() -> None:
    async with server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"ok" in await reader.readuntil(b"ok")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2 * serving.HEAD_SECONDS):
                    await reader.read(1)
        writer.close()


@pytest.mark.parametrize("piece", [0, 1000])
async def test_an_answer_that_is_not_taken_is_given_up(piece: int) -> None:
    """Taking a little of it now and then is no better than taking nothing."""
    async with server() as port:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", port))
        await loop.sock_sendall(raw, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        await loop.sock_recv(raw, 1)
        for _ in range(40):
            await asyncio.sleep(serving.TAKING_SECONDS / 10)
            if piece:
                with contextlib.suppress(ConnectionResetError):
                    await loop.sock_recv(raw, piece)
        reader, writer = await asyncio.open_connection(sock=raw)
        assert len(await ends(reader)) < len(BIG) // 2
        writer.close()


@pytest.mark.parametrize("path", ["/big", "/streamed"])
async def test_an_answer_that_is_taken_slowly_arrives(path: str) -> None:
    """What the application sends piece by piece may take as long as it takes."""
    async with server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65536)
        writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
        size = 0
        async with asyncio.timeout(30):
            while piece := await reader.read(2_000_000 if path == "/big" else 500_000):
                size += len(piece)
                await asyncio.sleep(0.001 if path == "/big" else serving.TAKING_SECONDS / 60)
        assert size > len(BIG)
        writer.close()
