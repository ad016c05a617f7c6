"""A gRPC server on the strict h2 library, for tests: it keeps every rule and notes whichever the client breaks.

``Wire`` joins it to a connection without a socket; ``Listener`` serves it on one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingAckReceived,
    PingReceived,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes

from apiserver.storage.rpc import frames
from apiserver.storage.rpc.calls import framed
from apiserver.storage.rpc.connection import Connection
from apiserver.storage.rpc.headers import request_block
from apiserver.storage.rpc.limits import LIMITS, Limits

BLOCK = request_block("http", "peer", "/test.Test/Echo")
HEADERS = {":status": "200", "content-type": "application/grpc"}
NEVER = 1e12
"""A deadline that no test reaches."""


@dataclass
class Request:
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None


@dataclass
class Answer:
    rest: bytearray
    trailers: dict[str, str] | None
    """None leaves the stream open."""
    padding: int | None


class Peer:
    """``answer`` is called with each whole request; ``credit``: what came is room again at once."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.requests: dict[int, Request] = {}
        self.answers: dict[int, Answer] = {}
        self.errors: list[Exception] = []
        self.pings: list[bytes] = []
        self.acknowledged, self._told = 0, 1
        self._wishes: list[dict[SettingCodes | int, int]] = []
        self.goaway: int | None = None
        self.credit = True
        self.answer: Callable[[Peer, int, bytes], None] = Peer.reply
        self.cut = 0
        """Bytes a piece; 0 for whole."""
        self._rest = b""
        """What came of the frame that is not whole yet."""
        self._began = False

    def receive(self, data: bytes) -> None:
        try:
            for piece in self._pieces(data):
                for event in self.h2.receive_data(piece):
                    self._event(event)
        except H2Error as error:
            self.errors.append(error)
        self._send_more()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        """The preface, then a frame at a time: h2 takes a new MAX_FRAME_SIZE for agreed only when all the bytes that
        brought the acknowledgement are read, and would take a larger frame right behind it for a fault."""
        self._rest += data
        if not self._began and len(self._rest) >= len(frames.PREFACE):
            self._began = True
            yield self._cut_off(len(frames.PREFACE))
        while self._began and len(self._rest) >= (size := frames.HEAD_SIZE + int.from_bytes(self._rest[:3], "big")):
            yield self._cut_off(size)

    def _cut_off(self, size: int) -> bytes:
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def _event(self, event: Any) -> None:
        if isinstance(event, RequestReceived):
            self.requests[event.stream_id] = Request(dict(event.headers))
        elif isinstance(event, DataReceived):
            self.requests[event.stream_id].body += event.data
            if self.credit and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            request = self.requests[event.stream_id]
            request.ended = True
            self.answer(self, event.stream_id, bytes(request.body[5:]))
        elif isinstance(event, StreamReset):
            self.requests[event.stream_id].reset = int(event.error_code)
            self.answers.pop(event.stream_id, None)
        elif isinstance(event, PingReceived | PingAckReceived):
            self.pings.append(event.ping_data)
        elif isinstance(event, SettingsAcknowledged):
            self.acknowledged += 1
            self._tell()
        elif isinstance(event, ConnectionTerminated):
            self.goaway = int(event.error_code)
        elif isinstance(event, WindowUpdated):
            pass

    def head(self, stream: int, headers: Mapping[str, str] = HEADERS, *, end: bool = False) -> None:
        self.h2.send_headers(stream, list(headers.items()), end_stream=end)
        self._send_more()

    def body(
        self, stream: int, data: bytes, trailers: Mapping[str, str] | None = None, padding: int | None = None
    ) -> None:
        """As far and as soon as there is room."""
        self.answers[stream] = Answer(bytearray(data), None if trailers is None else dict(trailers), padding)
        self._send_more()

    def reply(self, stream: int, message: bytes, padding: int | None = None) -> None:
        self.head(stream)
        self.body(stream, framed(message), {"grpc-status": "0"}, padding)

    def refuse(self, stream: int, status: int, text: str) -> None:
        """Trailers only."""
        self.head(stream, {**HEADERS, "grpc-status": str(status), "grpc-message": quote(text)}, end=True)

    def settings(self, **values: int) -> None:
        """When those before are acknowledged: h2 takes each acknowledgement for all that it has sent."""
        self._wishes.append({SettingCodes[name.upper()]: value for name, value in values.items()})
        self._tell()

    def _tell(self) -> None:
        if self._wishes and self.acknowledged == self._told:
            self._told += 1
            self.h2.update_settings(self._wishes.pop(0))
            self._send_more()

    def flush(self) -> None:
        self.raw(self.h2.data_to_send())

    def raw(self, data: bytes) -> None:
        step = self.cut or max(len(data), 1)
        for at in range(0, len(data), step):
            self._write(data[at : at + step])

    def _send_more(self) -> None:
        for stream, answer in list(self.answers.items()):
            while answer.rest:
                pad = 0 if answer.padding is None else answer.padding + 1
                room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size) - pad
                if room <= 0:
                    break
                piece = bytes(answer.rest[:room])
                del answer.rest[:room]
                self.h2.send_data(stream, piece, pad_length=answer.padding)
            if not answer.rest:
                del self.answers[stream]
                if answer.trailers is not None:
                    self.h2.send_headers(stream, list(answer.trailers.items()), end_stream=True)
        self.flush()


class Wire(asyncio.Transport):
    """A connection's transport that leads to a peer, a turn of the loop away. Strict: nothing is written after its
    end."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self.lost: list[Connection] = []
        self.connection = Connection(self.lost.append, limits)
        self.peer = Peer(self._arrive)
        self.aborted = self.ended = False
        self.broken: list[str] = []
        self.deaf = False
        """What is written reaches nobody."""
        self.connection.connection_made(self)
        self.peer.flush()

    def write(self, data: Any) -> None:
        if self.ended:
            self.broken.append("written after the end")
        elif not self.deaf:
            self._loop.call_soon(self.peer.receive, bytes(data))

    def _arrive(self, data: bytes) -> None:
        self._loop.call_soon(self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        if not self.ended:
            self.connection.data_received(data)

    def close(self) -> None:
        if not self.ended:
            self.ended = True
            self._loop.call_soon(self.connection.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def break_off(self, error: Exception | None = None) -> None:
        """The network's doing."""
        self.ended = True
        self.connection.connection_lost(error)

    def call(self, message: bytes = b"", deadline: float = NEVER) -> asyncio.Task[bytes]:
        return asyncio.create_task(self.connection.unary(BLOCK, message, deadline))


@asynccontextmanager
async def wired(limits: Limits = LIMITS, *, faults: bool = False) -> AsyncIterator[Wire]:
    """A ready wire. Afterwards: the client has broken no rule (but ``faults``), nothing failed unseen."""
    unseen: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    wire = Wire(limits)
    await wire.connection.ready
    yield wire
    wire.connection.close()
    await wire.connection.closed
    assert wire.lost == [wire.connection]
    assert not wire.broken and not unseen
    assert faults or not wire.peer.errors


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def turns(count: int = 10) -> None:
    """What is on its way arrives."""
    for _ in range(count):
        await asyncio.sleep(0)


def block_of(headers: Mapping[str, str]) -> bytes:
    found: bytes = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*item) for item in headers.items()])
    return found


def header_frame(stream: int, headers: Mapping[str, str], flags: int = frames.END_HEADERS) -> bytes:
    return frames.frame(frames.HEADERS, flags, stream, block_of(headers))


class Listener:
    """Peers on a port of the loopback interface; ``stop`` and ``start`` again on the same port."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.peers: list[Peer] = []
        self.transports: list[asyncio.Transport] = []
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"

    def errors(self) -> list[Exception]:
        return [error for peer in self.peers for error in peer.errors]

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Served(self), "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for transport in self.transports:
                transport.abort()
            await self._server.wait_closed()
            self._server = None


class _Served(asyncio.Protocol):
    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._peer = Peer(self._send)
        self._listener.peers.append(self._peer)
        self._listener.transports.append(self._transport)
        self._peer.flush()

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._peer.receive(data)
