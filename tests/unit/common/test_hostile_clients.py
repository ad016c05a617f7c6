"""What a client may send before anybody knows who it is: bounded, and nothing but a head is a head."""

from __future__ import annotations

import asyncio
import socket

import pytest

from common import serving
from tests.unit.common.serving_support import ends, server

CHUNKED = b"POST /headers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def flood(port: int, begin: bytes, piece: bytes, most: int) -> tuple[int, bytes]:
    """How many bytes of repeated ``piece`` the server takes, up to ``most``, and what it answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begin)
    sent = 0
    try:
        while sent < most and not reader.at_eof():
            writer.write(piece)
            sent += len(piece)
            async with asyncio.timeout(5):
                await writer.drain()
            await asyncio.sleep(0)
    except (ConnectionError, TimeoutError):
        pass
    try:
        return sent, await ends(reader)
    finally:
        writer.close()


ENDLESS = {
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 1000),
    "one trailer": (CHUNKED + b"0\r\na: ", b"b" * 10_000),
    "an extension": (CHUNKED + b"1;a=", b"b" * 10_000),
    "extensions": (CHUNKED, b"1;%b\r\nx\r\n" % (b"e" * 500)),
    "headers": (b"GET / HTTP/1.1\r\n", b"a:\r\n" * 1000),
    "one header": (b"GET / HTTP/1.1\r\na: ", b"b" * 10_000),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_what_has_no_end_ends(what: str) -> None:
    async with server() as port:
        begin, piece = ENDLESS[what]
        sent, answer = await flood(port, begin, piece, 100_000_000)
        assert sent < 20_000_000
        assert b" 200 " not in answer


async def test_many_small_headers_are_too_many_long_before_their_bytes_are() -> None:
    async with server() as port:
        sent, answer = await flood(port, b"GET / HTTP/1.1\r\n", b"a:\r\n" * 1000, serving.MAX_HEAD // 4)
        assert b" 431 " in answer or sent < serving.MAX_HEAD // 4


async def test_a_body_in_single_bytes_is_a_body() -> None:
    async with server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(CHUNKED + b"1\r\nx\r\n" * 500_000 + b"0\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"transfer-encoding")
        writer.close()


@pytest.mark.parametrize("upgrade", [b"", b"Connection: upgrade\r\nUpgrade: h2c\r\n"])
async def test_trailers_are_no_headers(upgrade: bytes) -> None:
    """Whoever stands before the server and takes headers away would not see them."""
    async with server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        begin = CHUNKED.replace(b"Host: x\r\n", b"Host: x\r\n" + upgrade)
        writer.write(begin + b"1\r\nx\r\n0\r\nx-remote-user: admin\r\n\r\n")
        answer = await reader.readuntil(b"transfer-encoding")
        assert b"200 OK" in answer and b"x-remote-user" not in answer
        writer.close()


async def test_requests_in_a_row_are_answered_in_order_and_not_without_end() -> None:
    async with server() as port:
        one = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(one * serving.MAX_PIPELINED)
            for _ in range(serving.MAX_PIPELINED):
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\nok")
        writer.write(one * 1000)
        assert (await ends(reader)).count(b"200 OK") < 1000
        writer.close()


async def test_nothing_is_written_into_another_answer() -> None:
    async with server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /streamed HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"xxx")
        writer.write(b"what is this\r\n\r\n")
        assert b"Invalid" not in await ends(reader)
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na\0b: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na: \0\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_another_server_might_read_otherwise_is_refused(sent: bytes) -> None:
    """Where one request ends and the next begins must not be a matter of opinion (request smuggling)."""
    async with server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await ends(reader)
        assert b"200 OK" not in answer
        writer.close()


async def test_a_client_that_is_silent_is_asked_whether_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    keep_alive = serving.keep_alive

    def spy(transport: asyncio.BaseTransport) -> None:
        keep_alive(transport)
        raw = transport.get_extra_info("socket")
        seen.append(raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        seen.append(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))

    monkeypatch.setattr(serving, "keep_alive", spy)
    async with server() as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            while len(seen) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert seen == [1, serving.KEEP_ALIVE_PROBES[socket.TCP_KEEPIDLE]]
        writer.close()
