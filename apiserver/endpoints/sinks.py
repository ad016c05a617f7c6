"""Where a watch's lines go: a chunked answer, or a WebSocket with one event in each text frame.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes. Both hold a writer back
while the client does not take what was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from websockets.exceptions import InvalidHandshake
from websockets.frames import CloseCode
from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from apiserver.endpoints.request import Request, Send, warning_header
from common.api.status import BadRequest
from common.tunnel import Tunnel, tunnel_of

MAX_FRAME = 64 * 1024
"""Of what a watching client may send; nothing of it is looked at."""


class Sink(Protocol):
    async def open(self) -> None:
        """Sends the head, which the client is to see though nothing has happened yet."""

    async def write(self, lines: bytes) -> None: ...
    async def close(self) -> None:
        """The regular end."""

    async def gone(self) -> None:
        """Returns when the client has gone."""


def sink_for(request: Request, send: Send) -> Sink:
    tunnel = tunnel_of(request.scope)
    if tunnel is not None and request.header(b"upgrade").lower() == "websocket":
        return WebSocketSink(request, tunnel)
    return HttpSink(request, send)


class HttpSink:
    def __init__(self, request: Request, send: Send) -> None:
        self._request = request
        self._send = send

    async def open(self) -> None:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-cache, private")]
        headers += [warning_header(text) for text in self._request.warnings]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.write(b"")

    async def write(self, lines: bytes) -> None:
        await self._send({"type": "http.response.body", "body": lines, "more_body": True})

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def gone(self) -> None:
        await self._request.disconnected()


class WebSocketSink:
    """The protocol is the websockets library's, without its I/O: the bytes go through the tunnel."""

    def __init__(self, request: Request, tunnel: Tunnel) -> None:
        self._request = request
        self._tunnel = tunnel
        self._protocol = ServerProtocol(select_subprotocol=_first, max_size=MAX_FRAME)

    async def open(self) -> None:
        """Raises BadRequest for a handshake that is none."""
        # The protocol reads the request itself, which the HTTP server has read already.
        lines = [b"GET / HTTP/1.1", *(name + b": " + value for name, value in self._request.scope["headers"])]
        self._protocol.receive_data(b"\r\n".join(lines) + b"\r\n\r\n")
        handshakes = [event for event in self._protocol.events_received() if isinstance(event, Handshake)]
        if not handshakes:
            raise BadRequest("not a WebSocket handshake")
        response = self._protocol.accept(handshakes[0])
        if response.status_code != 101:
            error = self._protocol.handshake_exc
            raise BadRequest(str(error) if isinstance(error, InvalidHandshake) else "not a WebSocket handshake")
        self._protocol.send_response(response)
        self._tunnel.accept(b"".join(self._protocol.data_to_send()))

    async def write(self, lines: bytes) -> None:
        for line in lines.splitlines():
            self._protocol.send_text(line)
        await self._flush()

    async def close(self) -> None:
        self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        await self._flush()
        self._tunnel.close()

    async def gone(self) -> None:
        """Answers pings meanwhile."""
        while data := await self._tunnel.read():
            self._protocol.receive_data(data)
            self._protocol.events_received()
            await self._flush()
            if self._protocol.close_expected():
                break
        self._tunnel.close()

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._tunnel.write(data)
        await self._tunnel.drain()


def _first(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Browsers insist on one of those that they offer; a watch speaks the same in each."""
    return offered[0] if offered else None
