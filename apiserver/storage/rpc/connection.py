"""One HTTP/2 connection to a gRPC server: its streams, their flow control, and whether it is alive.

What is written in one turn of the event loop leaves in one piece, so many calls at a time share a TLS record and a
system call; so do their responses. Room for responses is given generously, since a call's response is wanted whole; a
stream of messages stops giving room when nobody reads them (see :class:`StreamCall`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from apiserver.storage.rpc import frames
from apiserver.storage.rpc.calls import Call, Code, RpcError, StreamCall, UnaryCall, framed
from apiserver.storage.rpc.frames import HEAD, HEAD_SIZE, ProtocolError
from apiserver.storage.rpc.headers import Decoder, Headers, message_of

log = logging.getLogger(__name__)

STREAM_WINDOW = 8 * 1024 * 1024
CONNECTION_WINDOW = 1 << 30
CREDIT_AFTER = 1 << 20
"""Bytes of a stream (of the connection) after which the peer is given their room back."""
SWEEP = 0.1
"""How often calls are looked through for those whose time is up."""
PING_AFTER, PING_TIMEOUT = 10.0, 5.0
"""A silent connection with open calls is asked after so long, and given up when it does not answer."""
MAX_HEADERS = 64 * 1024
LAST_STREAM = 2**31 - 1

SETTINGS = {
    frames.HEADER_TABLE_SIZE: 0,
    frames.ENABLE_PUSH: 0,
    frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
}


class Connection(asyncio.Protocol):
    """``lost`` is called once, when no call can be made on it any more."""

    def __init__(self, lost: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost: Callable[[Connection], None] | None = lost
        self._transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """Set when the server has told its settings; an OSError when it never will."""
        self._rest = b""
        self._out: list[bytes] = []
        self._calls: dict[int, Call] = {}
        self._next = 1
        self._decoder = Decoder()
        self._open_headers: tuple[int, int, bytes] | None = None
        """Stream, flags and block of a header block that goes on in the next frame."""
        self._window = frames.DEFAULT_WINDOW
        self._taken = 0
        self._stream_window = frames.DEFAULT_WINDOW
        self._max_frame = frames.MAX_FRAME
        self._max_calls = LAST_STREAM
        self._blocked: deque[tuple[Call, bytes, bool]] = deque()
        """Pieces that wait for room: (call, bytes, whether they are its last)."""
        self._unopened: deque[tuple[Call, bytes, bytes, bool]] = deque()
        """Calls beyond what the server allows at a time: (call, headers, body, whether it is the last)."""
        self._sweeping: asyncio.TimerHandle | None = None
        self._pinging: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._error = RpcError(Code.UNAVAILABLE, "the connection is closed")

    # -- calls

    @property
    def usable(self) -> bool:
        return self._lost is not None and self._next < LAST_STREAM

    async def unary(self, block: bytes, message: bytes, deadline: float) -> bytes:
        """The response to one message; ``deadline`` is the event loop's time. Raises RpcError."""
        call = UnaryCall(self._loop, deadline)
        self._open(call, block, framed(message), last=True)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(SWEEP, self._sweep)
        try:
            return await call.future
        finally:
            if not call.ended:
                self.cancel(call)

    def stream(self, block: bytes) -> StreamCall:
        call = StreamCall(self)
        self._open(call, block, b"", last=False)
        return call

    def cancel(self, call: Call) -> None:
        self._abandon(call, RpcError(Code.CANCELLED, "the call was cancelled"))

    def _abandon(self, call: Call, error: RpcError) -> None:
        """Ends a call from this side."""
        if call.ended:
            return
        if self._calls.pop(call.id, None) is not None:
            self._write(frames.reset(call.id, frames.CANCEL))
        call.end(error)
        self._open_more()

    def _open(self, call: Call, block: bytes, body: bytes, *, last: bool) -> None:
        if not self.usable:
            call.end(self._error)
        elif len(self._calls) >= self._max_calls:
            self._unopened.append((call, block, body, last))
        else:
            call.id = self._next
            self._next += 2
            call.window = self._stream_window
            self._calls[call.id] = call
            self._write(frames.frame(frames.HEADERS, frames.END_HEADERS, call.id, block))
            if body:
                self._send(call, body, last)

    def _open_more(self) -> None:
        while self._unopened and len(self._calls) < self._max_calls:
            call, block, body, last = self._unopened.popleft()
            if not call.ended:
                self._open(call, block, body, last=last)

    # -- sending

    def send(self, call: Call, body: bytes) -> None:
        self._send(call, body, last=False)

    def _send(self, call: Call, body: bytes, last: bool) -> None:
        size = len(body)
        if size <= self._window and size <= call.window and size <= self._max_frame and not call.unsent:
            self._window -= size
            call.window -= size
            self._write(frames.frame(frames.DATA, frames.END_STREAM if last else 0, call.id, body))
        else:
            call.unsent += 1
            self._blocked.append((call, body, last))
            self._pump()

    def _pump(self) -> None:
        """Sends what waited, as far as there is room."""
        waiting, self._blocked = self._blocked, deque()
        full: set[int] = set()
        for call, body, last in waiting:
            if call.ended:
                continue
            at = 0
            while at < len(body) and call.id not in full:
                size = min(len(body) - at, self._window, call.window, self._max_frame)
                if size <= 0:
                    full.add(call.id)
                    break
                flags = frames.END_STREAM if last and at + size == len(body) else 0
                self._write(frames.frame(frames.DATA, flags, call.id, body[at : at + size]))
                self._window -= size
                call.window -= size
                at += size
            if at < len(body):
                self._blocked.append((call, body[at:], last))
            else:
                call.unsent -= 1

    def credit(self, call: Call, size: int) -> None:
        """Gives the peer room for as much as was taken from it."""
        call.taken += size
        if call.taken >= CREDIT_AFTER and not call.ended:
            self._write(frames.window_update(call.id, call.taken))
            call.taken = 0

    def _write(self, data: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    # -- receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        grown = CONNECTION_WINDOW - frames.DEFAULT_WINDOW
        self._write(frames.PREFACE + frames.settings(SETTINGS) + frames.window_update(0, grown))
        self._heard = self._loop.time()
        self._pinging = self._loop.call_later(PING_AFTER, self._ping)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        try:
            while end - at >= HEAD_SIZE:
                high, low, kind, flags, stream = HEAD.unpack_from(data, at)
                size = high << 8 | low
                if size > frames.MAX_FRAME:
                    raise ProtocolError("a frame is too large", frames.FRAME_SIZE_ERROR)
                begin = at + HEAD_SIZE
                if begin + size > end:
                    break
                at = begin + size
                self._frame(kind, flags, stream & LAST_STREAM, data[begin:at])
        except ProtocolError as error:
            self._write(frames.frame(frames.GOAWAY, 0, 0, b"\0\0\0\0" + error.code.to_bytes(4, "big")))
            self._fail(str(error))
            return
        self._rest = data[at:] if at < end else b""
        self._heard = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost: {exc}" if exc else "the server closed the connection")

    def eof_received(self) -> bool:
        return False

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._open_headers is not None and kind != frames.CONTINUATION:
            raise ProtocolError("a header block was interrupted")
        if kind == frames.DATA:
            self._data(flags, stream, payload)
        elif kind == frames.HEADERS:
            payload = frames.unpadded(flags, payload)
            self._headers(flags, stream, payload[5:] if flags & frames.HAS_PRIORITY else payload)
        elif kind == frames.WINDOW_UPDATE:
            self._more_room(stream, frames.word(payload) & LAST_STREAM)
        elif kind == frames.RST_STREAM:
            self._reset(stream, frames.word(payload))
        elif kind == frames.SETTINGS:
            if not flags & frames.ACK:
                self._settings(payload)
        elif kind == frames.PING:
            if not flags & frames.ACK:
                self._write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.GOAWAY:
            self._go_away(frames.word(payload) & LAST_STREAM, frames.word(payload, 4), payload[8:])
        elif kind == frames.CONTINUATION:
            if self._open_headers is None or self._open_headers[0] != stream:
                raise ProtocolError("CONTINUATION of nothing")
            _, first, block = self._open_headers
            self._open_headers = None
            self._headers(first | flags & frames.END_HEADERS, stream, block + payload)
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError("nothing may be pushed")

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        self._taken += len(payload)
        if self._taken >= CREDIT_AFTER:
            self._write(frames.window_update(0, self._taken))
            self._taken = 0
        call = self._calls.get(stream)
        if call is None:
            return  # it was cancelled
        padding = len(payload)
        if flags & frames.PADDED:
            payload = frames.unpadded(flags, payload)
        room = call.data(payload) + padding - len(payload)
        if room:
            self.credit(call, room)
        if flags & frames.END_STREAM:
            self._close(call, RpcError(Code.INTERNAL, "the response ended without a status"))

    def _headers(self, flags: int, stream: int, block: bytes) -> None:
        if not flags & frames.END_HEADERS:
            if len(block) > MAX_HEADERS:
                raise ProtocolError("headers are too large", frames.ENHANCE_YOUR_CALM)
            self._open_headers = stream, flags, block
            return
        headers = self._decoder.decode(block)
        call = self._calls.get(stream)
        if call is None:
            return
        if headers.get(":status", "200") != "200":
            call.status = headers[":status"]
        if flags & frames.END_STREAM:
            self._close(call, _error_of(headers, call.status))

    def _close(self, call: Call, error: RpcError | None) -> None:
        """The server has ended a call."""
        del self._calls[call.id]
        call.end(error)
        if self._unopened:
            self._open_more()

    def _more_room(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
            if self._window > frames.MAX_WINDOW:
                raise ProtocolError("the window overflows", frames.FLOW_CONTROL_ERROR)
        elif (call := self._calls.get(stream)) is not None:
            call.window += size
            if call.window > frames.MAX_WINDOW:
                raise ProtocolError("the window overflows", frames.FLOW_CONTROL_ERROR)
        if self._blocked:
            self._pump()

    def _reset(self, stream: int, code: int) -> None:
        call = self._calls.get(stream)
        if call is not None:
            kind = Code.CANCELLED if code == frames.CANCEL else Code.UNAVAILABLE
            self._close(call, RpcError(kind, f"the server reset the stream (HTTP/2 error {code})"))

    def _settings(self, payload: bytes) -> None:
        for key, value in frames.read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                if value > frames.MAX_WINDOW:
                    raise ProtocolError("the window overflows", frames.FLOW_CONTROL_ERROR)
                for call in self._calls.values():
                    call.window += value - self._stream_window
                self._stream_window = value
            elif key == frames.MAX_FRAME_SIZE:
                self._max_frame = value
            elif key == frames.MAX_CONCURRENT_STREAMS:
                self._max_calls = value
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._pump()
        self._open_more()
        if not self.ready.done():
            self.ready.set_result(None)

    def _go_away(self, last: int, code: int, text: bytes) -> None:
        """No new calls; those up to ``last`` still get their responses."""
        details = f"the server is going away (HTTP/2 error {code}) {text.decode(errors='replace')}".strip()
        self._error = RpcError(Code.UNAVAILABLE, details)
        self._retire()
        for call in [call for number, call in self._calls.items() if number > last]:
            self._close(call, self._error)
        if not self._calls:
            self.close()

    # -- life

    def close(self) -> None:
        self._fail("the connection is closed")

    def _retire(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(self)
        while self._unopened:
            self._unopened.popleft()[0].end(self._error)

    def _fail(self, text: str) -> None:
        """Ends the connection and all calls."""
        self._error = RpcError(Code.UNAVAILABLE, text)
        self._retire()
        if not self.ready.done():
            self.ready.set_exception(OSError(text))
        for timer in (self._sweeping, self._pinging):
            if timer is not None:
                timer.cancel()
        self._blocked.clear()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.end(self._error)
        if self._transport is not None:
            self._flush()
            self._transport.close()
            self._transport = None

    def _sweep(self) -> None:
        """Ends the calls whose time is up."""
        now, some = self._loop.time(), False
        queued = [item[0] for item in self._unopened]
        for call in [*self._calls.values(), *queued]:
            if call.deadline is None or call.ended:
                continue
            some = True
            if call.deadline <= now:
                self._abandon(call, RpcError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"))
        self._sweeping = self._loop.call_later(SWEEP, self._sweep) if some else None

    def _ping(self) -> None:
        silent = self._loop.time() - self._heard
        if silent >= PING_AFTER + PING_TIMEOUT:
            self._fail("the server does not answer pings")
            if self._transport is not None:
                self._transport.abort()
            return
        if silent >= PING_AFTER and self._calls:
            self._write(frames.frame(frames.PING, 0, 0, b"\0" * 8))
            wait = PING_TIMEOUT
        else:
            wait = max(PING_AFTER - silent, 0.1)
            if not self._calls:
                self._heard, wait = self._loop.time(), PING_AFTER
        self._pinging = self._loop.call_later(wait, self._ping)


def _error_of(headers: Headers, status: str) -> RpcError | None:
    """What trailers say; None for OK."""
    number = headers.get("grpc-status", "")
    if number == "0":
        return None
    if number.isdigit():
        code = Code(int(number)) if int(number) <= max(Code) else Code.UNKNOWN
        return RpcError(code, message_of(headers))
    return RpcError(Code.UNAVAILABLE, f"HTTP status {status}" if status else "the response has no status of gRPC's")
