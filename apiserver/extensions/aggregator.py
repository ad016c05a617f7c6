"""Passes requests for aggregated groups on, and tells what those groups are."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apiserver.endpoints.request import Answer, Request, Send
from apiserver.extensions.availability import Availability, Documents
from apiserver.extensions.services import Backend, Table, Unresolved, resolve
from apiserver.extensions.transport import AGGREGATOR, Transport, TransportSettings, identity, without_identity
from apiserver.subresources import relay
from apiserver.subresources.upstream import Target, forwarded
from apiserver.types import Object, Registry, User

log = logging.getLogger(__name__)

TEXT = b"text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """A group version that another server serves, as discovery shows it."""

    group: str
    version: str
    group_priority: int
    version_priority: int
    resources: Sequence[Object]
    """The entries of its APIResourceList, as last seen."""
    fresh: bool


class Aggregator:
    def __init__(self, registry: Registry, settings: TransportSettings) -> None:
        self._registry = registry
        self._transport = Transport(settings)
        self._table = Table(registry)
        self._documents: dict[str, Documents] = {}
        self._fresh: set[str] = set()
        self._changes = 0
        self._availability = Availability(registry, self._transport, self._found)

    async def run(self) -> None:
        """Until cancelled. The cache must be there."""
        await self._availability.run()

    @property
    def revision(self) -> int:
        """Raised when what :meth:`versions` says may have changed."""
        return self._table.revision + self._changes

    def backend(self, group: str, version: str) -> Backend | None:
        """Whose a group version is; None for this server's own, or nobody's."""
        backends = self._table.backends
        return backends.get((group, version)) if backends else None

    def versions(self) -> list[RemoteVersion]:
        return [
            RemoteVersion(
                each.group,
                each.version,
                each.group_priority,
                each.version_priority,
                self._documents[each.name].resources if each.name in self._documents else (),
                each.available and each.name in self._fresh,
            )
            for each in self._table.backends.values()
        ]

    def openapi(self) -> Mapping[str, str]:
        """Where the OpenAPI of each group version is, by ``apis/<group>/<version>``."""
        found = {}
        for each in self._table.backends.values():
            documents = self._documents.get(each.name)
            if documents is not None and documents.openapi and each.available:
                found[each.path[1:]] = documents.openapi
        return found

    def _found(self, backend: Backend, documents: Documents | None) -> None:
        before = self._documents.get(backend.name), backend.name in self._fresh
        if documents is None:
            self._fresh.discard(backend.name)
        else:
            self._documents[backend.name] = documents
            self._fresh.add(backend.name)
        if before != (self._documents.get(backend.name), backend.name in self._fresh):
            self._changes += 1
        known = {each.name for each in self._table.backends.values()}
        for name in [name for name in self._documents if name not in known]:
            del self._documents[name]

    async def serve(self, backend: Backend, request: Request, send: Send) -> Answer | None:
        """Passes a request on that is authorised already. None: the answer has been sent."""
        return await self._serve(backend, request, send, request.user)

    async def serve_openapi(self, backend: Backend, request: Request, send: Send) -> Answer | None:
        """The OpenAPI document of an aggregated group version: everybody may see it, whatever the far end thinks of
        who asks."""
        return await self._serve(backend, request, send, AGGREGATOR)

    async def _serve(self, backend: Backend, request: Request, send: Send, user: User) -> Answer | None:
        if not backend.available:
            return unavailable()
        try:
            target = self._transport.target(backend, resolve(self._registry, backend))
        except Unresolved as error:
            log.warning("APIService %s: %s", backend.name, error)
            return unavailable()
        except (OSError, ValueError) as error:
            return _text(500, str(error))
        client = relay.tunnel_of(request)
        headers = forwarded(without_identity(request.scope["headers"]), upgrade=client is not None)
        headers += identity(user)
        path = _raw_path(request)
        try:
            if client is not None:
                await relay.tunnel(target, path, request, send, client, headers)
            else:
                headers = [(n, v) for n, v in headers if n.lower() != b"content-length"]
                headers += relay.forwarded_for(request, request.path)
                await relay.pass_on(target, path, request, send, headers)
        except (OSError, zlib.error) as error:
            return _text(503, f"error trying to reach service: {_reason(target, error)}")
        return None


def unavailable() -> Answer:
    return _text(503, "service unavailable")


def _reason(target: Target, error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"tls: failed to verify certificate: x509: {text.partition('certificate verify failed: ')[2] or text}"
    return relay.reason(target, error)


def _text(code: int, text: str) -> Answer:
    """As Go's http.Error writes it."""
    return Answer(f"{text}\n".encode(), code, TEXT, [(b"x-content-type-options", b"nosniff")])


def _raw_path(request: Request) -> str:
    raw: bytes = request.scope.get("raw_path") or request.path.encode()
    query: bytes = request.scope.get("query_string") or b""
    return (raw + (b"?" + query if query else b"")).decode("latin-1")
