"""One HTTP request, and the answer to it, with no more than the verbs need."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson

from apiserver.endpoints.negotiation import Accepted
from apiserver.limits import Pool
from apiserver.types import Object, Resource, User
from common.api.status import BadRequest, RequestEntityTooLarge, StatusError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 3 * 1024 * 1024
"""Upstream's limit of a request body."""
MAX_WARNING, MAX_WARNINGS = 256, 100
PIECE = 256 * 1024
"""Bytes of an answer that are written at once; the next have to wait until the client takes these."""
JSON = b"application/json"
NOBODY = User("system:anonymous")
"""Until it is known who asks."""
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _parsed(text: bytes) -> dict[str, list[str]]:
    query: dict[str, list[str]] = {}
    looked = False
    for key, value in parse_qsl(text.decode("latin-1"), keep_blank_values=True):
        if not looked and ("%" in value or "%" in key or ";" in value or ";" in key):
            looked, understood = True, _understood(text)
            if understood != text:
                return _parsed(understood)
        query.setdefault(key, []).append(value)
    return query


def _understood(query: bytes) -> bytes:
    """Without the parameters that Go leaves out: those with a semicolon or with an escape that is none."""
    return b"&".join(p for p in query.split(b"&") if b";" not in p and not _BAD_ESCAPE.search(p))


class Request:
    """An ASGI request. Headers and query are looked at when they are asked for."""

    __slots__ = (
        "_headers",
        "_query",
        "began",
        "expired",
        "form",
        "kind",
        "method",
        "path",
        "pool",
        "receive",
        "scope",
        "timer",
        "user",
        "warnings",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.user = NOBODY
        self.warnings: list[str] = []
        self.receive = receive
        self.form: Accepted | None = None
        """How the answer is written, once that is known."""
        self.began = 0.0
        """By the loop's clock."""
        self.kind: tuple[str, ...] = ()
        """What it is counted by (apiserver.metrics.Kind), once that is known."""
        self.pool: Pool | None = None
        """Where it is counted as being in flight."""
        self.expired = False
        """Its time was up: it is being cancelled for that."""
        self.timer: asyncio.TimerHandle | None = None
        self._headers: dict[bytes, bytes] | None = None
        self._query: dict[str, list[str]] | None = None

    def header(self, name: bytes) -> str:
        """The first of that name, as Go's Header.Get."""
        headers = self._headers
        if headers is None:
            headers = self._headers = dict(reversed(self.scope["headers"]))
        value = headers.get(name)
        return value.decode("latin-1") if value else ""

    def set_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Replaces all of them, for whatever comes after."""
        self.scope["headers"] = list(headers)
        self._headers = None

    @property
    def query(self) -> Mapping[str, list[str]]:
        if self._query is None:
            text = self.scope["query_string"]
            self._query = _parsed(text) if text else {}
        return self._query

    def param(self, name: str) -> str:
        """The first value, as Go's url.Values.Get."""
        values = self.query.get(name)
        return values[0] if values else ""

    def flag(self, name: str) -> bool:
        """True for ``1``, ``true`` and a bare name, as upstream converts query parameters to booleans."""
        values = self.query.get(name)
        return values is not None and values[0].lower() not in ("false", "0")

    async def body(self) -> bytes:
        length = self.header(b"content-length")
        if length.isdigit() and (len(length) > 18 or int(length) > MAX_BODY):
            raise _too_large()
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise BadRequest("unexpected EOF")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > MAX_BODY:
                raise _too_large()
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def replay(self, body: bytes) -> None:
        """Gives ``body`` in place of the one that was read."""
        rest = self.receive
        pending = [body]

        async def receive() -> MutableMapping[str, Any]:
            if pending:
                return {"type": "http.request", "body": pending.pop(), "more_body": False}
            return await rest()

        self.receive = receive

    def abort(self) -> None:
        """Ends the connection at once, whatever is still to be sent to a client that does not take it."""
        end = self.scope["state"].get("abort")
        if end is not None:
            end()

    async def disconnected(self) -> None:
        """Returns when the client has gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _too_large() -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"Request entity too large: limit is {MAX_BODY}")


class Target(NamedTuple):
    """The resource that a request is about."""

    resource: Resource
    namespace: str
    name: str
    subresource: str = ""


@dataclass(slots=True)
class Answer:
    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    encoded: bool = False
    """The body is compressed, and the headers say so."""


def json_answer(obj: Object, status: int = 200) -> Answer:
    return Answer(orjson.dumps(obj), status)


def error_answer(error: StatusError) -> Answer:
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, int(error.retry_after))).encode()))
    if error.code == 413:
        headers.append((b"connection", b"close"))  # the rest of the body is not worth reading
    return Answer(orjson.dumps(error.to_status()), error.code, JSON, headers)


def warning_header(text: str) -> tuple[bytes, bytes]:
    """RFC 7234 section 5.5, code 299. Cut as upstream cuts them: a header of megabytes is an answer nobody can read."""
    text = text[:MAX_WARNING]
    printable = "".join(c if c.isprintable() else " " for c in text)
    quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
    return b"warning", f'299 - "{quoted}"'.encode()


async def send_answer(scope: Scope, send: Send, answer: Answer, warnings: Sequence[str] = ()) -> None:
    body = answer.body if scope["method"] != "HEAD" else b""
    if (
        not answer.headers
        and not warnings
        and 0 < len(body) <= PIECE
        and (at_once := scope["state"].get("answer")) is not None
    ):
        head = b"content-type: %s\r\ncontent-length: %d\r\ncache-control: no-cache, private\r\n"
        if at_once(scope, answer.status, head % (answer.content_type, len(body)), body):
            return
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        (b"cache-control", b"no-cache, private"),
        *answer.headers,
    ]
    headers += map(warning_header, list(dict.fromkeys(warnings))[:MAX_WARNINGS])
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
