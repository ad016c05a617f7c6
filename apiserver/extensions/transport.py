"""Connections to aggregated servers: this server's certificate, their authority, the user in headers."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import quote

from apiserver.extensions.services import Backend, Endpoint
from apiserver.subresources.upstream import Headers, Target
from apiserver.types import User

REMOTE = b"x-remote-"
AGGREGATOR = User("system:kube-aggregator", groups=("system:masters",))
"""Who asks for discovery: always allowed there."""
_KEPT = 64


class TransportSettings(Protocol):
    @property
    def proxy_client_cert_file(self) -> str | None: ...
    @property
    def proxy_client_key_file(self) -> str | None: ...


class Transport:
    """TLS contexts, kept while certificate and authority are the same: making one costs milliseconds."""

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._contexts: dict[tuple[str, bool, int], ssl.SSLContext] = {}

    def target(self, backend: Backend, endpoint: Endpoint, *, verify: bool = True) -> Target:
        """Raises OSError (ssl.SSLError) and ValueError for a certificate or an authority that cannot be used."""
        context = self._context(backend.authority, verify and not backend.insecure)
        return Target(endpoint.host, endpoint.port, context, server_name=backend.server_name)

    def _context(self, authority: str, verify: bool) -> ssl.SSLContext:
        certificate, key = self._settings.proxy_client_cert_file, self._settings.proxy_client_key_file
        stamp = os.stat(certificate).st_mtime_ns if certificate else 0
        wanted = authority if verify else ""
        context = self._contexts.get((wanted, verify, stamp))
        if context is None:
            context = ssl.create_default_context(cadata=wanted or None)
            if not verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if certificate:
                context.load_cert_chain(certificate, key)
            while len(self._contexts) >= _KEPT:
                del self._contexts[next(iter(self._contexts))]
            self._contexts[wanted, verify, stamp] = context
        return context


def identity(user: User) -> Headers:
    """The user as headers (upstream: transport.SetAuthProxyHeaders)."""
    headers = [(b"x-remote-user", user.name.encode("latin-1", "replace"))]
    headers += [(b"x-remote-group", group.encode("latin-1", "replace")) for group in user.groups]
    extra: Mapping[str, tuple[str, ...]] = user.extra
    for key, values in extra.items():
        name = b"x-remote-extra-" + quote(key, safe="!#$&'*+-.^_`|~").lower().encode()
        headers += [(name, value.encode("latin-1", "replace")) for value in values]
    return headers


def without_identity(headers: Headers) -> Headers:
    """What a client sent under these names is not for the far end to believe."""
    return [(name, value) for name, value in headers if not name.lower().startswith(REMOTE)]
