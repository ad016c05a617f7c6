"""Connections of clients that send or take too slowly end; all others stay."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from common import serving, tunnel

BIG = b"x" * 30_000_000


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = BIG if scope["path"] == "/big" else b"ok"
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(serving, "STALL_SECONDS", 0.3)


@asynccontextmanager
async def server() -> AsyncIterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    listening = asyncio.Event()
    task = asyncio.create_task(
        serving.serve(app, host="127.0.0.1", port=port, tls=None, protocol=tunnel.TunnelProtocol, started=listening.set)
    )
    await listening.wait()
    try:
        yield port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ends(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server hangs up."""
    data = b""
    async with asyncio.timeout(10):
        try:
            while piece := await reader.read(1 << 20):
                data += piece
        except ConnectionResetError:
            pass
    return data


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


async def test_an_answer_that_nobody_takes_is_given_up() -> None:
    async with server() as port:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", port))
        await loop.sock_sendall(raw, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        await loop.sock_recv(raw, 1)
        await asyncio.sleep(4 * serving.STALL_SECONDS)
        reader, writer = await asyncio.open_connection(sock=raw)
        assert len(await ends(reader)) < len(BIG)
        writer.close()


async def test_an_answer_that_is_taken_slowly_arrives() -> None:
    async with server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65536)
        writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        size = 0
        async with asyncio.timeout(30):
            while piece := await reader.read(2_000_000):
                size += len(piece)
                await asyncio.sleep(0.004)
        assert size > len(BIG)
        writer.close()
