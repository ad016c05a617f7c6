"""The GET of a probe or a lifecycle hook: a connection of its own, and of the answer no more than its beginning.

Probes are most of what a kubelet at rest does. A client library's pool, cookies, encodings and timeouts cost ten times
what the exchange costs, for a connection that is used once. So it is made on asyncio's transport, and the answer is
taken apart by the parser that this process's own server has (httptools).

Upstream: pkg/probe/http, pkg/probe/dialer_others.go and Go's net/http, whose words the errors have.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import httptools

MAX_BODY = 10 * 1024
"""Bytes that are read of what a container answers; the rest says nothing about its health."""
MAX_HEAD = 1 << 20
MAX_REDIRECTS = 10
SHUTDOWN = 1.0
"""Seconds that a TLS peer has to say goodbye."""
FOLLOWED = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_ALLOWED = "/%?:@!$&'()*+,;=~[]"
"""What of a path and a query goes as it is, besides letters and digits."""
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_IN_HEADERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OF_THE_EXCHANGE = ("host", "content-length", "transfer-encoding", "trailer")
"""Headers that say how the request is sent; a GET without a body has none of them but its host."""

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    location: str
    body: bytes
    """The first MAX_BODY bytes."""


class NoAnswer(Exception):
    """There is no answer, or none in HTTP; the text is Go's."""


class PlainAnswer(NoAnswer):
    """Asked by HTTPS, answered by HTTP."""


def unverified() -> ssl.SSLContext:
    """Probes do not look at certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def get(url: str, headers: Headers, tls: ssl.SSLContext) -> Answer:
    """Follows redirects, but not to other hosts: their answer would say nothing of this one. The caller sets a time
    limit. Raises NoAnswer, and ValueError for what cannot be sent."""
    host = next((value for name, value in headers if name.lower() == "host" and value), "")
    for _ in range(MAX_REDIRECTS):
        answer = await _exchange(urlsplit(url), headers, host, tls)
        if not answer.location or answer.status not in FOLLOWED:
            return answer
        following = urljoin(url, answer.location)
        if urlsplit(following).hostname != urlsplit(url).hostname:
            return answer
        if urlsplit(answer.location).netloc:
            host = ""  # a name of the caller's is kept for as long as nobody names another
        url = following
    raise NoAnswer(f"stopped after {MAX_REDIRECTS} redirects")


async def _exchange(url: SplitResult, headers: Headers, host: str, tls: ssl.SSLContext) -> Answer:
    if url.scheme not in _PORTS:
        raise NoAnswer(f'unsupported protocol scheme "{url.scheme}"')
    if not url.hostname:
        raise NoAnswer("http: no Host in request URL")
    port = url.port or _PORTS[url.scheme]
    secure: dict[str, Any] = {}
    if url.scheme == "https":
        secure = {"ssl": tls, "server_hostname": url.hostname, "ssl_shutdown_timeout": SHUTDOWN}
    reading = _Reading(request(url, headers, host))
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_connection(lambda: reading, url.hostname, port, **secure)
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            raise PlainAnswer("http: server gave HTTP response to HTTPS client") from error
        raise NoAnswer(f"tls: {error.reason or error}") from error
    except socket.gaierror as error:
        raise NoAnswer(f"dial tcp: lookup {url.hostname}: no such host") from error
    except OSError as error:
        raise NoAnswer(f"dial tcp {url.netloc.rpartition('@')[2]}: connect: {_reason(error)}") from error
    try:
        answer = await reading.answer
    finally:
        transport.close()
    if isinstance(answer, NoAnswer):
        raise answer
    return answer


def request(url: SplitResult, headers: Headers, host: str = "") -> bytes:
    """The bytes of a GET. ``host``: the Host header, when it is not the URL's own."""
    lines = [("Host", host or url.netloc.rpartition("@")[2])]
    lines += [each for each in headers if each[0].lower() not in _OF_THE_EXCHANGE]
    for name, value in lines:
        if _NOT_IN_HEADERS.search(name + value) or not name or ":" in name:
            raise ValueError(f'net/http: invalid header field value for "{name}"')
    target = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
    target = quote(_STRAY_PERCENT.sub("%25", target), safe=_ALLOWED)
    return "".join([f"GET {target} HTTP/1.1\r\n", *(f"{n}: {v}\r\n" for n, v in lines), "\r\n"]).encode()


class _Reading(asyncio.Protocol):
    """Sends the request when there is a connection; ``answer`` is there as soon as enough of it has come.

    The methods that begin with ``on_`` are called by the parser.
    """

    def __init__(self, request: bytes) -> None:
        self.answer: asyncio.Future[Answer | NoAnswer] = asyncio.get_running_loop().create_future()
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        self._status = self._head = 0
        self._location, self._body = "", bytearray()
        self._sized = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.WriteTransport, transport).write(self._request)  # uvloop's has another ancestor

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            return
        self._head += 0 if self._status else len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # 101: no more HTTP follows
            self._finish()
        except httptools.HttpParserError as error:
            self._fail(f"net/http: HTTP/1.x transport connection broken: malformed HTTP response: {error}")
        if not self._status and self._head > MAX_HEAD:
            self._fail(f"net/http: server response headers exceeded {MAX_HEAD} bytes; aborted")

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.lower()
        if key == b"location":
            self._location = value.decode(errors="replace")
        elif key in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._body += data[: MAX_BODY - len(self._body)]
        if len(self._body) == MAX_BODY:
            self._finish()

    def on_message_complete(self) -> None:
        if 100 <= self._status < 200 and self._status != 101:
            self._begin()  # "wait": the answer follows
        else:
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._fail(f"read tcp: {_reason(error)}")
        elif self._status and not self._sized:
            self._finish()  # a body that ends with its connection
        else:
            self._fail("unexpected EOF" if self._status else "EOF")

    def _finish(self) -> None:
        if not self.answer.done():
            self.answer.set_result(Answer(self._status, self._location, bytes(self._body)))

    def _fail(self, text: str) -> None:
        if not self.answer.done():
            self.answer.set_result(NoAnswer(text))


def _reason(error: Exception) -> str:
    """In Go's words, for what the system says."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number else str(error) or "EOF"
