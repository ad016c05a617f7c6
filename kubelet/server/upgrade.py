"""The handshakes of upgrades to SPDY, plain (upstream: apimachinery/pkg/util/httpstream) or in a WebSocket."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from websockets.utils import accept_key

from common.api.status import BadRequest, Forbidden

HEADER = "x-stream-protocol-version"


def upgrade(request: Request, supported: Sequence[str]) -> tuple[str, bytes]:
    """The protocol that both know, the client's favourite first, and the head of the answer.

    Raises BadRequest when the client names none, Forbidden when none is known.
    """
    offered = [each.strip() for value in request.headers.getlist(HEADER) for each in value.split(",")]
    if not offered:
        raise BadRequest("unable to upgrade: X-Stream-Protocol-Version is required")
    protocol = next((each for each in offered if each in supported), None)
    if protocol is None:
        raise Forbidden(
            f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offered)}], "
            f"server accepts [{' '.join(supported)}]"
        )
    return protocol, _head("Upgrade: SPDY/3.1", f"X-Stream-Protocol-Version: {protocol}")


def websocket_upgrade(request: Request, supported: str) -> bytes:
    """The head of the answer to a WebSocket's handshake (RFC 6455, section 4.2.2). Raises BadRequest."""
    offered = [each.strip() for value in request.headers.getlist("sec-websocket-protocol") for each in value.split(",")]
    key, version = request.headers.get("sec-websocket-key", ""), request.headers.get("sec-websocket-version")
    if request.method != "GET" or version != "13" or not key:
        raise BadRequest("unable to upgrade: not a handshake of WebSocket version 13")
    if supported not in offered:
        raise BadRequest(f"unable to upgrade: client supports [{' '.join(offered)}], server accepts [{supported}]")
    return _head(
        "Upgrade: websocket", f"Sec-WebSocket-Accept: {accept_key(key)}", f"Sec-WebSocket-Protocol: {supported}"
    )


def _head(*headers: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", *headers, "", "")).encode()
