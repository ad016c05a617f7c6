"""Who may speak to the kubelet: client certificates and tokens that the API server knows, with rights to the node.

Exec on this port is root on the machine. So the defaults are those of upstream's configuration file, not of its
flags: no anonymous access, tokens asked of the API server (TokenReview), rights asked of it (SubjectAccessReview) for
the subresource of nodes that a path stands for. Who is in system:masters may everything, also while the API server is
away. /healthz is open, as on upstream's port of its own for it.
https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from common.serving import PeerIdentity

log = logging.getLogger("kubelet.server")

ADMINISTRATORS = "system:masters"
OPEN_PATHS = frozenset({"/healthz"})
VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
SUBRESOURCES = {"stats": "stats", "metrics": "metrics", "logs": "log", "spec": "spec", "checkpoint": "checkpoint"}


@dataclass(frozen=True, slots=True)
class Caller:
    name: str
    groups: tuple[str, ...]
    uid: str = ""


ANONYMOUS = Caller("system:anonymous", ("system:unauthenticated",))


class ReviewError(Exception):
    """The API server could not be asked."""


class Reviews(Protocol):
    """What the API server says of callers (kubelet/server/reviews.py). Raises ReviewError."""

    async def caller(self, token: str) -> Caller | None: ...
    async def allowed(self, caller: Caller, verb: str, subresource: str) -> bool: ...


@dataclass(frozen=True)
class Access:
    """``reviews``: None asks nobody, so that administrators alone come in."""

    reviews: Reviews | None = None
    tokens: bool = True
    """``--authentication-token-webhook``"""
    anonymous: bool = False
    webhook: bool = True
    """``--authorization-mode=Webhook``; else everybody may who is known."""

    async def refusal(self, scope: Scope) -> PlainTextResponse | None:
        """The answer to whoever may not, None for whoever may."""
        path = scope["path"]
        if path in OPEN_PATHS:
            return None
        try:
            caller = await self._caller(scope)
        except ReviewError as error:
            log.warning("unable to authenticate the request due to an error: %s", error)
            caller = None
        if caller is None:
            return PlainTextResponse("Unauthorized", status_code=401)
        if not self.webhook or ADMINISTRATORS in caller.groups:
            return None
        verb, part = VERBS.get(scope.get("method", "GET"), ""), subresource(path)
        who = f"user={caller.name}, verb={verb}, resource=nodes"
        try:
            if self.reviews is not None and await self.reviews.allowed(caller, verb, part):
                return None
        except ReviewError as error:
            log.warning("authorization error (%s, subresource=%s): %s", who, part, error)
            return PlainTextResponse(f"Authorization error ({who}, subresource={part})", status_code=500)
        return PlainTextResponse(f"Forbidden ({who}, subresource(s)=[{part}])\n", status_code=403)

    async def _caller(self, scope: Scope) -> Caller | None:
        peer: PeerIdentity | None = scope.get("state", {}).get("peer")
        if peer is not None and peer.common_name:
            return Caller(peer.common_name, (*peer.organizations, "system:authenticated"))
        token = bearer(Headers(scope=scope).getlist("authorization"))
        if token:
            return await self.reviews.caller(token) if self.tokens and self.reviews is not None else None
        return ANONYMOUS if self.anonymous else None


ADMINISTRATORS_ONLY = Access()


def bearer(headers: Sequence[str]) -> str:
    for value in headers:
        kind, _, token = value.strip().partition(" ")
        if kind.lower() == "bearer" and token.strip():
            return token.strip()
    return ""


def subresource(path: str) -> str:
    """The subresource of nodes that a path stands for, in upstream's table."""
    return SUBRESOURCES.get(path.strip("/").partition("/")[0], "proxy")


class Authorization:
    """ASGI middleware over http and websocket alike."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            answer = await self._access.refusal(scope)
            if answer is not None:
                if scope["type"] == "websocket":
                    await WebSocket(scope, receive, send).send_denial_response(answer)
                else:
                    await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)
