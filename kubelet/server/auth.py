"""Who may speak to the kubelet: the API server's own client certificate, and administrators.

Exec on this port is root on the machine, so there is no anonymous access and no other way in
(https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/); only /healthz is open.
"""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from common.serving import PeerIdentity

API_SERVER = "kube-apiserver-kubelet-client"
ADMINISTRATORS = "system:masters"
OPEN_PATHS = frozenset({"/healthz"})


def refusal(path: str, method: str, peer: PeerIdentity | None) -> PlainTextResponse | None:
    """The answer to whoever may not, or None for whoever may."""
    if path in OPEN_PATHS:
        return None
    if peer is None:
        return PlainTextResponse("Unauthorized", status_code=401)
    if peer.common_name == API_SERVER or ADMINISTRATORS in peer.organizations:
        return None
    verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(method, "get")
    text = f"Forbidden (user={peer.common_name}, verb={verb}, resource=nodes, subresource={subresource(path)})"
    return PlainTextResponse(text, status_code=403)


def subresource(path: str) -> str:
    """The subresource of nodes that a path stands for, in upstream's table."""
    for prefix in ("stats", "metrics", "logs", "spec"):
        if path == f"/{prefix}" or path.startswith(f"/{prefix}/"):
            return prefix.removesuffix("s") if prefix == "logs" else prefix
    return "proxy"


class Authorization:
    """ASGI middleware over http and websocket alike."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            peer = scope.get("state", {}).get("peer")
            answer = refusal(scope["path"], scope.get("method", "GET"), peer)
            if answer is not None:
                if scope["type"] == "websocket":
                    await WebSocket(scope, receive, send).send_denial_response(answer)
                else:
                    await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)
