"""A bearer token as a WebSocket's subprotocol: browsers let a page set no other header.

Upstream: apiserver/pkg/authentication/request/websocket. The token's protocol is taken out of the request, so that it
is neither answered nor passed on; another one must be offered, since a browser insists on an answer.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from common.api.status import Unauthorized

PREFIX = "base64url.bearer.authorization.k8s.io."
_NAME = b"sec-websocket-protocol"


def split(headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, list[tuple[bytes, bytes]]]:
    """The token, "" for none, and the headers without it. Raises Unauthorized for one that cannot be read."""
    offered = [p.strip() for n, v in headers if n == _NAME for p in v.decode("latin-1").split(",")]
    tokens = [p for p in offered if p.startswith(PREFIX)]
    if not tokens:
        return "", list(headers)
    others = [p for p in offered if not p.startswith(PREFIX)]
    if len(tokens) > 1 or not others:
        raise Unauthorized
    encoded = tokens[0].removeprefix(PREFIX)
    try:
        token = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthorized from None
    kept = [(n, v) for n, v in headers if n != _NAME]
    return token, [*kept, (_NAME, ",".join(others).encode("latin-1"))]
