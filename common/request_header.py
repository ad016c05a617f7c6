"""A proxy in front of a server that says in its headers who asks (upstream: authentication/request/headerrequest).

Its word counts when its certificate was verified by the proxies' own authority, and its name is among those allowed.
That authority is no authority for users: a certificate of it names nobody by itself.
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from common.serving import PeerIdentity

RELOAD_SECONDS = 30.0
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class HeaderOptions:
    """What the ``--requestheader-*`` flags, or the keys of ``kube-system/extension-apiserver-authentication``, say."""

    proxy_ca_file: str
    client_ca_file: str | None = None
    allowed_names: Sequence[str] = ()
    username_headers: Sequence[str] = ("X-Remote-User",)
    group_headers: Sequence[str] = ("X-Remote-Group",)
    extra_prefixes: Sequence[str] = ("X-Remote-Extra-",)


@dataclass(frozen=True, slots=True)
class NamedUser:
    """Whom headers name."""

    name: str
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Authorities:
    """The certificates of a file. Those that were there once stay known, as a TLS context keeps them: a renewed
    authority verifies by its old certificate too."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._read = -RELOAD_SECONDS
        self._known: frozenset[bytes] = frozenset()

    def has(self, certificate: bytes) -> bool:
        if certificate in self._known:
            return True
        now = time.monotonic()
        if now - self._read >= RELOAD_SECONDS:
            self._read = now
            try:
                texts = _PEM.findall(Path(self._file).read_text())
                self._known |= frozenset(map(ssl.PEM_cert_to_DER_cert, texts))
            except (OSError, ValueError):
                pass  # being renewed: what was known before counts
        return certificate in self._known


class RequestHeaders:
    """Raises OSError for a file that cannot be read."""

    def __init__(self, options: HeaderOptions) -> None:
        Path(options.proxy_ca_file).read_bytes()
        self._proxies = Authorities(options.proxy_ca_file)
        self._clients = Authorities(options.client_ca_file) if options.client_ca_file else None
        self._allowed = frozenset(options.allowed_names)
        self._users = _lower(options.username_headers)
        self._groups = _lower(options.group_headers)
        self._extras = _lower(options.extra_prefixes)

    def names_users(self, peer: PeerIdentity) -> bool:
        """Whether a certificate is one that names a user itself."""
        return self._clients is not None and self._clients.has(peer.anchor)

    def user(self, peer: PeerIdentity, headers: Headers) -> NamedUser | None:
        """Whom the headers name; None when nobody, or when the peer's word does not count."""
        if not self._proxies.has(peer.anchor):  # nearly all
            return None
        name = next((value for key in self._users for value in _values(headers, key) if value), "")
        if not name or (self._allowed and peer.common_name not in self._allowed):
            return None
        groups = tuple(value for key in self._groups for value in _values(headers, key))
        extra: dict[str, tuple[str, ...]] = {}
        for prefix in self._extras:
            for key, raw in headers:
                if key.startswith(prefix):
                    name_ = unquote(key[len(prefix) :].decode("latin-1").lower())
                    extra[name_] = (*extra.get(name_, ()), raw.decode("latin-1"))
        return NamedUser(name, groups, extra)

    def without(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The headers that whoever comes later may see."""
        names = {*self._users, *self._groups}
        return [(k, v) for k, v in headers if k not in names and not k.startswith(self._extras)]


def _lower(names: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(name.strip().lower().encode("latin-1") for name in names if name.strip())


def _values(headers: Headers, name: bytes) -> Iterable[str]:
    return (value.decode("latin-1") for key, value in headers if key == name)
