"""A small application behind the project's HTTP server, on a port of the loopback interface."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from common import serving, tunnel

BIG = b"x" * 30_000_000
PIECES = 60


async def app(scope: Any, receive: Any, send: Any) -> None:
    """/big and /streamed answer BIG, /headers what headers came with the request and its body, all else ok."""
    body = BIG if scope["path"] in ("/big", "/streamed") else b"ok"
    if scope["path"] == "/headers":
        while (await receive()).get("more_body"):
            pass
        body = b" ".join(name for name, _ in scope["headers"])
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/streamed":
        step = len(body) // PIECES
        for at in range(0, len(body), step):
            await send({"type": "http.response.body", "body": body[at : at + step], "more_body": True})
        body = b""
    await send({"type": "http.response.body", "body": body})


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
