"""One SPDY connection shared by the streams that the client opens.

Flow control is the connection's own: kubectl's SPDY library neither minds windows nor opens them, so neither happens
here. A stream that nobody reads fast enough stops the reading of the whole connection, and a client that does not read
stops all writers, as upstream; nothing is kept beyond STREAM_BUFFER bytes of a stream.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from kubelet.server.spdy.frames import (
    CANCEL,
    GOAWAY_PROTOCOL_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    Headers,
    Ping,
    RstStream,
    SpdyError,
    SynReply,
    SynStream,
)

log = logging.getLogger("kubelet.server")

STREAM_BUFFER = 64 * 1024
MAX_STREAMS = 512
CHUNK = 32 * 1024
IDLE_SECONDS = 4 * 3600.0
"""A connection on which nothing moves ends (upstream: streamingConnectionIdleTimeout): a client that died while the
process took no input is not seen otherwise, since nothing is read from it. kubectl pings every few seconds."""


class Pipe(Protocol):
    """The bytes beneath: an upgraded connection, or a WebSocket that carries one."""

    async def read(self) -> bytes:
        """b"" at the end."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None:
        """Waits while the client does not take what was written. Raises ConnectionError when it is gone."""

    def close(self) -> None: ...


class SpdyStream:
    """A stream that the client opened. Made by :class:`SpdyConnection`."""

    def __init__(self, connection: SpdyConnection, opening: SynStream) -> None:
        self.id = opening.stream_id
        self.headers: Headers = opening.headers
        self._connection = connection
        self._buffer = bytearray()
        self._changed = asyncio.Event()
        self._ended = opening.fin
        self._finished = opening.unidirectional
        self._discards = False

    async def read(self) -> bytes:
        """What the client has sent; b"" when it sends no more, or the connection is gone."""
        while not self._buffer and not self._ended:
            await self._change()
        data = bytes(self._buffer)
        self._buffer.clear()
        self._changed.set()
        return data

    def discard(self) -> None:
        """What the client sends here is of no interest (any more)."""
        self._discards = True
        self._buffer.clear()
        self._changed.set()

    async def write(self, data: bytes) -> None:
        """Waits while the client does not read. Raises ConnectionError when it has closed the stream or is gone."""
        for start in range(0, len(data), CHUNK):
            if self._finished:
                raise ConnectionResetError("the stream is closed")
            await self._connection.send(Data(self.id, data[start : start + CHUNK]))

    async def finish(self) -> None:
        """Nothing more is written. The client may go on."""
        if not self._finished:
            self._finished = True
            self._connection.forget_ended(self)
            await self._connection.send(Data(self.id, b"", fin=True))

    async def reset(self, status: int = CANCEL) -> None:
        if not self.closed:
            self.end()
            self._connection.forget_ended(self)
            await self._connection.send(RstStream(self.id, status))

    @property
    def closed(self) -> bool:
        return self._ended and self._finished

    async def feed(self, data: bytes) -> None:
        """Waits while the buffer is full."""
        while len(self._buffer) >= STREAM_BUFFER and not self._ended:
            await self._change()
        if not self._ended and not self._discards:
            self._buffer += data
            self._changed.set()

    def feed_end(self) -> None:
        self._ended = True
        self._changed.set()

    def end(self) -> None:
        """Both ways at once; what was not read yet is lost no sooner than it is read."""
        self._finished = True
        self.feed_end()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class SpdyConnection:
    """``run`` reads until the connection ends; the streams that the client opens come out of ``accept``."""

    def __init__(self, pipe: Pipe, idle_seconds: float = IDLE_SECONDS) -> None:
        self._pipe = pipe
        self._idle_seconds = idle_seconds
        self._moved = asyncio.get_running_loop().time()
        self._encoder, self._decoder = Encoder(), Decoder()
        self._streams: dict[int, SpdyStream] = {}
        self._opened: asyncio.Queue[SpdyStream | None] = asyncio.Queue(MAX_STREAMS + 1)
        self._last_stream_id = 0
        self._going_away = False

    async def run(self) -> None:
        """Until the client is gone, is idle for too long, or sends what is not SPDY."""
        loop = asyncio.get_running_loop()
        reading = asyncio.create_task(self._read(), name="SPDY frames")
        try:
            while not reading.done() and (left := self._moved + self._idle_seconds - loop.time()) > 0:
                await asyncio.wait({reading}, timeout=left)
            if reading.done():
                reading.result()
            else:
                log.info("SPDY connection ends: idle for %d s", self._idle_seconds)
        except SpdyError as error:
            log.info("SPDY connection ends: %s", error)
            self._pipe.write(self._encoder.encode(GoAway(self._last_stream_id, GOAWAY_PROTOCOL_ERROR)))
        except ConnectionError:
            pass
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            for stream in self._streams.values():
                stream.end()
            self._streams.clear()
            self._opened.put_nowait(None)

    async def _read(self) -> None:
        while not self._over and (data := await self._pipe.read()):
            for frame in self._decoder.feed(data):
                self._moved = asyncio.get_running_loop().time()
                await self._handle(frame)

    async def accept(self) -> SpdyStream | None:
        """The next stream of the client, already replied to; None when the connection is at its end."""
        return await self._opened.get()

    async def send(self, frame: Frame) -> None:
        # Encoded and written in one go: the order of header blocks is that of the wire.
        self._pipe.write(self._encoder.encode(frame))
        await self._pipe.drain()
        self._moved = asyncio.get_running_loop().time()

    def forget_ended(self, stream: SpdyStream) -> None:
        if stream.closed:
            self._streams.pop(stream.id, None)

    @property
    def _over(self) -> bool:
        return self._going_away and not self._streams

    async def _handle(self, frame: Frame) -> None:
        match frame:
            case Data(stream_id, data, fin):
                if (stream := self._streams.get(stream_id)) is not None:
                    await stream.feed(data)
                    if fin:
                        stream.feed_end()
                        self.forget_ended(stream)
            case SynStream():
                await self._open(frame)
            case RstStream(stream_id):
                if (stream := self._streams.pop(stream_id, None)) is not None:
                    stream.end()
            case Ping(ping_id) if ping_id % 2:
                await self.send(frame)
            case GoAway():
                self._going_away = True
            case _:
                # SETTINGS and WINDOW_UPDATE concern windows; nobody answers a stream of ours or adds headers.
                pass

    async def _open(self, frame: SynStream) -> None:
        if frame.stream_id % 2 == 0 or frame.stream_id <= self._last_stream_id:
            raise SpdyError(f"a client cannot open stream {frame.stream_id} after {self._last_stream_id}")
        self._last_stream_id = frame.stream_id
        if self._going_away:
            await self.send(RstStream(frame.stream_id, PROTOCOL_ERROR))
        elif len(self._streams) >= MAX_STREAMS or self._opened.qsize() >= MAX_STREAMS:
            await self.send(RstStream(frame.stream_id, REFUSED_STREAM))
        else:
            stream = self._streams[frame.stream_id] = SpdyStream(self, frame)
            await self.send(SynReply(frame.stream_id))
            self._opened.put_nowait(stream)
