"""The handshake of an upgrade to SPDY (upstream: apimachinery/pkg/util/httpstream, Handshake)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

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
    lines = (
        "HTTP/1.1 101 Switching Protocols",
        "Connection: Upgrade",
        "Upgrade: SPDY/3.1",
        f"X-Stream-Protocol-Version: {protocol}",
    )
    return protocol, "\r\n".join((*lines, "", "")).encode()
