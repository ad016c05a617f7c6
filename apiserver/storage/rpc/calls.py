"""What becomes of a call's response: one message, or a stream of them; or an error.

A gRPC message is a byte that says whether it is compressed (never, here), four bytes of its size, and its content; it
begins and ends anywhere in the DATA frames.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from apiserver.storage.rpc.statuses import Code, RpcError

PREFIX = 5


def framed(message: bytes) -> bytes:
    """The message with its prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Call:
    """One stream of a connection. The connection calls :meth:`data` and :meth:`end`."""

    __slots__ = ("deadline", "ended", "id", "status", "taken", "window")

    half_open = False
    """Whether this side goes on after its first message."""

    def __init__(self, deadline: float | None) -> None:
        self.id = 0
        """0 until the server allows one call more."""
        self.window = 0
        """Bytes that the peer will take."""
        self.taken = 0
        """Bytes that came since the peer was last given room."""
        self.deadline = deadline
        self.status = ""
        """An HTTP status that is no answer of gRPC's."""
        self.ended = False

    def data(self, payload: bytes) -> int:
        """Takes a piece of the response; how many bytes of room the peer may be given back."""
        raise NotImplementedError

    def end(self, error: RpcError | None) -> None:
        raise NotImplementedError


class UnaryCall(Call):
    """One message is the response."""

    __slots__ = ("_parts", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> None:
        super().__init__(deadline)
        self.future: asyncio.Future[bytes] = loop.create_future()
        self._parts: list[bytes] = []

    def data(self, payload: bytes) -> int:
        self._parts.append(payload)
        return len(payload)

    def end(self, error: RpcError | None) -> None:
        self.ended = True
        parts, self._parts = self._parts, []
        if self.future.done():
            return
        if error is None:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            if len(body) < PREFIX or body[0] or int.from_bytes(body[1:PREFIX], "big") != len(body) - PREFIX:
                error = RpcError(Code.INTERNAL, "the response is not one message")
            else:
                self.future.set_result(body[PREFIX:])
                return
        self.future.set_exception(error)


class Link(Protocol):
    """What a stream of messages needs of its connection."""

    def send(self, call: Call, body: bytes) -> None: ...
    def credit(self, call: Call, size: int) -> None: ...
    def abandon(self, call: Call, code: Code, details: str) -> None: ...


class StreamCall(Call):
    """Messages in both directions, until one side ends it. One reader at a time.

    ``most`` is how many bytes of messages may wait for their reader; beyond it the peer gets no more room to send.
    """

    __slots__ = ("_buffer", "_error", "_link", "_messages", "_most", "_queued", "_waiter", "_withheld")

    half_open = True

    def __init__(self, link: Link, most: int) -> None:
        super().__init__(None)
        self._link = link
        self._most = most
        self._buffer = bytearray()
        self._messages: deque[bytes] = deque()
        self._queued = 0
        self._withheld = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: RpcError | None = None

    def write(self, message: bytes) -> None:
        """Sends a message. Raises RpcError when the call has ended."""
        if self.ended:
            raise self._failure() or RpcError(Code.CANCELLED, "the call has ended")
        self._link.send(self, framed(message))

    async def read(self) -> bytes | None:
        """The next message; None at the end. Raises RpcError."""
        while not self._messages:
            if self.ended:
                if (error := self._failure()) is not None:
                    raise error
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        message = self._messages.popleft()
        self._queued -= len(message)
        if self._withheld and self._queued <= self._most // 2:
            room, self._withheld = self._withheld, 0
            self._link.credit(self, room)
        return message

    def cancel(self) -> None:
        """Ends the call from this side."""
        self._link.abandon(self, Code.CANCELLED, "the call was cancelled")

    def data(self, payload: bytes) -> int:
        buffer = self._buffer
        buffer += payload
        at = 0
        while len(buffer) - at >= PREFIX:
            if buffer[at]:
                self._link.abandon(self, Code.INTERNAL, "a message is compressed")
                return len(payload)
            size = int.from_bytes(buffer[at + 1 : at + PREFIX], "big")
            if len(buffer) - at - PREFIX < size:
                break
            self._messages.append(bytes(buffer[at + PREFIX : at + PREFIX + size]))
            self._queued += size
            at += PREFIX + size
        if at:
            del buffer[:at]
            self._wake()
        if self._queued > self._most:
            self._withheld += len(payload)
            return 0
        return len(payload)

    def end(self, error: RpcError | None) -> None:
        self.ended = True
        if error is None and self._buffer:
            error = RpcError(Code.INTERNAL, "the response ended within a message")
        self._error = error
        self._buffer.clear()
        self._wake()

    def _failure(self) -> RpcError | None:
        """A new one each time: an exception keeps the frames that it passed."""
        return self._error and type(self._error)(self._error.code, self._error.details)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
