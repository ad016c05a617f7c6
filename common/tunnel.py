"""Upgraded connections, raw: what the client sends after the request's head, and what it is sent.

exec, attach and port-forward leave HTTP behind. The API server passes both sides' bytes on as they are, the kubelet
speaks SPDY over them. So the protocol class hands the raw connection of a request that asks for such an upgrade to the
application, as ``scope["extensions"]["coxswain.tunnel"]``. The application either answers as usual (and the connection
ends after that) or takes the connection over with :meth:`Tunnel.accept`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import httptools

from common.serving import CoxProtocol

EXTENSION = "coxswain.tunnel"
SPDY, WEBSOCKET = b"spdy/3.1", b"websocket"
"""Values of the header Upgrade, in lower case."""
SPDY_IN_WEBSOCKET = b"SPDY/3.1+"
"""What subprotocols of SPDY in a WebSocket start with."""
BUFFER = 256 * 1024
"""Bytes kept from a client that its far end has not taken yet; beyond this the client has to wait."""


def tunnel_of(scope: Mapping[str, Any]) -> Tunnel | None:
    """The client's raw connection, if it asks for an upgrade to one."""
    tunnel: Tunnel | None = (scope.get("extensions") or {}).get(EXTENSION)
    return tunnel


class Tunnel:
    """The client's end of an upgraded connection."""

    def __init__(self, protocol: TunnelProtocol) -> None:
        self._protocol = protocol
        self._chunks: list[bytes] = []
        self._size = 0
        self._eof = False
        self._ready = asyncio.Event()
        self.accepted = False

    def accept(self, head: bytes) -> None:
        """Takes the connection over by writing the response's head (status line to empty line)."""
        cycle = self._protocol.cycle
        cycle.response_started = cycle.response_complete = True
        self.accepted = True
        self.write(head)

    async def read(self) -> bytes:
        """What the client has sent; b"" at its end."""
        while not self._chunks and not self._eof:
            self._ready.clear()
            await self._ready.wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if not self._eof:
            self._protocol.flow.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        if not self._protocol.transport.is_closing():
            self._protocol.transport.write(data)

    async def drain(self) -> None:
        """Waits while the client does not take what was written. Raises ConnectionResetError when it is gone."""
        if self._eof and self._protocol.transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        await self._protocol.flow.drain()

    def close(self) -> None:
        self._protocol.transport.close()

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        self._ready.set()
        if self._size > BUFFER:
            self._protocol.flow.pause_reading()

    def feed_eof(self) -> None:
        self._eof = True
        self._ready.set()


class TunnelProtocol(CoxProtocol):
    """HTTP as usual until a request asks for an upgrade that is handed over raw."""

    tunnel: Tunnel | None = None

    def is_raw(self) -> bool:
        """Whether the upgrade that is asked for is handed over raw."""
        return self._get_upgrade() in (SPDY, WEBSOCKET)

    def _should_upgrade(self) -> bool:
        """Whether uvicorn makes a WebSocket of the connection; other requests for an upgrade are requests."""
        return not self.is_raw() and super()._should_upgrade()

    def on_headers_complete(self) -> None:
        upgrade = self.parser.should_upgrade() and not self._should_upgrade()
        if upgrade and self.is_raw():
            self.tunnel = Tunnel(self)
            scope: dict[str, Any] = self.scope  # type: ignore[assignment]
            scope.setdefault("extensions", {})[EXTENSION] = self.tunnel
        super().on_headers_complete()
        if upgrade:
            # The parser stops here for good: without a tunnel the connection ends with the answer.
            self.cycle.keep_alive = False

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.feed(data)
            return
        if self.refuses(data):
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self.tunnel is not None and rest:
                self.tunnel.feed(rest)
            elif self.tunnel is None and self._should_upgrade():
                self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._head:
            self.expect_rest()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.tunnel is not None:
            self.tunnel.feed_eof()
        super().connection_lost(exc)


class SpdyTunnelProtocol(TunnelProtocol):
    """Hands SPDY over raw, and leaves to uvicorn the WebSockets that carry no SPDY.

    The name of such a subprotocol has a slash, which WebSocket libraries refuse (KEP-4006 chose it nevertheless).
    """

    def is_raw(self) -> bool:
        upgrade = self._get_upgrade()
        return upgrade == SPDY or (upgrade == WEBSOCKET and offers_spdy(self.headers))


def offers_spdy(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a subprotocol that a client offers is SPDY in a WebSocket. Names are in lower case."""
    offered = [
        each.strip() for name, value in headers if name == b"sec-websocket-protocol" for each in value.split(b",")
    ]
    return any(each.startswith(SPDY_IN_WEBSOCKET) for each in offered)
