"""Calls over real sockets, on both event loops: servers that are absent, come later, die, return, or are not what they
should be."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apiserver.storage.rpc import Channel, Code, NotConnected, RpcError
from apiserver.storage.rpc.limits import LIMITS
from tests.unit.apiserver.grpc_peer import Listener, Peer, until

PATH = "/test.Test/Echo"
QUICK = replace(LIMITS, connect=0.3, first_pause=0.005, last_pause=0.01, sweep=0.01)


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    server = Listener()
    await server.start()
    yield server
    await server.stop()
    assert not server.errors() and not unseen


def contexts(path: Path, name: str, alpn: list[str]) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, with a certificate for ``name``, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (path / f"{name}.pem").write_bytes(pem + secret)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path / f"{name}.pem")
    if alpn:
        server.set_alpn_protocols(alpn)
    client = ssl.create_default_context(cadata=pem.decode())
    client.set_alpn_protocols(["h2"])
    return server, client


async def test_many_calls_over_one_connection(listener: Listener) -> None:
    channel = Channel(listener.url, limits=QUICK)
    messages = [bytes([n]) * n * 3000 for n in range(200)]
    assert await asyncio.gather(*(channel.unary(PATH, m, 20) for m in messages)) == messages
    assert len(listener.peers) == 1 and channel.usable
    await channel.close()
    assert not channel.usable and not channel._open
    with pytest.raises(NotConnected, match="closed"):
        await channel.unary(PATH, b"", 5)


async def test_a_server_that_is_absent_comes_later_dies_and_returns(listener: Listener) -> None:
    await listener.stop()
    channel = Channel(listener.url, limits=QUICK)
    with pytest.raises(NotConnected, match="connecting to"):
        await channel.unary(PATH, b"x", 0.05)
    with pytest.raises(NotConnected):
        await channel.connect(0)
    early = asyncio.create_task(channel.unary(PATH, b"early", 10))
    await listener.start()
    assert await early == b"early"
    for _ in range(2):
        listener.peers[-1].answer = lambda peer, stream, message: None
        lost = asyncio.create_task(channel.unary(PATH, b"x", 10))
        stream = await channel.stream(PATH, 10)
        await until(lambda: len(listener.peers[-1].requests) >= 2)
        await listener.stop()
        for broken in (lost, stream.read()):
            with pytest.raises(RpcError) as found:
                await broken
            assert found.value.code == Code.UNAVAILABLE and not isinstance(found.value, NotConnected)
        assert not channel.usable
        await listener.start()
        assert await channel.unary(PATH, b"again", 10) == b"again"
    await channel.close()


async def test_new_calls_leave_a_server_that_goes_away(listener: Listener) -> None:
    channel = Channel(listener.url, limits=QUICK)
    await channel.connect(5)
    first = listener.peers[0]
    first.answer = lambda peer, stream, message: None
    held = asyncio.create_task(channel.unary(PATH, b"held", 10))
    await until(lambda: first.requests)
    first.raw(b"\0\0\x08\x07\0\0\0\0\0" + b"\0\0\0\1\0\0\0\0")
    await until(lambda: not channel.usable)
    assert await channel.unary(PATH, b"new", 10) == b"new"
    assert len(listener.peers) == 2
    Peer.reply(first, 1, b"held")
    assert await held == b"held"
    await until(lambda: len(channel._open) == 1)
    first.answer = Peer.reply
    await channel.close()


async def test_a_caller_that_gives_up_does_not_end_the_attempt_of_others(listener: Listener) -> None:
    await listener.stop()
    channel = Channel(listener.url, limits=QUICK)
    impatient = asyncio.create_task(channel.unary(PATH, b"1", 10))
    patient = asyncio.create_task(channel.unary(PATH, b"2", 10))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    await listener.start()
    assert await patient == b"2"
    await channel.close()


async def test_close_while_connecting_answers_those_who_wait(listener: Listener) -> None:
    await listener.stop()
    channel = Channel(listener.url, limits=QUICK)
    waiting = asyncio.create_task(channel.unary(PATH, b"x", 10))
    await until(lambda: channel._connecting)
    await channel.close()
    with pytest.raises(NotConnected, match="closed"):
        await waiting


async def test_a_server_that_says_nothing(listener: Listener) -> None:
    """It takes the connection and never tells its settings: as a stopped process does, whose kernel accepts."""
    await listener.stop()
    silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", listener.port)
    channel = Channel(listener.url, limits=replace(QUICK, connect=0.02))
    with pytest.raises(NotConnected, match="no answer"):
        await channel.unary(PATH, b"x", 0.2)
    await until(lambda: not channel._open)
    silent.close()
    await listener.start()
    assert await channel.unary(PATH, b"x", 10) == b"x"
    await channel.close()


@pytest.mark.parametrize("answer", [b"", b"\0", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_server_of_something_else(listener: Listener, answer: bytes) -> None:
    class Other(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.write(answer)  # type: ignore[attr-defined]
            transport.close()

    await listener.stop()
    other = await asyncio.get_running_loop().create_server(Other, "127.0.0.1", listener.port)
    channel = Channel(listener.url, limits=QUICK)
    with pytest.raises(NotConnected, match="HTTP/2" if len(answer) > 9 else "connecting to"):
        await channel.unary(PATH, b"x", 0.1)
    await channel.close()
    other.close()


@pytest.mark.parametrize(
    ("name", "alpn", "problem"),
    [("localhost", ["h2"], ""), ("elsewhere", ["h2"], "certificate"), ("localhost", [], "ALPN")],
)
async def test_tls(listener: Listener, tmp_path: Path, name: str, alpn: list[str], problem: str) -> None:
    served, trusting = contexts(tmp_path, name, alpn)
    server = Listener(served)
    await server.start()
    channel = Channel(server.url, trusting, QUICK)
    if problem:
        with pytest.raises(NotConnected, match=problem):
            await channel.unary(PATH, b"x", 0.5)
    else:
        assert await channel.unary(PATH, b"x" * 100_000, 10) == b"x" * 100_000
    await channel.close()
    assert not channel._open
    await server.stop()
    assert not server.errors()


async def test_a_certificate_that_nobody_trusts(listener: Listener, tmp_path: Path) -> None:
    served, _ = contexts(tmp_path, "localhost", ["h2"])
    server = Listener(served)
    await server.start()
    channel = Channel(server.url, ssl.create_default_context(), QUICK)
    with pytest.raises(NotConnected, match="certificate"):
        await channel.unary(PATH, b"x", 0.5)
    await channel.close()
    await server.stop()
