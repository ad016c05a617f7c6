"""Passing an answer on: as a stream with back-pressure, or as a tunnel, byte for byte in both directions."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from apiserver.endpoints.request import Request, Send
from apiserver.subresources.rewrite import Page, Prefix, joined
from apiserver.subresources.upstream import CHUNK, HOP_BY_HOP, Answer, Body, Headers, Target, forwarded
from apiserver.subresources.upstream import request as send_request
from common.api.status import InternalError, StatusError
from common.tasks import first_of
from common.tunnel import Tunnel
from common.tunnel import tunnel_of as tunnel_of_scope

DROPPED = HOP_BY_HOP | {b"date"}
"""Headers of an answer that are this server's own to say."""


def tunnel_of(request: Request) -> Tunnel | None:
    """The client's raw connection, if it asks for an upgrade."""
    return tunnel_of_scope(request.scope)


async def stream(
    answer: Answer,
    request: Request,
    send: Send,
    content_type: bytes | None = None,
    *,
    prefix: Prefix | None = None,
    gone: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Sends the answer as it comes, until it ends or the client goes away; with its addresses behind ``prefix``."""
    headers = [(n.lower(), v) for n, v in answer.headers if n.lower() not in DROPPED]
    page = None
    if content_type is not None:
        headers = [(n, v) for n, v in headers if n != b"content-type"]
        headers.append((b"content-type", content_type))
    elif prefix is not None:
        headers, page = _led_back(headers, prefix, request.method)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def copy() -> None:
        async for chunk in answer.chunks():
            await send({"type": "http.response.body", "body": page.feed(chunk) if page else chunk, "more_body": True})
        await send({"type": "http.response.body", "body": page.close() if page else b"", "more_body": False})

    await first_of(copy(), (gone or request.disconnected)())


def _led_back(headers: Headers, prefix: Prefix, method: str) -> tuple[Headers, Page | None]:
    """The headers of a proxied answer as they go on, and what rewrites its body, if that has links."""
    headers = [(n, v) for n, v in headers if not n.startswith(b"access-control-")]
    values = {name: value.decode("latin-1") for name, value in headers}
    if location := values.get(b"location"):
        headers = [(n, v) for n, v in headers if n != b"location"]
        return [*headers, (b"location", prefix.url(location).encode("latin-1", "replace"))], None
    encoding = values.get(b"content-encoding", "")
    is_page = values.get(b"content-type", "").partition(";")[0].strip() == "text/html"
    if not is_page or method == "HEAD" or not Page.understands(encoding):
        return headers, None
    return [(n, v) for n, v in headers if n != b"content-length"], Page(prefix.url, encoding)


async def tunnel(
    target: Target, path: str, request: Request, send: Send, client: Tunnel, headers: Headers | None = None
) -> None:
    """Sends the upgrade on, with these headers or the client's own. An answer other than 101 is passed on as it is."""
    if headers is None:
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


async def proxy(target: Target, path: str, request: Request, send: Send, base: str) -> None:
    """An ordinary request, streamed both ways; or an upgrade. ``base`` is the path of the API under which the target's
    own paths are."""
    if (client := tunnel_of(request)) is not None:
        await tunnel(target, path, request, send, client)
        return
    prefix = Prefix(base, target.authority, request.header(b"host"))
    headers = [(n, v) for n, v in forwarded(request.scope["headers"]) if n.lower() != b"content-length"]
    headers += forwarded_for(request, joined(base, path.partition("?")[0]))
    try:
        await pass_on(target, path, request, send, headers, prefix)
    except (OSError, zlib.error) as error:
        raise StatusError(f"error trying to reach service: {reason(target, error)}") from None


async def pass_on(
    target: Target, path: str, request: Request, send: Send, headers: Headers, prefix: Prefix | None = None
) -> None:
    """A request with these headers and the client's body. Raises OSError, zlib.error."""
    taken = asyncio.Event()
    body = _body(request, taken)

    async def gone() -> None:
        """The end of the body comes before the end of the client: nobody else may read from it until then."""
        if body is not None:
            await taken.wait()
        await request.disconnected()

    async def exchange() -> None:
        async with send_request(target, request.method, path, headers, body, head_seconds=None) as answer:
            await stream(answer, request, send, prefix=prefix, gone=gone)

    await first_of(exchange(), gone())


def forwarded_for(request: Request, uri: str) -> Headers:
    """Where the request came from, and what it asked for (RFC 7239's older sisters, as upstream sends them)."""
    client = request.scope.get("client")
    known = request.header(b"x-forwarded-for")
    chain = ", ".join(part for part in (known, client[0] if client else "") if part)
    return [(b"x-forwarded-uri", uri.encode("latin-1", "replace")), (b"x-forwarded-for", chain.encode("latin-1"))]


def _body(request: Request, taken: asyncio.Event) -> Body | None:
    """None when there is none; ``taken`` is set when all of it has been read."""
    length = request.header(b"content-length")
    if not request.header(b"transfer-encoding") and length in ("", "0"):
        taken.set()
        return None if request.method in ("GET", "HEAD", "OPTIONS", "DELETE") else Body(_nothing(), 0)
    return Body(_incoming(request, taken), int(length) if length.isdigit() else None)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _incoming(request: Request, taken: asyncio.Event) -> AsyncIterator[bytes]:
    """The body as the client sends it. Raises ConnectionResetError when the client goes away."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client closed the connection")
        yield message.get("body", b"")
        if not message.get("more_body", False):
            taken.set()
            return


def unreachable(target: Target, error: OSError) -> InternalError:
    return InternalError(f"error dialing backend: {reason(target, error)}")


def reason(target: Target, error: Exception) -> str:
    """What Go's dialler would say."""
    if isinstance(error, TimeoutError):
        text = "i/o timeout"
    elif isinstance(error, ConnectionRefusedError):
        text = "connect: connection refused"
    else:
        text = (getattr(error, "strerror", None) or str(error)).lower()
    return f"dial tcp {target.authority}: {text}"
