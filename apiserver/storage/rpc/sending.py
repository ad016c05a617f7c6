"""What leaves a connection: DATA as far as the server has given room, everything of one turn of the event loop at once.

A message that must wait for room waits in line: later ones pass it only where it waits for its own stream's room, so
that many small calls never starve a large one.
"""

from __future__ import annotations

import asyncio

from apiserver.storage.rpc import frames
from apiserver.storage.rpc.calls import Call
from apiserver.storage.rpc.frames import ProtocolError

LINGER = 1.0
"""Seconds for the last bytes to leave; a server that stands still would keep them, and the socket, for many minutes."""


class Sender:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.max_frame = frames.MAX_FRAME
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._out: list[bytes] = []
        self._window = frames.DEFAULT_WINDOW
        self._blocked: dict[Call, tuple[memoryview, bool]] = {}
        """What waits for room, in the order of its coming, and whether it is the last of its call."""

    def open(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        """The transport closes when the bytes have left it, or soon."""
        transport = self._transport
        if transport is not None:
            self._flush()
            self._transport = None
            transport.close()
            self._lingering = self._loop.call_later(LINGER, transport.abort)

    def abort(self) -> None:
        """Nothing leaves any more."""
        transport, self._transport = self._transport, None
        if self._lingering is not None:
            self._lingering.cancel()
        if transport is not None:
            transport.abort()

    def write(self, data: bytes) -> None:
        """Frames other than DATA."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def send(self, call: Call, body: bytes, last: bool) -> None:
        size = len(body)
        if size <= self._window and size <= call.window and size <= self.max_frame and not self._blocked:
            self._window -= size
            call.window -= size
            self.write(frames.frame(frames.DATA, frames.END_STREAM if last else 0, call.id, body))
            return
        before = self._blocked.get(call)
        self._blocked[call] = memoryview(bytes(before[0]) + body if before else body), last
        self.pump()

    def pump(self) -> None:
        """Sends what waited, as far as there is room."""
        for call in [*self._blocked] if self._window > 0 else ():
            body, last = self._blocked[call]
            at, size = 0, len(body)
            while (piece := min(size - at, self._window, call.window, self.max_frame)) > 0:
                self._window -= piece
                call.window -= piece
                flags = frames.END_STREAM if last and at + piece == size else 0
                self.write(frames.frame(frames.DATA, flags, call.id, body[at : at + piece]))
                at += piece
            if at == size:
                del self._blocked[call]
            elif at:
                self._blocked[call] = body[at:], last
            if self._window <= 0:
                return

    def more_room(self, size: int) -> None:
        """For the whole connection. Raises ProtocolError."""
        self._window = grown(self._window, size)
        if self._blocked:
            self.pump()

    def more_room_for(self, call: Call, size: int) -> None:
        """Raises ProtocolError."""
        call.window = grown(call.window, size)
        if call in self._blocked:
            self.pump()

    def drop(self, call: Call) -> bool:
        """Forgets what a call has not sent; whether there was something."""
        return self._blocked.pop(call, None) is not None


def grown(window: int, size: int) -> int:
    """A window after it grew, or shrank. Raises ProtocolError."""
    window += size
    if window > frames.MAX_WINDOW:
        raise ProtocolError("a window overflows", frames.FLOW_CONTROL_ERROR)
    return window
