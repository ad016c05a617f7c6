"""The union of the ways to authenticate, in upstream's order: a proxy's headers, certificate, token file, service
account.

The first that knows the caller wins; credentials that nobody knows are 401, even where an anonymous request would pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from apiserver.authn import websocket
from apiserver.authn.bootstrap_tokens import BootstrapTokens
from apiserver.authn.settings import AuthnSettings, audiences
from apiserver.authn.tokenfile import TokenFile
from apiserver.authn.tokens import ServiceAccountTokens, build_verifier
from apiserver.types import Registry, User
from common.api.status import Unauthorized
from common.request_header import HeaderOptions, RequestHeaders

ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))
ANONYMOUS_PATHS = ("/healthz", "/livez", "/readyz", "/version")
"""Where a request without credentials may go at all (upstream: AuthenticationConfiguration.anonymous.conditions)."""


def bearer_token(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The token of an ``Authorization: Bearer`` header, or None. Other schemes are no credentials, as upstream."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return token.strip()
    return None


def anonymous_may(path: str) -> bool:
    return any(path == allowed or path.startswith(allowed + "/") for allowed in ANONYMOUS_PATHS)


class TokenAuthenticator:
    """Bearer tokens of every sort, for requests and for TokenReview."""

    def __init__(
        self,
        token_file: TokenFile | None,
        accounts: ServiceAccountTokens | None,
        audiences: tuple[str, ...],
        bootstrap: BootstrapTokens | None = None,
    ) -> None:
        self._file = token_file
        self._accounts = accounts
        self._bootstrap = bootstrap
        self.audiences = audiences

    async def user(self, token: str, wanted: Sequence[str] = ()) -> tuple[User, tuple[str, ...]]:
        """The user, and which of the ``wanted`` audiences (or the server's) it is good for. Raises Unauthorized."""
        wanted = tuple(wanted) or self.audiences
        if self._file is not None and (user := self._file.user(token)) is not None:
            # Static tokens carry no audience: they are good for the server's own.
            good_for = tuple(a for a in wanted if a in self.audiences)
            if not good_for:
                raise Unauthorized
            return _authenticated(user), good_for
        if self._bootstrap is not None and (user := await self._bootstrap.user(token)) is not None:
            good_for = tuple(a for a in wanted if a in self.audiences)
            if not good_for:
                raise Unauthorized
            return _authenticated(user), good_for
        if self._accounts is None:
            raise Unauthorized
        user, good_for = await self._accounts.user(token, wanted)
        return _authenticated(user), good_for


class RequestAuthenticator:
    """The Authenticator of the server."""

    def __init__(self, tokens: TokenAuthenticator, proxies: RequestHeaders | None = None) -> None:
        self.tokens = tokens
        self._proxies = proxies

    async def authenticate(self, scope: Mapping[str, Any]) -> User:
        peer = (scope.get("state") or {}).get("peer")
        if self._proxies is not None and peer is not None:
            named = self._proxies.user(peer, scope["headers"])
            if named is not None:
                scope["headers"][:] = self._proxies.without(scope["headers"])
                return _authenticated(User(named.name, groups=named.groups, extra=named.extra))
            if not self._proxies.names_users(peer):
                peer = None
        if peer is not None and peer.common_name:
            return _certified(peer.common_name, tuple(peer.organizations))
        token = bearer_token(scope["headers"])
        if token is None and scope.get("extensions"):
            token, headers = websocket.split(scope["headers"])
            scope["headers"][:] = headers
        if token:
            user, _ = await self.tokens.user(token)
            return user
        if anonymous_may(scope["path"]):
            return ANONYMOUS
        raise Unauthorized


@lru_cache(maxsize=1024)
def _certified(name: str, organizations: tuple[str, ...]) -> User:
    return _authenticated(User(name, groups=organizations))


def _authenticated(user: User) -> User:
    if "system:authenticated" in user.groups:
        return user
    return replace(user, groups=(*user.groups, "system:authenticated"))


def build(settings: AuthnSettings, registry: Registry) -> RequestAuthenticator:
    """The authenticator that the flags describe. Raises OSError or ValueError for files that cannot be used."""
    token_file = TokenFile(settings.token_auth_file) if settings.token_auth_file else None
    verifier = build_verifier(settings)
    accounts = ServiceAccountTokens(verifier, registry) if verifier else None
    bootstrap = BootstrapTokens(registry) if settings.enable_bootstrap_token_auth else None
    tokens = TokenAuthenticator(token_file, accounts, audiences(settings), bootstrap)
    return RequestAuthenticator(tokens, _proxies(settings))


def _proxies(settings: AuthnSettings) -> RequestHeaders | None:
    if not settings.requestheader_client_ca_file:
        return None
    return RequestHeaders(
        HeaderOptions(
            settings.requestheader_client_ca_file,
            settings.client_ca_file,
            settings.requestheader_allowed_names,
            settings.requestheader_username_headers,
            settings.requestheader_group_headers,
            settings.requestheader_extra_headers_prefix,
        )
    )
