"""Passing an answer on: as a stream with back-pressure, or as a tunnel, byte for byte in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from apiserver.endpoints.request import Request, Send
from apiserver.subresources.upstream import CHUNK, HOP_BY_HOP, Answer, Target, forwarded
from apiserver.subresources.upstream import request as send_request
from common.api.status import InternalError
from common.tunnel import Tunnel
from common.tunnel import tunnel_of as tunnel_of_scope


def tunnel_of(request: Request) -> Tunnel | None:
    """The client's raw connection, if it asks for an upgrade."""
    return tunnel_of_scope(request.scope)


async def first_of(*work: Coroutine[Any, Any, None]) -> None:
    """Runs all until one is done, then ends the others. Raises what the one that ended raised."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def stream(answer: Answer, request: Request, send: Send, content_type: bytes | None = None) -> None:
    """Sends the answer as it comes, until it ends or the client goes away."""
    headers = [(n.lower(), v) for n, v in answer.headers if n.lower() not in HOP_BY_HOP]
    if content_type is not None:
        headers = [(n, v) for n, v in headers if n not in (b"content-type", b"date")]
        headers.append((b"content-type", content_type))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def copy() -> None:
        async for chunk in answer.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    await first_of(copy(), request.disconnected())


async def tunnel(target: Target, path: str, request: Request, send: Send, client: Tunnel) -> None:
    """Sends the upgrade on. An answer other than 101 is passed on as it is."""
    headers = forwarded(request.scope["headers"], upgrade=True)
    try:
        async with send_request(target, request.method, path, headers) as answer:
            if answer.status != 101:
                await stream(answer, request, send)
                return
            client.accept(answer.head() + answer.rest)
            await first_of(_from_client(client, answer), _to_client(answer, client))
    except OSError as error:
        if not client.accepted:
            raise unreachable(target, error) from None
    finally:
        if client.accepted:
            client.close()


async def _from_client(client: Tunnel, answer: Answer) -> None:
    while data := await client.read():
        answer.writer.write(data)
        await answer.writer.drain()


async def _to_client(answer: Answer, client: Tunnel) -> None:
    while data := await answer.reader.read(CHUNK):
        client.write(data)
        await client.drain()


async def proxy(target: Target, path: str, request: Request, send: Send) -> None:
    """An ordinary request, streamed both ways; or an upgrade."""
    if (client := tunnel_of(request)) is not None:
        await tunnel(target, path, request, send, client)
        return
    headers = forwarded(request.scope["headers"])
    body = None
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        headers = [(n, v) for n, v in headers if n.lower() != b"content-length"]
        body = _once(await request.body())
    try:
        async with send_request(target, request.method, path, headers, body) as answer:
            await stream(answer, request, send)
    except OSError as error:
        raise unreachable(target, error) from None


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def unreachable(target: Target, error: OSError) -> InternalError:
    """What Go's dialler would say."""
    text = "i/o timeout" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
    if isinstance(error, ConnectionRefusedError):
        text = "connect: connection refused"
    return InternalError(f"error dialing backend: dial tcp {target.authority}: {text}")
