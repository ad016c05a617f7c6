"""One HTTP/2 connection to a gRPC server: its streams, and whether it is alive.

Room for responses is given generously, since a call's response is wanted whole; a stream of messages stops giving room
when nobody reads them (see :class:`StreamCall`). Every error is made anew for its call, since an exception keeps the
frames that it passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from apiserver.storage.rpc import frames
from apiserver.storage.rpc.calls import Call, StreamCall, UnaryCall, framed
from apiserver.storage.rpc.frames import LAST_STREAM, ProtocolError
from apiserver.storage.rpc.headers import Decoder
from apiserver.storage.rpc.limits import LIMITS, Limits
from apiserver.storage.rpc.reading import Reader
from apiserver.storage.rpc.sending import Sender, grown
from apiserver.storage.rpc.statuses import Code, NotConnected, RpcError, of_reset, of_trailers, without_trailers


class Connection(asyncio.Protocol):
    """``lost`` is called once, when no call can be made on it any more."""

    def __init__(self, lost: Callable[[Connection], None], limits: Limits = LIMITS) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost: Callable[[Connection], None] | None = lost
        self._limits = limits
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """Set when the server has told its settings; an OSError when it never will."""
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Set when the socket is closed."""
        self._sender = Sender(self._loop)
        self._write = self._sender.write
        self._reader = Reader()
        self._calls: dict[int, Call] = {}
        self._next = 1
        self._decoder = Decoder()
        self._taken = 0
        self._stream_window = frames.DEFAULT_WINDOW
        self._max_calls = LAST_STREAM
        self._unopened: dict[Call, tuple[bytes, bytes, bool]] = {}
        """Calls beyond what the server allows at a time: headers, body, whether it is the last."""
        self._sweeping: asyncio.TimerHandle | None = None
        self._pinging: asyncio.TimerHandle | None = None
        self._heard = self._asked = 0.0
        """When the server was last heard of, and asked."""
        self._ended = False
        self._why = "the connection is closed"

    # -- calls

    @property
    def usable(self) -> bool:
        return self._lost is not None

    async def unary(self, block: bytes, message: bytes, deadline: float) -> bytes:
        """The response to one message; ``deadline`` is the event loop's time. Raises RpcError."""
        call = UnaryCall(self._loop, deadline)
        self._open(call, block, framed(message), last=True)
        if self._sweeping is None and not call.ended:
            self._sweeping = self._loop.call_later(self._limits.sweep, self._sweep)
        try:
            return await call.future
        finally:
            if not call.ended:
                self.abandon(call, Code.CANCELLED, "the call was cancelled")
            del call  # an error keeps this frame: it must not lead back to the error

    def stream(self, block: bytes) -> StreamCall:
        call = StreamCall(self, self._limits.queued)
        self._open(call, block, b"", last=False)
        return call

    def abandon(self, call: Call, code: Code, details: str) -> None:
        """Ends a call from this side."""
        if call.ended:
            return
        self._unopened.pop(call, None)
        if self._calls.pop(call.id, None) is not None:
            self._write(frames.reset(call.id, frames.CANCEL))
        call.end(self._failure(call, code, details))
        self._after_a_call()

    def _failure(self, call: Call, code: Code, details: str) -> RpcError:
        """Drops what the call has not sent. A server begins with a call of one message when it has all of it."""
        begun = not self._sender.drop(call) or call.half_open
        return RpcError(code, details) if begun and call.id else NotConnected(code, details)

    def send(self, call: Call, body: bytes) -> None:
        """More of an open call."""
        if call.id:
            self._sender.send(call, body, last=False)
        else:
            block, before, last = self._unopened[call]
            self._unopened[call] = block, before + body, last

    def credit(self, call: Call, size: int) -> None:
        """Gives the peer room for as much as was taken from it."""
        call.taken += size
        if call.taken >= self._limits.credit_after and not call.ended:
            self._write(frames.window_update(call.id, call.taken))
            call.taken = 0

    def _open(self, call: Call, block: bytes, body: bytes, *, last: bool) -> None:
        if self._lost is None:
            call.end(NotConnected(Code.UNAVAILABLE, self._why))
        elif len(self._calls) >= self._max_calls:
            self._unopened[call] = block, body, last
        else:
            call.id = self._next
            call.window = self._stream_window
            self._calls[call.id] = call
            self._write(frames.frame(frames.HEADERS, frames.END_HEADERS, call.id, block))
            if body:
                self._sender.send(call, body, last)
            self._next += 2
            if self._next > LAST_STREAM:
                self._retire("the connection has no more streams")

    def _after_a_call(self) -> None:
        """One has ended: others may begin; the last one of a connection that takes no more closes it."""
        while self._unopened and len(self._calls) < self._max_calls:
            call = next(iter(self._unopened))
            block, body, last = self._unopened.pop(call)
            self._open(call, block, body, last=last)
        if self._lost is None and not self._calls:
            self._end(self._why)

    # -- receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._sender.open(transport)  # type: ignore[arg-type]
        limits = self._limits
        told = frames.settings(
            {
                frames.HEADER_TABLE_SIZE: 0,
                frames.ENABLE_PUSH: 0,
                frames.INITIAL_WINDOW_SIZE: limits.stream_window,
            }
        )
        self._write(frames.PREFACE + told)
        if limits.connection_window > frames.DEFAULT_WINDOW:
            self._write(frames.window_update(0, limits.connection_window - frames.DEFAULT_WINDOW))
        self._heard = self._loop.time()
        self._pinging = self._loop.call_later(limits.ping_after, self._ping)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            for kind, flags, stream, payload in self._reader.read(data):
                if kind == frames.DATA:
                    self._data(flags, stream, payload)
                elif kind == frames.HEADERS:
                    self._headers(flags, stream, payload)
                else:
                    self._frame(kind, flags, stream, payload)
        except ProtocolError as error:
            self._write(frames.frame(frames.GOAWAY, 0, 0, b"\0\0\0\0" + error.code.to_bytes(4, "big")))
            self._end(str(error) if self.ready.done() else f"{error}: is this HTTP/2?")
        self._heard = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._sender.abort()
        self._end(f"connection lost: {exc}" if exc else "the server closed the connection")
        if not self.closed.done():
            self.closed.set_result(None)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.WINDOW_UPDATE:
            self._more_room(stream, frames.word(payload) & LAST_STREAM)
        elif kind == frames.RST_STREAM:
            if (call := self._call(stream)) is not None:
                self._close(call, of_reset(frames.word(payload)))
        elif kind == frames.SETTINGS:
            self._settings(flags, stream, payload)
        elif kind == frames.PING:
            if len(payload) != 8:
                raise ProtocolError("PING of a broken size", frames.FRAME_SIZE_ERROR)
            if not flags & frames.ACK:
                self._write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.GOAWAY:
            self._go_away(frames.word(payload) & LAST_STREAM, frames.word(payload, 4), payload[8:])
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError("nothing may be pushed")

    def _call(self, stream: int) -> Call | None:
        """The call of a frame; None when it has ended here. Raises ProtocolError for one that was never made."""
        call = self._calls.get(stream)
        if call is None and (stream >= self._next or not stream & 1):
            raise ProtocolError(f"a frame of stream {stream}, which was never opened")
        return call

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        self._taken += len(payload)
        if self._taken >= self._limits.credit_after:
            self._write(frames.window_update(0, self._taken))
            self._taken = 0
        call = self._call(stream)
        if call is None:
            return
        padding = len(payload)
        if flags & frames.PADDED:
            payload = frames.unpadded(flags, payload)
        room = call.data(payload) + padding - len(payload)
        if flags & frames.END_STREAM:
            self._answered(call, without_trailers(call.status))
        elif room:
            self.credit(call, room)

    def _headers(self, flags: int, stream: int, block: bytes) -> None:
        headers = self._decoder.decode(block)
        call = self._call(stream)
        if call is None:
            return
        status = headers.get(":status", "200")
        if status != "200" and not status.startswith("1"):
            call.status = status
        if flags & frames.END_STREAM:
            self._answered(call, of_trailers(headers, call.status))

    def _answered(self, call: Call, error: RpcError | None) -> None:
        """The server has said all. Where this side has not, it never will."""
        if call.ended:
            return  # by its last bytes
        if self._sender.drop(call) or call.half_open:
            self._write(frames.reset(call.id, frames.CANCEL))
        self._close(call, error)

    def _close(self, call: Call, error: RpcError | None) -> None:
        del self._calls[call.id]
        self._sender.drop(call)
        call.end(error)
        if self._unopened or self._lost is None:
            self._after_a_call()

    def _more_room(self, stream: int, size: int) -> None:
        if size == 0:
            raise ProtocolError("WINDOW_UPDATE of nothing")
        if stream == 0:
            self._sender.more_room(size)
        elif (call := self._call(stream)) is not None:
            self._sender.more_room_for(call, size)

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ProtocolError("SETTINGS of one stream")
        if flags & frames.ACK:
            return
        for key, value in frames.read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                grown(0, value)
                for call in self._calls.values():
                    call.window = grown(call.window, value - self._stream_window)
                self._stream_window = value
            elif key == frames.MAX_FRAME_SIZE:
                if not frames.MAX_FRAME <= value < 1 << 24:
                    raise ProtocolError("frames of such a size may not be")
                self._sender.max_frame = value
            elif key == frames.MAX_CONCURRENT_STREAMS:
                self._max_calls = value
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._sender.pump()
        self._after_a_call()
        if not self.ready.done():
            self.ready.set_result(None)

    def _go_away(self, last: int, code: int, text: bytes) -> None:
        """No new calls; those up to ``last`` still get their responses, the others were not begun."""
        self._retire(f"the server is going away (HTTP/2 error {code}) {text.decode(errors='replace')}".strip())
        for number in [number for number in self._calls if number > last]:
            call = self._calls.pop(number)
            self._sender.drop(call)
            call.end(NotConnected(Code.UNAVAILABLE, self._why))
        self._after_a_call()

    # -- life

    def close(self) -> None:
        """Ends all calls; ``closed`` tells when the socket is closed too."""
        self._end("the connection is closed")

    def _retire(self, why: str) -> None:
        """No new calls."""
        lost, self._lost = self._lost, None
        if lost is None:
            return
        self._why = why
        lost(self)
        while self._unopened:
            self._unopened.popitem()[0].end(NotConnected(Code.UNAVAILABLE, why))

    def _end(self, why: str) -> None:
        """Ends the connection and all calls."""
        if self._ended:
            return
        self._ended = True
        self._retire(why)
        if not self.ready.done():
            self.ready.set_exception(OSError(why))
            self.ready.exception()  # nobody may be waiting
        for timer in (self._sweeping, self._pinging):
            if timer is not None:
                timer.cancel()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.end(self._failure(call, Code.UNAVAILABLE, why))
        self._sender.close()

    def _sweep(self) -> None:
        """Ends the calls whose time is up."""
        now, some, late = self._loop.time(), False, []
        for calls in (self._calls.values(), self._unopened):
            for call in calls:
                if call.deadline is not None:
                    some = True
                    if call.deadline <= now:
                        late.append(call)
        if late and now - self._heard >= self._limits.ping_after and self._asked <= self._heard:
            self._ask(now)  # before the calls end: a server may resent the question when there are none
        for call in late:
            self.abandon(call, Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        if not self._ended:
            self._sweeping = self._loop.call_later(self._limits.sweep, self._sweep) if some else None

    def _ping(self) -> None:
        now = self._loop.time()
        silent = now - self._heard
        if self._asked > self._heard:
            self._sender.abort()  # nobody takes the last bytes
            self._end("the server does not answer pings")
        elif silent < self._limits.ping_after:
            self._pinging = self._loop.call_later(self._limits.ping_after - silent, self._ping)
        elif self._calls:
            self._ask(now)
        else:
            self._pinging = self._loop.call_later(self._limits.ping_after, self._ping)

    def _ask(self, now: float) -> None:
        self._asked = now
        self._write(frames.frame(frames.PING, 0, 0, b"\0" * 8))
        if self._pinging is not None:
            self._pinging.cancel()
        self._pinging = self._loop.call_later(self._limits.ping_timeout, self._ping)
