"""SPDY in a WebSocket: the bytes of the connection are those of the binary messages, whatever their bounds."""

from __future__ import annotations

from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from common.tunnel import Tunnel

MAX_MESSAGE = 1 << 20


class WebSocketPipe:
    """A :class:`kubelet.server.spdy.connection.Pipe`. Takes over after the handshake; answers pings and the close."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._protocol = Protocol(SERVER, state=OPEN, max_size=MAX_MESSAGE)

    async def read(self) -> bytes:
        while True:
            if data := self._received():
                return data
            if self._protocol.state is not OPEN or not (received := await self._tunnel.read()):
                return b""
            self._protocol.receive_data(received)
            self._flush()

    def _received(self) -> bytes:
        frames = [event for event in self._protocol.events_received() if isinstance(event, Frame)]
        return b"".join(frame.data for frame in frames if frame.opcode in (Opcode.BINARY, Opcode.CONT))

    def write(self, data: bytes) -> None:
        try:
            self._protocol.send_binary(data)
        except InvalidState:
            return  # the client has closed; whoever writes learns it from drain
        self._flush()

    async def drain(self) -> None:
        if self._protocol.state is not OPEN:
            raise ConnectionResetError("the client closed the connection")
        await self._tunnel.drain()

    def close(self) -> None:
        if self._protocol.state is OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._flush()
        self._tunnel.close()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:  # b"" asks for a half-close, which TLS has not; the pipe is closed as a whole
                self._tunnel.write(data)
