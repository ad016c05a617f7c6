"""``/openapi/v2`` and ``/openapi/v3``: what kubectl explain and server-side validation start from.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition. Protobuf is offered
for v2 alone, where kubectl before 1.29 asks for nothing else.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson

from apiserver.schema import documents, openapi_proto
from apiserver.schema.connections import Specs, discovery_paths
from apiserver.types import Resource
from common.api.status import MethodNotAllowed, NotAcceptable, NotFound, StatusError

_JSON = ("*", "application/json", "application/*", "*/*")
_PROTO = ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
          "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")  # fmt: skip
_FOREVER = "public, immutable, max-age=31536000"


@dataclass(frozen=True)
class Answer:
    body: bytes
    """Gzipped when ``zipped``."""
    etag: str
    zipped: bool
    immutable: bool = False
    media_type: str = "application/json"
    moved: str = ""
    """Where the document is, when it was asked for by an old hash."""


@dataclass
class OpenAPI:
    """An ASGI application. Authentication and authorisation are the caller's business."""

    resources: Iterable[Resource]
    specs: Specs = field(default_factory=dict)
    """The subresources with a handler of their own."""
    remote: Callable[[], Mapping[str, str]] = dict
    """Where the documents of aggregated group versions are; whoever stands before this serves them."""
    _zipped: dict[str, bytes] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope.get("headers", ())}
        try:
            if scope["method"] not in ("GET", "HEAD"):
                raise MethodNotAllowed("the server does not allow this method on the requested resource", {})
            answer = await self.answer(
                scope["path"], scope.get("query_string", b"").decode(), headers.get("accept", "")
            )
        except StatusError as error:
            await _send(send, error.code, {"content-type": "application/json"}, orjson.dumps(error.to_status()))
            return
        await _reply(send, answer, headers)

    async def answer(self, path: str, query: str, accept: str) -> Answer:
        """The document at a path. Raises NotFound and NotAcceptable."""
        name = path.partition("/openapi/")[2].strip("/")
        groups = documents.groups(self.resources)
        about = discovery_paths(self.resources)
        part = name.removeprefix("v3/")
        if name not in ("v2", "v3") and (name == part or part not in about):
            raise NotFound("the server could not find the requested resource", {})
        protobuf = name == "v2" and _takes(accept, _PROTO)
        if not protobuf and not _takes(accept, _JSON):
            raise NotAcceptable("only the following media types are accepted: application/json", {})
        if name == "v3":
            index = {"paths": {path: {"serverRelativeURL": self._url(path, groups.get(path, []))} for path in about}}
            others = self.remote()
            index["paths"] |= {path: {"serverRelativeURL": url} for path, url in others.items()}
            etag = documents.digest(list(self.resources), self.specs)
            if others:
                etag = hashlib.sha512(f"{etag}:{sorted(others.items())}".encode()).hexdigest().upper()
            return Answer(orjson.dumps(index), etag, False)
        if name == "v2":
            served, more = list(self.resources), [path for paths in about.values() for path in paths]
        else:
            served, more = groups.get(part, []), about[part]
        etag = documents.digest(served, self.specs)
        make = documents.v2 if name == "v2" else documents.v3
        if protobuf:
            body = await self._document("v2.pb", lambda: openapi_proto.encode(make(served, self.specs, more)))
            return Answer(body, f"{etag}-PB", True, media_type=_PROTO[1])
        asked = parse_qs(query).get("hash", [""])[0]
        if asked and asked != etag and name != "v2":
            return Answer(b"", etag, False, moved=self._url(part, served))
        body = await self._document(name, lambda: orjson.dumps(make(served, self.specs, more)))
        return Answer(body, etag, True, asked == etag)

    def _url(self, path: str, rows: list[Resource]) -> str:
        return f"/openapi/v3/{path}?hash={documents.digest(rows, self.specs)}"

    async def _document(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Made once, in a thread, one at a time: making one takes some tens of milliseconds and megabytes."""
        async with self._lock:
            if name not in self._zipped:
                self._zipped[name] = await asyncio.to_thread(lambda: gzip.compress(make(), compresslevel=6, mtime=0))
            return self._zipped[name]


def _takes(accept: str, offered: Collection[str]) -> bool:
    """Whether an Accept header names one of the types. None at all means JSON."""
    types = [part.partition(";")[0].strip().lower() for part in accept.split(",") if part.strip()]
    return any(t in offered for t in types) if types else offered is _JSON


async def _reply(send: Any, answer: Answer, headers: Mapping[str, str]) -> None:
    etag = f'"{answer.etag}"'
    out = {"content-type": answer.media_type, "etag": etag, "vary": "Accept, Accept-Encoding"}
    out["cache-control"] = _FOREVER if answer.immutable else "no-cache, private"
    if answer.moved:
        await _send(send, 301, out | {"location": answer.moved}, b"")
    elif headers.get("if-none-match", "").removeprefix("W/") == etag:
        await _send(send, 304, out, b"")
    elif answer.zipped and "gzip" in headers.get("accept-encoding", ""):
        await _send(send, 200, out | {"content-encoding": "gzip"}, answer.body)
    else:
        await _send(
            send, 200, out, await asyncio.to_thread(gzip.decompress, answer.body) if answer.zipped else answer.body
        )


async def _send(send: Any, status: int, headers: Mapping[str, str], body: bytes) -> None:
    encoded = [(k.encode(), v.encode()) for k, v in headers.items()]
    if status != 304:
        encoded.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
