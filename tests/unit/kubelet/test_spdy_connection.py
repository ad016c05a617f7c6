"""One SPDY connection and its streams, over a pipe that lives in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kubelet.server.channels import ProtocolError, Resize
from kubelet.server.remotecommand import SpdyClient, expected_streams, plain
from kubelet.server.session import ClientGone, Stdin
from kubelet.server.spdy.connection import CHUNK, MAX_STREAMS, STREAM_BUFFER, SpdyConnection, SpdyStream
from kubelet.server.spdy.frames import (
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    Ping,
    RstStream,
    SynReply,
    SynStream,
    WindowUpdate,
)

LIMIT = 10


class Peer:
    """The client's end of the pipe."""

    def __init__(self) -> None:
        self._encoder, self._decoder = Encoder(), Decoder()
        self._inward: asyncio.Queue[bytes] = asyncio.Queue()
        self.got: list[Frame] = []

    def send(self, *frames: Frame) -> None:
        for frame in frames:
            self._inward.put_nowait(self._encoder.encode(frame))

    def go(self) -> None:
        self._inward.put_nowait(b"")

    @property
    def unread(self) -> int:
        return self._inward.qsize()

    async def read(self) -> bytes:
        return await self._inward.get()

    def write(self, data: bytes) -> None:
        self.got += self._decoder.feed(data)

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def close(self) -> None: ...


async def settle(rounds: int = 50) -> None:
    """Lets everything run that can."""
    for _ in range(rounds):
        await asyncio.sleep(0)


@pytest.fixture
async def peer() -> Peer:
    return Peer()


@pytest.fixture
async def connection(peer: Peer) -> SpdyConnection:
    return SpdyConnection(peer)


@pytest.fixture
async def reading(connection: SpdyConnection) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(connection.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def opened(peer: Peer, connection: SpdyConnection, stream_id: int = 1, **headers: str) -> SpdyStream:
    peer.send(SynStream(stream_id, headers))
    stream = await asyncio.wait_for(connection.accept(), LIMIT)
    assert stream is not None
    return stream


@pytest.mark.usefixtures("reading")
async def test_a_stream_both_ways(peer: Peer, connection: SpdyConnection) -> None:
    stream = await opened(peer, connection, streamtype="data")
    assert stream.headers == {"streamtype": "data"}
    peer.send(Data(1, b"abc"), Ping(5), Ping(6), WindowUpdate(1, 10), Data(1, b"", fin=True))
    assert await stream.read() == b"abc"
    assert await stream.read() == b""
    await stream.write(b"x" * (CHUNK + 1))
    await stream.finish()
    await settle()
    sent = [Data(1, b"x" * CHUNK), Data(1, b"x"), Data(1, b"", fin=True)]
    assert peer.got == [SynReply(1), Ping(5), *sent]
    with pytest.raises(ConnectionError):
        await stream.write(b"late")


@pytest.mark.usefixtures("reading")
async def test_a_stream_that_nobody_reads_stops_the_client(peer: Peer, connection: SpdyConnection) -> None:
    stream = await opened(peer, connection)
    for _ in range(20):
        peer.send(Data(1, bytes(STREAM_BUFFER // 4)))
    await settle()
    assert peer.unread == 15
    assert len(await stream.read()) == STREAM_BUFFER
    await settle()
    assert peer.unread == 11
    stream.discard()
    await settle()
    assert peer.unread == 0


async def test_streams_end_with_their_client(
    peer: Peer, connection: SpdyConnection, reading: asyncio.Task[None]
) -> None:
    stream = await opened(peer, connection)
    waiting = asyncio.create_task(stream.read())
    peer.go()
    assert await asyncio.wait_for(waiting, LIMIT) == b""
    assert await asyncio.wait_for(connection.accept(), LIMIT) is None
    await asyncio.wait_for(reading, LIMIT)
    with pytest.raises(ConnectionError):
        await stream.write(b"x")


@pytest.mark.usefixtures("reading")
async def test_a_reset_stream_is_gone_and_others_are_not(peer: Peer, connection: SpdyConnection) -> None:
    first, second = await opened(peer, connection, 1), await opened(peer, connection, 3)
    peer.send(RstStream(1, 5), Data(1, b"late"), Data(3, b"here"))
    assert await asyncio.wait_for(first.read(), LIMIT) == b""
    assert await asyncio.wait_for(second.read(), LIMIT) == b"here"
    await second.reset()
    assert peer.got[-1] == RstStream(3, 5)


async def test_goodbye_ends_the_connection_after_its_streams(
    peer: Peer, connection: SpdyConnection, reading: asyncio.Task[None]
) -> None:
    stream = await opened(peer, connection)
    peer.send(GoAway(0), SynStream(3), Data(1, b"last", fin=True))
    assert await stream.read() == b"last"
    assert not reading.done()
    await stream.finish()
    peer.send(Ping(1))
    await asyncio.wait_for(reading, LIMIT)
    assert RstStream(3, 1) in peer.got


async def test_a_client_that_does_nothing_is_let_go_even_when_it_is_not_listened_to(peer: Peer) -> None:
    connection = SpdyConnection(peer, idle_seconds=0.2)
    reading = asyncio.create_task(connection.run())
    stream = await opened(peer, connection)
    peer.send(Data(1, bytes(STREAM_BUFFER)), Data(1, b"held back"))
    await asyncio.wait_for(reading, LIMIT)
    assert len(await stream.read()) == STREAM_BUFFER
    assert await asyncio.wait_for(stream.read(), LIMIT) == b""


@pytest.mark.parametrize("ids", [(2,), (3, 3), (3, 1)])
async def test_ids_that_a_client_may_not_use(
    peer: Peer, connection: SpdyConnection, reading: asyncio.Task[None], ids: tuple[int, ...]
) -> None:
    peer.send(*map(SynStream, ids))
    await asyncio.wait_for(reading, LIMIT)
    assert isinstance(peer.got[-1], GoAway) and peer.got[-1].status == 1


@pytest.mark.usefixtures("reading")
async def test_streams_are_bounded(peer: Peer, connection: SpdyConnection) -> None:
    peer.send(*(SynStream(2 * number + 1) for number in range(MAX_STREAMS + 1)))
    await settle(4 * MAX_STREAMS)
    assert peer.got[-1] == RstStream(2 * MAX_STREAMS + 1, 3)
    assert all(isinstance(frame, SynReply) for frame in peer.got[:-1])


def test_the_streams_that_options_ask_for() -> None:
    asked = {"stdin": True, "stdout": True, "stderr": True}
    assert expected_streams("v4.channel.k8s.io", **asked, tty=False) == {"error", "stdin", "stdout", "stderr"}
    assert expected_streams("v4.channel.k8s.io", **asked, tty=True) == {"error", "stdin", "stdout", "resize"}
    assert expected_streams("v2.channel.k8s.io", **asked, tty=True) == {"error", "stdin", "stdout"}
    assert expected_streams("v4.channel.k8s.io", stdin=False, stdout=False, stderr=False, tty=False) == {"error"}


def test_older_protocols_tell_failures_only() -> None:
    assert plain(b'{"metadata":{},"status":"Success"}') == b""
    assert plain(b'{"status":"Failure","message":"no"}') == b"no"


@pytest.fixture
async def client(peer: Peer, connection: SpdyConnection, reading: asyncio.Task[None]) -> SpdyClient:
    names = ("error", "stdin", "resize", "surplus")
    peer.send(*(SynStream(2 * number + 1, {"streamtype": name}) for number, name in enumerate(names)))
    expected = frozenset(("error", "stdin", "resize"))
    return await SpdyClient.of(connection, reading, "v4.channel.k8s.io", expected)


async def test_a_session_hears_input_and_sizes_and_the_end_of_each(peer: Peer, client: SpdyClient) -> None:
    peer.send(Data(5, b'{"Width":8'), Data(3, b"typed"))
    assert await client.receive() == Stdin(b"typed")
    peer.send(Data(5, b'0,"Height":24}\n'))
    assert await client.receive() == Resize(80, 24)
    peer.send(Data(3, b"", fin=True))
    assert await client.receive() == Stdin(b"")
    peer.go()
    with pytest.raises(ClientGone):
        await asyncio.wait_for(client.receive(), LIMIT)


@pytest.mark.parametrize("data", [b"nonsense\n", b"x" * 5000])
async def test_a_size_that_is_none(peer: Peer, client: SpdyClient, data: bytes) -> None:
    peer.send(Data(5, data))
    with pytest.raises(ProtocolError):
        await asyncio.wait_for(client.receive(), LIMIT)


async def test_output_that_was_not_asked_for_goes_nowhere(peer: Peer, client: SpdyClient) -> None:
    await client.send("stdout", b"x")
    await client.send_status(b"{}")
    assert [frame for frame in peer.got if isinstance(frame, Data)] == [Data(1, b"{}")]
