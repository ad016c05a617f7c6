"""What becomes of a call's response: one message, or a stream of them; or an error.

A gRPC message is a byte that says whether it is compressed (never, here), four bytes of its size, and its content; it
begins and ends anywhere in the DATA frames.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import IntEnum
from typing import Protocol

PREFIX = 5
MAX_QUEUED = 32 * 1024 * 1024
"""Bytes of messages that nobody has read, beyond which the peer gets no more room to send."""


class Code(IntEnum):
    """https://grpc.io/docs/guides/status-codes/"""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """A call failed."""

    def __init__(self, code: Code, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class NotConnected(RpcError):
    """A call failed before it was sent: it may be made elsewhere, whatever it does."""


def framed(message: bytes) -> bytes:
    """The message with its prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Call:
    """One stream of a connection. The connection calls :meth:`data` and :meth:`end`."""

    __slots__ = ("deadline", "ended", "id", "status", "taken", "unsent", "window")

    def __init__(self, deadline: float | None) -> None:
        self.id = 0
        self.window = 0
        """Bytes that the peer will take."""
        self.taken = 0
        """Bytes that came since the peer was last given room."""
        self.unsent = 0
        """Pieces that wait for room."""
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
        if self.future.done():
            return
        if error is None:
            parts = self._parts
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
    def cancel(self, call: Call) -> None: ...


class StreamCall(Call):
    """Messages in both directions, until one side ends it."""

    __slots__ = ("_buffer", "_error", "_link", "_messages", "_queued", "_waiter", "_withheld")

    def __init__(self, link: Link) -> None:
        super().__init__(None)
        self._link = link
        self._buffer = bytearray()
        self._messages: deque[bytes] = deque()
        self._queued = 0
        self._withheld = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: RpcError | None = None

    def write(self, message: bytes) -> None:
        """Sends a message. Raises RpcError when the call has ended."""
        if self.ended:
            raise self._error or RpcError(Code.CANCELLED, "the call has ended")
        self._link.send(self, framed(message))

    async def read(self) -> bytes | None:
        """The next message; None at the end. Raises RpcError."""
        while not self._messages:
            if self.ended:
                if self._error is not None:
                    raise self._error
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        message = self._messages.popleft()
        self._queued -= len(message)
        if self._withheld and self._queued <= MAX_QUEUED // 2:
            room, self._withheld = self._withheld, 0
            self._link.credit(self, room)
        return message

    def cancel(self) -> None:
        """Ends the call from this side."""
        self._link.cancel(self)

    def data(self, payload: bytes) -> int:
        buffer = self._buffer
        buffer += payload
        at = 0
        while len(buffer) - at >= PREFIX:
            size = int.from_bytes(buffer[at + 1 : at + PREFIX], "big")
            if len(buffer) - at - PREFIX < size:
                break
            self._messages.append(bytes(buffer[at + PREFIX : at + PREFIX + size]))
            self._queued += size
            at += PREFIX + size
        if at:
            del buffer[:at]
            self._wake()
        if self._queued > MAX_QUEUED:
            self._withheld += len(payload)
            return 0
        return len(payload)

    def end(self, error: RpcError | None) -> None:
        self.ended = True
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
