"""Upgraded connections: the client's bytes and the kubelet's, passed on as they are.

exec, attach and port-forward speak WebSocket (or SPDY) from end to end; the API server only says who may. So the
protocol class hands the raw connection of a request that asks for an upgrade to the application, as
``scope["extensions"]["coxswain.tunnel"]``. The application either answers as usual (and the connection ends after
that) or takes the connection over with :meth:`Tunnel.accept`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools

from common.serving import CoxProtocol

EXTENSION = "coxswain.tunnel"
PROTOCOLS = (b"websocket", b"spdy/3.1")
BUFFER = 256 * 1024
"""Bytes kept from a client that its far end has not taken yet; beyond this the client has to wait."""


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
    """HTTP as usual until a request asks for an upgrade that a tunnel can carry."""

    tunnel: Tunnel | None = None

    def _should_upgrade(self) -> bool:
        # No upgrade is handled by uvicorn: every request goes to the application.
        return False

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self._get_upgrade() in PROTOCOLS:
            self.tunnel = Tunnel(self)
            scope: dict[str, Any] = self.scope  # type: ignore[assignment]
            scope.setdefault("extensions", {})[EXTENSION] = self.tunnel
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # The parser stops here for good: without a tunnel the connection ends with the answer.
            self.cycle.keep_alive = False

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.feed(data)
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self.tunnel is not None and rest:
                self.tunnel.feed(rest)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def connection_lost(self, exc: Exception | None) -> None:
        if self.tunnel is not None:
            self.tunnel.feed_eof()
        super().connection_lost(exc)
