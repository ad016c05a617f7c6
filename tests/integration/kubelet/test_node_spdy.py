"""SPDY on the kubelet's HTTPS server: remote commands and forwarded ports, by a client that shares only the framing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Frame as WebSocketFrame
from websockets.protocol import CLIENT, OPEN, Protocol

from common.serving import TLSOptions, serve
from common.tunnel import SpdyTunnelProtocol
from kubelet.server.app import KubeletServer
from kubelet.server.spdy.frames import Data, Decoder, Encoder, Frame, GoAway, Ping, RstStream, SynReply, SynStream
from kubelet.stats.collector import StatsCollector

LIMIT = 10


class Session:
    """Echoes its stdin, then writes to stderr and ends with ``code``; or writes for ever."""

    def __init__(self, *, code: int = 0, endless: bool = False) -> None:
        self.code, self.endless = code, endless
        self.written = 0
        self.sizes: list[tuple[int, int]] = []
        self.closed = asyncio.Event()
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue(4)

    async def frames(self) -> AsyncIterator[tuple[str, bytes]]:
        while self.endless:
            self.written += 1 << 16
            yield "stdout", b"x" * (1 << 16)
            await asyncio.sleep(0)
        while data := await self._stdin.get():
            yield "stdout", data
        yield "stderr", b"done\n"

    async def write(self, data: bytes) -> None:
        await self._stdin.put(data)

    async def close_stdin(self) -> None:
        await self._stdin.put(b"")

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))

    async def exit_code(self) -> int:
        return self.code

    async def close(self) -> None:
        self.closed.set()


class Runtime:
    session: Session

    async def exec(self, container_id: str, command: Sequence[str], **_: Any) -> Session:
        return self.session


class OnePod:
    def running_container_id(self, *_: Any) -> str:
        return "c"

    def sandbox_pid(self, *_: Any) -> int:
        return os.getpid()

    def get_pod(self, *_: Any) -> None:
        return None


class SpdyClient:
    """``received`` holds what came on each stream, ``ended`` the streams that the server finished or reset."""

    def __init__(self, read: Callable[[], Any], write: Callable[[bytes], Any]) -> None:
        self._read, self._write = read, write
        self._encoder, self._decoder = Encoder(), Decoder()
        self.received: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.seen: list[Frame] = []

    async def send(self, *frames: Frame) -> None:
        await self._write(b"".join(self._encoder.encode(frame) for frame in frames))

    async def until(self, check: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT):
            while not check():
                data = await self._read()
                assert data, "the server ended the connection"
                for frame in self._decoder.feed(data):
                    self._take(frame)

    def _take(self, frame: Frame) -> None:
        self.seen.append(frame)
        if isinstance(frame, SynReply):
            self.received[frame.stream_id] = b""
        elif isinstance(frame, Data):
            self.received[frame.stream_id] += frame.data
        if isinstance(frame, RstStream) or (isinstance(frame, Data) and frame.fin):
            self.ended.add(frame.stream_id)

    async def open(self, *headers: dict[str, str]) -> None:
        """Streams 1, 3, 5, … in this order, each replied to."""
        ids = [2 * number + 1 for number in range(len(headers))]
        await self.send(*(SynStream(number, each) for number, each in zip(ids, headers, strict=True)))
        await self.until(lambda: self.received.keys() >= set(ids))


@pytest.fixture
async def runtime() -> Runtime:
    runtime = Runtime()
    runtime.session = Session()
    return runtime


@pytest.fixture
async def port(certificates: Path, runtime: Runtime) -> AsyncIterator[int]:
    async def well() -> None: ...

    stats = StatsCollector(runtime, "node-a", Path("/"))  # type: ignore[arg-type]
    app = KubeletServer(OnePod(), runtime, stats, well, None).app()  # type: ignore[arg-type]
    names = ("kubelet-node-a.crt", "kubelet-node-a.key", "ca.crt")
    tls = TLSOptions(*(str(certificates / name) for name in names))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    listening = asyncio.Event()
    serving = asyncio.create_task(
        serve(app, host="127.0.0.1", port=free, tls=tls, protocol=SpdyTunnelProtocol, started=listening.set)
    )
    await asyncio.wait_for(listening.wait(), LIMIT)
    yield free
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
def tls(certificates: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    name = "apiserver-kubelet-client"
    context.load_cert_chain(certificates / f"{name}.crt", certificates / f"{name}.key")
    return context


class Dialled:
    """An upgraded connection, or the answer that it was refused with."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader, self.writer, self.head = reader, writer, head

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        self.spdy = SpdyClient(lambda: reader.read(1 << 16), write)


@pytest.fixture
async def dial(port: int, tls: ssl.SSLContext) -> AsyncIterator[Callable[..., Any]]:
    opened: list[asyncio.StreamWriter] = []

    async def dial(path: str, *protocols: str) -> Dialled:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 16)
        opened.append(writer)
        lines = [f"POST {path} HTTP/1.1", "Host: node-a", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
        lines += [f"X-Stream-Protocol-Version: {protocol}" for protocol in protocols]
        writer.write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT)
        return Dialled(reader, writer, head.decode())

    yield dial
    for writer in opened:
        writer.transport.abort()


EXEC = "/exec/default/web/app?command=sh&input=1&output=1&error=1"
STREAMS = [{"streamtype": name} for name in ("error", "stdin", "stdout", "stderr")]


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v3.channel.k8s.io"])
async def test_exec(dial: Callable[..., Any], runtime: Runtime, protocol: str) -> None:
    runtime.session = Session(code=3)
    dialled = await dial(EXEC, "v9.channel.k8s.io", protocol)
    assert dialled.head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
    assert f"X-Stream-Protocol-Version: {protocol}\r\n" in dialled.head
    client = dialled.spdy
    await client.open(*STREAMS)
    await client.send(Data(3, b"hello"), Ping(1))
    await client.until(lambda: client.received[5] == b"hello" and Ping(1) in client.seen)
    await client.send(Data(3, b"", fin=True))
    await client.until(lambda: client.ended >= {1, 5, 7})
    assert client.received[7] == b"done\n"
    if protocol == "v4.channel.k8s.io":
        status = json.loads(client.received[1])
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    else:
        assert client.received[1].startswith(b"command terminated with non-zero exit code")
    await client.send(GoAway(0), *(RstStream(number, 5) for number in (1, 3, 5, 7)))
    assert await asyncio.wait_for(dialled.reader.read(), LIMIT) == b"", "who has all and says goodbye is let go"
    await asyncio.wait_for(runtime.session.closed.wait(), LIMIT)


async def test_a_terminal_has_a_stream_for_its_size(dial: Callable[..., Any], runtime: Runtime) -> None:
    dialled = await dial(EXEC + "&tty=1", "v4.channel.k8s.io")
    client = dialled.spdy
    await client.open(*({"streamtype": name} for name in ("error", "stdin", "stdout", "resize")))
    sizes = b'{"Width":80,"Height":24}\n{"Width":100,"Height":30}\n'
    await client.send(Data(7, sizes[:30]), Data(7, sizes[30:]), Data(3, b"x"))
    await client.until(lambda: client.received[5] == b"x")
    await client.send(Data(3, b"", fin=True))
    await client.until(lambda: client.ended >= {1, 5})
    assert runtime.session.sizes == [(80, 24), (100, 30)]
    assert json.loads(client.received[1])["status"] == "Success"


async def test_no_common_protocol(dial: Callable[..., Any]) -> None:
    dialled = await dial(EXEC, "v9.channel.k8s.io")
    assert dialled.head.startswith("HTTP/1.1 403 ")
    text = await asyncio.wait_for(dialled.reader.read(), LIMIT)
    assert b"client supports [v9.channel.k8s.io], server accepts [v4.channel.k8s.io" in text
    assert (await dial(EXEC)).head.startswith("HTTP/1.1 400 ")


async def test_a_slow_client_holds_the_process_back(dial: Callable[..., Any], runtime: Runtime) -> None:
    runtime.session = session = Session(endless=True)
    dialled = await dial(EXEC, "v4.channel.k8s.io")
    await dialled.spdy.open(*STREAMS)
    settled = -1
    while settled != session.written:
        settled = session.written
        await asyncio.sleep(0.5)
    assert 0 < settled < 64 << 20
    dialled.writer.transport.abort()
    await asyncio.wait_for(session.closed.wait(), LIMIT)


async def test_garbage_ends_the_session(dial: Callable[..., Any], runtime: Runtime) -> None:
    dialled = await dial(EXEC, "v4.channel.k8s.io")
    await dialled.spdy.open(*STREAMS)
    dialled.writer.write(b"\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01")
    await dialled.spdy.until(lambda: isinstance(dialled.spdy.seen[-1], GoAway))
    await asyncio.wait_for(runtime.session.closed.wait(), LIMIT)


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A port of this machine that gives back what it gets, once it has got all."""

    async def serve_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve_echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def pair(port: int, request: str) -> list[dict[str, str]]:
    return [{"streamtype": kind, "port": str(port), "requestid": request} for kind in ("error", "data")]


async def forwards(client: SpdyClient, port: int, closed: int) -> None:
    """Two connections at a time: one to an open port, one to a closed one."""
    await client.open(*pair(port, "0"), *pair(closed, "1"))
    sent = os.urandom(300_000)
    await client.send(*(Data(3, sent[at : at + 30_000]) for at in range(0, len(sent), 30_000)), Data(3, b"", fin=True))
    await client.until(lambda: client.ended >= {1, 3, 5, 7})
    assert client.received[3] == sent
    assert client.received[1] == b""
    text = client.received[5].decode()
    assert text.startswith(f"error forwarding port {closed} to pod web, uid ")
    assert f"dial tcp4 127.0.0.1:{closed}: connect: connection refused" in text


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_port_forward(dial: Callable[..., Any], echo: int) -> None:
    dialled = await dial("/portForward/default/web", "portforward.k8s.io")
    assert dialled.head.startswith("HTTP/1.1 101 ")
    await forwards(dialled.spdy, echo, closed_port())


async def test_port_forward_in_a_websocket(port: int, tls: ssl.SSLContext, echo: int) -> None:
    """The name of the subprotocol is none that a WebSocket library lets through: only its framing serves here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    lines = ("GET /portForward/default/web HTTP/1.1", "Host: node-a", "Connection: Upgrade", "Upgrade: websocket")
    lines += ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    lines += ("Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io", "", "")
    writer.write("\r\n".join(lines).encode())
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT)).decode()
    assert head.startswith("HTTP/1.1 101 ")
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n" in head
    protocol = Protocol(CLIENT, state=OPEN)

    async def write(data: bytes) -> None:
        # Frames of SPDY and messages of the WebSocket need not coincide.
        for piece in (data[:5], data[5:]):
            protocol.send_binary(piece)
        writer.write(b"".join(protocol.data_to_send()))
        await writer.drain()

    async def read() -> bytes:
        data = b""
        while not data:
            protocol.receive_data(await reader.read(1 << 16))
            events = protocol.events_received()
            data = b"".join(event.data for event in events if isinstance(event, WebSocketFrame))
        return data

    try:
        await forwards(SpdyClient(read, write), echo, closed_port())
        protocol.send_close(1000)
        writer.write(b"".join(protocol.data_to_send()))
        assert await asyncio.wait_for(reader.read(), LIMIT) == b"\x88\x02\x03\xe8", "the close is answered"
    finally:
        writer.transport.abort()


async def test_streams_of_no_port_are_reset(dial: Callable[..., Any]) -> None:
    client = (await dial("/portForward/default/web", "portforward.k8s.io")).spdy
    await client.open({"streamtype": "data", "port": "70000", "requestid": "0"}, {"streamtype": "data", "port": "80"})
    await client.until(lambda: client.ended == {1, 3})
