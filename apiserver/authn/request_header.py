"""A proxy in front of this server that says in its headers who asks (upstream: authentication/request/headerrequest).

Its word counts when its certificate was verified by the authority of ``--requestheader-client-ca-file``, and its name
is among those allowed. That authority is no authority for users: a certificate of it names nobody by itself.
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from apiserver.types import User
from common.serving import PeerIdentity

RELOAD_SECONDS = 30.0
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

Headers = Sequence[tuple[bytes, bytes]]


class HeaderSettings(Protocol):
    @property
    def client_ca_file(self) -> str | None: ...
    @property
    def requestheader_client_ca_file(self) -> str | None: ...
    @property
    def requestheader_allowed_names(self) -> Sequence[str]: ...
    @property
    def requestheader_username_headers(self) -> Sequence[str]: ...
    @property
    def requestheader_group_headers(self) -> Sequence[str]: ...
    @property
    def requestheader_extra_headers_prefix(self) -> Sequence[str]: ...


@lru_cache(maxsize=64)
def _key(certificate: bytes) -> bytes:
    """The name and key of an authority: a renewed certificate is still its own. Raises ValueError."""
    found = x509.load_der_x509_certificate(certificate)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return found.subject.public_bytes() + found.public_key().public_bytes(serialization.Encoding.DER, form)


class Authorities:
    """The certificates of a file, read again when it may have changed."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._read = -RELOAD_SECONDS
        self._known: frozenset[bytes] = frozenset()

    def has(self, certificate: bytes) -> bool:
        now = time.monotonic()
        if now - self._read >= RELOAD_SECONDS:
            self._read = now
            try:
                texts = _PEM.findall(Path(self._file).read_text())
                self._known = frozenset(_key(ssl.PEM_cert_to_DER_cert(text)) for text in texts)
            except (OSError, ValueError):
                pass  # being renewed: what was known before counts
        return bool(certificate) and _key(certificate) in self._known


class RequestHeaders:
    """Raises OSError for a file that cannot be read."""

    def __init__(self, settings: HeaderSettings) -> None:
        assert settings.requestheader_client_ca_file is not None
        Path(settings.requestheader_client_ca_file).read_bytes()
        self._proxies = Authorities(settings.requestheader_client_ca_file)
        self._clients = Authorities(settings.client_ca_file) if settings.client_ca_file else None
        self._allowed = frozenset(settings.requestheader_allowed_names)
        self._users = _lower(settings.requestheader_username_headers)
        self._groups = _lower(settings.requestheader_group_headers)
        self._extras = _lower(settings.requestheader_extra_headers_prefix)

    def names_users(self, peer: PeerIdentity) -> bool:
        """Whether a certificate is one that names a user itself."""
        return self._clients is not None and self._clients.has(peer.anchor)

    def user(self, peer: PeerIdentity, headers: Headers) -> User | None:
        """Whom the headers name; None when nobody, or when the peer's word does not count."""
        name = next((value for key in self._users for value in _values(headers, key) if value), "")
        if not name or not self._proxies.has(peer.anchor):
            return None
        if self._allowed and peer.common_name not in self._allowed:
            return None
        groups = tuple(value for key in self._groups for value in _values(headers, key))
        extra: dict[str, tuple[str, ...]] = {}
        for prefix in self._extras:
            for key, raw in headers:
                if key.startswith(prefix):
                    field = unquote(key[len(prefix) :].decode("latin-1").lower())
                    extra[field] = (*extra.get(field, ()), raw.decode("latin-1"))
        return User(name, groups=groups, extra=extra)

    def without(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The headers that whoever comes later may see."""
        names = {*self._users, *self._groups}
        return [(k, v) for k, v in headers if k not in names and not k.startswith(self._extras)]


def _lower(names: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(name.strip().lower().encode("latin-1") for name in names if name.strip())


def _values(headers: Headers, name: bytes) -> Iterable[str]:
    return (value.decode("latin-1") for key, value in headers if key == name)
