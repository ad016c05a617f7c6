"""One HTTP/1.1 request over a connection of its own, to a kubelet, pod or service: streamed, or upgraded to a tunnel.

A connection for each request costs a TLS handshake, and in return an answer that never ends (a followed log, a shell)
holds up nobody else, back-pressure is the transport's own, and an upgrade needs no second mechanism.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from http import HTTPStatus

import httptools

from common.serving import keep_alive

CONNECT_SECONDS = 10.0
HEAD_SECONDS = 30.0
CHUNK = 64 * 1024
MAX_HEAD = 64 * 1024
STATUSES = range(101, 600)

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host "
    b"expect".split()
)
CREDENTIALS = frozenset((b"authorization", b"cookie"))


@dataclass(frozen=True)
class Target:
    """Where to connect. ``tls`` None is plain HTTP; ``addresses`` are those of the host when that is settled."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    addresses: tuple[str, ...] = ()
    server_name: str = ""
    """What its certificate must be for; "" for the host."""

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Body:
    """A request's body as it comes. ``size`` None is sent in chunks."""

    chunks: AsyncIterator[bytes]
    size: int | None = None


class _Parser:
    """Collects what httptools calls back with."""

    def __init__(self) -> None:
        self.headers: Headers = []
        self.body: list[bytes] = []
        self.head_complete = False
        self.complete = False
        self.status = 0
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        if 100 <= self.status < 200 and self.status != 101:
            self.headers.clear()  # a hint; the answer comes after it
        else:
            self.head_complete = True

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.complete = self.head_complete


class Answer:
    """An answer whose head has been read."""

    def __init__(
        self, parsed: _Parser, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes
    ) -> None:
        self.status = parsed.status
        self.headers = parsed.headers
        self.reader = reader
        self.writer = writer
        self.rest = rest
        """What came after the head of an upgraded connection."""
        self._parsed = parsed

    def head(self) -> bytes:
        """The head as it was on the wire, for a client whose connection is taken over."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = ""
        lines = [f"HTTP/1.1 {self.status} {phrase}".encode(), *(name + b": " + value for name, value in self.headers)]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ConnectionError when the connection ends before the body does."""
        sized = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        while True:
            for chunk in self._parsed.body:
                yield chunk
            self._parsed.body.clear()
            if self._parsed.complete:
                return
            data = await self.reader.read(CHUNK)
            if not data:
                if sized:
                    raise ConnectionResetError("the connection ended in the middle of the answer")
                return
            self._parsed.parser.feed_data(data)

    async def text(self, limit: int = 50_000) -> str:
        """The start of the body: of an error, to show."""
        parts: list[bytes] = []
        async with asyncio.timeout(HEAD_SECONDS):
            async for chunk in self.chunks():
                parts.append(chunk)
                if sum(map(len, parts)) >= limit:
                    break
        return b"".join(parts)[:limit].decode("utf-8", "replace").strip()


@contextlib.asynccontextmanager
async def request(
    target: Target,
    method: str,
    path: str,
    headers: Iterable[tuple[bytes, bytes]],
    body: Body | None = None,
    head_seconds: float | None = HEAD_SECONDS,
) -> AsyncIterator[Answer]:
    """Sends a request and yields its answer; the connection ends with the block. Raises OSError (also TimeoutError).

    The answer may begin before the body is sent: who refuses a body need not read it.
    """
    reader, writer = await _connect(target)
    sending: asyncio.Task[None] | None = None
    try:
        lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"host: " + target.authority.encode()]
        lines += [name + b": " + value for name, value in headers]
        if body is not None:
            lines.append(b"transfer-encoding: chunked" if body.size is None else b"content-length: %d" % body.size)
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        await writer.drain()
        if body is not None:
            sending = asyncio.create_task(_send_body(writer, body))
        async with asyncio.timeout(head_seconds):
            answer = await _read_head(reader, writer, method)
        yield answer
    finally:
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()


async def _connect(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first of the addresses that answers. Raises OSError."""
    *others, last = target.addresses or (target.host,)
    seconds = CONNECT_SECONDS / (len(others) + 1)
    for address in others:
        with contextlib.suppress(OSError):
            return await _connect_to(address, target, seconds)
    return await _connect_to(last, target, seconds)


async def _connect_to(
    address: str, target: Target, seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    name = (target.server_name or target.host) if target.tls else None
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(
            address, target.port, ssl=target.tls, server_hostname=name, limit=CHUNK
        )
    keep_alive(writer.transport)  # a log that is followed, or a shell, may say nothing for long
    return reader, writer


async def _send_body(writer: asyncio.StreamWriter, body: Body) -> None:
    try:
        async for chunk in body.chunks:
            if chunk:
                writer.write(chunk if body.size is not None else b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await writer.drain()
        if body.size is None:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
    except ConnectionError:
        # The far end takes no more, which its answer explains; or the client is gone, and the body must not look whole.
        writer.close()


async def _read_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str) -> Answer:
    parsed = _Parser()
    seen, rest = 0, b""
    while not parsed.head_complete:
        data = await reader.read(CHUNK)
        seen += len(data)
        if not data or seen > MAX_HEAD + CHUNK:
            raise ConnectionResetError("EOF" if not data else "the answer's head is too long")
        try:
            parsed.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            raise ConnectionResetError(f"malformed HTTP response: {error}") from None
    if method == "HEAD":
        parsed.complete = True  # whatever its headers say of a body
    if parsed.status not in STATUSES:
        raise ConnectionResetError(f"malformed HTTP status code {parsed.status}")
    return Answer(parsed, reader, writer, rest)


def forwarded(headers: Iterable[tuple[bytes, bytes]], *, upgrade: bool = False) -> Headers:
    """A client's headers as they may go on: without its credentials, and without what concerns one connection only."""
    kept = [(n, v) for n, v in headers if n.lower() not in HOP_BY_HOP and n.lower() not in CREDENTIALS]
    if upgrade:
        kept += [(n, v) for n, v in headers if n.lower() in (b"connection", b"upgrade")]
    return kept
