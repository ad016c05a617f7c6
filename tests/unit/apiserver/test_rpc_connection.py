"""One HTTP/2 connection against a strict server: calls, how they end, and how it ends itself."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace

import pytest

from apiserver.storage.rpc import Code, NotConnected, RpcError, StreamCall, frames
from apiserver.storage.rpc.calls import framed
from apiserver.storage.rpc.connection import Connection
from apiserver.storage.rpc.limits import LIMITS
from tests.unit.apiserver.grpc_peer import (
    BLOCK,
    HEADERS,
    Peer,
    Wire,
    block_of,
    header_frame,
    turns,
    until,
    wired,
)

QUICK = replace(LIMITS, sweep=0.005, ping_after=0.03, ping_timeout=0.02)


def hold(peer: Peer, stream: int, message: bytes) -> None:
    """Answers nothing."""


async def error_of(call: asyncio.Task[bytes]) -> RpcError:
    with pytest.raises(RpcError) as found:
        await call
    return found.value


# -- calls


async def test_the_request_is_what_grpc_asks_for() -> None:
    async with wired() as wire:
        await wire.call(b"x")
        assert wire.peer.requests[1].headers == {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/test.Test/Echo",
            ":authority": "peer",
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": "coxswain",
        }
        assert wire.peer.requests[1].body == b"\0\0\0\0\1x"


async def test_many_calls_at_once_of_every_size() -> None:
    sizes = [0, 1, 4, 16379, 16380, 65530, 65531, 200_000, 5_000_000, *range(100)]
    async with wired() as wire:
        messages = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
        assert await asyncio.gather(*map(wire.call, messages)) == messages


@pytest.mark.parametrize("cut", [1, 2, 7, 9, 10])
async def test_an_answer_is_cut_anywhere(cut: int) -> None:
    async with wired() as wire:
        wire.peer.cut = cut
        messages = [b"", b"a", b"b" * 300]
        assert await asyncio.gather(*map(wire.call, messages)) == messages


@pytest.mark.parametrize("padding", [0, 1, 255])
async def test_padding_is_no_content(padding: int) -> None:
    async with wired() as wire:
        wire.peer.answer = lambda peer, stream, message: peer.reply(stream, message, padding)
        assert await wire.call(b"m" * 40_000) == b"m" * 40_000


async def test_headers_with_priority_padding_and_continuations() -> None:
    def answer(peer: Peer, stream: int, message: bytes) -> None:
        block = block_of(HEADERS)
        flags = frames.PADDED | frames.HAS_PRIORITY
        peer.raw(frames.frame(frames.PRIORITY, 0, stream, b"\0\0\0\0\7"))
        peer.raw(frames.frame(frames.HEADERS, flags, stream, b"\3" + b"\0\0\0\0\7" + block[:2] + b"\0\0\0"))
        peer.raw(frames.frame(frames.CONTINUATION, 0, stream))
        for at in range(2, len(block)):
            last = frames.END_HEADERS if at == len(block) - 1 else 0
            peer.raw(frames.frame(frames.CONTINUATION, last, stream, block[at : at + 1]))
        peer.raw(frames.frame(99, 0xFF, stream, b"a frame that nobody knows"))
        peer.raw(frames.frame(frames.DATA, 0, stream, framed(message)))
        peer.raw(header_frame(stream, {"grpc-status": "0"}, frames.END_HEADERS | frames.END_STREAM))

    async with wired() as wire:
        wire.peer.answer = answer
        assert await wire.call(b"hello") == b"hello"


async def test_an_interim_response_is_no_answer() -> None:
    def answer(peer: Peer, stream: int, message: bytes) -> None:
        peer.head(stream, {":status": "103"})
        peer.reply(stream, b"y")

    async with wired() as wire:
        wire.peer.answer = answer
        assert await wire.call() == b"y"


# -- how calls end


@pytest.mark.parametrize("status", range(1, 17))
async def test_an_error_in_trailers_alone(status: int) -> None:
    text = "etcdserver: mvcc: required revision has been compacted, ü % \n"
    async with wired() as wire:
        wire.peer.answer = lambda peer, stream, _: peer.refuse(stream, status, text)
        error = await error_of(wire.call())
        assert (error.code, error.details) == (Code(status), text)


@pytest.mark.parametrize("status", ["17", "-1", "", "²", "00", "9" * 5000, "zero"])
async def test_a_status_that_is_none_of_grpcs_is_unknown(status: str) -> None:
    async with wired(faults=True) as wire:
        wire.peer.answer = lambda peer, stream, _: peer.raw(
            header_frame(stream, {**HEADERS, "grpc-status": status}, frames.END_HEADERS | frames.END_STREAM)
        )
        assert (await error_of(wire.call())).code == Code.UNKNOWN
        assert wire.connection.usable


async def test_an_error_after_a_message_is_an_error() -> None:
    def answer(peer: Peer, stream: int, message: bytes) -> None:
        peer.head(stream)
        peer.body(stream, framed(b"half the truth"), {"grpc-status": "14", "grpc-message": "etcdserver: no leader"})

    async with wired() as wire:
        wire.peer.answer = answer
        error = await error_of(wire.call())
        assert (error.code, error.details) == (Code.UNAVAILABLE, "etcdserver: no leader")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("400", Code.INTERNAL),
        ("401", Code.UNAUTHENTICATED),
        ("403", Code.PERMISSION_DENIED),
        ("404", Code.UNIMPLEMENTED),
        ("429", Code.UNAVAILABLE),
        ("502", Code.UNAVAILABLE),
        ("503", Code.UNAVAILABLE),
        ("418", Code.UNKNOWN),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>"])
async def test_an_http_status_of_something_else(status: str, code: Code, body: bytes) -> None:
    def answer(peer: Peer, stream: int, message: bytes) -> None:
        peer.head(stream, {":status": status}, end=not body)
        if body:
            peer.h2.send_data(stream, body, end_stream=True)
            peer.flush()

    async with wired() as wire:
        wire.peer.answer = answer
        error = await error_of(wire.call())
        assert (error.code, error.details) == (code, f"HTTP status {status}")


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0\1", b"\0\0\0\0\1xx", b"\1\0\0\0\1x", framed(b"a") * 2])
async def test_a_response_must_be_one_plain_message(body: bytes) -> None:
    def answer(peer: Peer, stream: int, message: bytes) -> None:
        peer.head(stream)
        peer.body(stream, body, {"grpc-status": "0"})

    async with wired() as wire:
        wire.peer.answer = answer
        assert (await error_of(wire.call())).code == Code.INTERNAL


async def test_a_response_without_trailers() -> None:
    def answer(peer: Peer, stream: int, message: bytes) -> None:
        peer.head(stream)
        peer.h2.send_data(stream, framed(b"x"), end_stream=True)
        peer.flush()

    async with wired() as wire:
        wire.peer.answer = answer
        assert (await error_of(wire.call())).code == Code.INTERNAL


@pytest.mark.parametrize("number", [*range(14), 99, 2**32 - 1])
async def test_a_reset_of_every_kind(number: int) -> None:
    known = {7: Code.UNAVAILABLE, 8: Code.CANCELLED, 11: Code.RESOURCE_EXHAUSTED, 12: Code.PERMISSION_DENIED}
    async with wired() as wire:
        wire.peer.answer = hold
        call = wire.call()
        await until(lambda: wire.peer.requests)
        wire.peer.h2.reset_stream(1, number)
        wire.peer.flush()
        error = await error_of(call)
        assert error.code == known.get(number, Code.INTERNAL)
        assert isinstance(error, NotConnected) == (number == frames.REFUSED_STREAM), "it may be made again"
        wire.peer.answer = Peer.reply
        assert await wire.call(b"next") == b"next"


async def test_an_early_answer_ends_a_request_that_still_waits_for_room() -> None:
    async with wired() as wire:
        wire.peer.credit = False
        call = wire.call(b"x" * 100_000)
        await until(lambda: wire.peer.requests and len(wire.peer.requests[1].body) == 65535)
        wire.peer.refuse(1, 8, "etcdserver: request is too large")
        assert (await error_of(call)).code == Code.RESOURCE_EXHAUSTED
        await until(lambda: wire.peer.requests[1].reset == frames.CANCEL)
        wire.peer.h2.increment_flow_control_window(65535)
        wire.peer.flush()
        assert await wire.call(b"y" * 1000) == b"y" * 1000


# -- cancellation and deadlines


async def test_a_call_cancelled_before_it_is_sent() -> None:
    async with wired() as wire:
        wire.peer.answer = hold
        call = wire.call(b"x")
        await asyncio.sleep(0)  # its frames wait for the end of this turn
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: wire.peer.requests[1].reset == frames.CANCEL)
        wire.peer.answer = Peer.reply
        assert await wire.call(b"y") == b"y"


async def test_a_call_cancelled_within_its_response_and_one_after_it() -> None:
    async with wired(replace(LIMITS, credit_after=1000)) as wire:
        wire.peer.answer = hold
        call = wire.call()
        await until(lambda: wire.peer.requests)
        wire.peer.head(1)
        wire.peer.body(1, framed(b"x" * 500)[:100])
        await turns()
        call.cancel()
        wire.peer.body(1, b"x" * 5000)  # crosses the reset
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: wire.peer.requests[1].reset == frames.CANCEL)
        room = wire.peer.h2.outbound_flow_control_window
        assert room > LIMITS.connection_window - 1000, "what nobody takes is given back to the connection too"
        wire.peer.answer = Peer.reply
        done = wire.call(b"z")
        await until(done.done)
        assert not done.cancel() and await done == b"z"
        assert wire.peer.requests[3].reset is None


async def test_a_cancelled_call_that_waits_for_room_keeps_nothing() -> None:
    async with wired() as wire:
        wire.peer.credit = False
        first, second = wire.call(b"x" * 65530), wire.call(b"y" * 100)
        await until(lambda: 1 in wire.peer.requests and wire.peer.requests[1].ended)
        await first
        second.cancel()
        await turns()
        assert not wire.connection._sender._blocked
        wire.peer.h2.increment_flow_control_window(1000)
        wire.peer.flush()
        assert await wire.call(b"z") == b"z"


async def test_deadlines() -> None:
    async with wired(QUICK) as wire:
        wire.peer.answer = hold
        now = asyncio.get_running_loop().time()
        short, long = wire.call(deadline=now + 0.01), wire.call()
        error = await error_of(short)
        assert error.code == Code.DEADLINE_EXCEEDED and not isinstance(error, NotConnected)
        await until(lambda: wire.peer.requests[1].reset == frames.CANCEL)
        assert not long.done()
        wire.peer.reply(3, b"late but welcome")
        assert await long == b"late but welcome"


async def test_a_call_that_ran_out_of_time_unsent_may_be_made_elsewhere() -> None:
    """It waits for a stream, or for room: a server begins with a call when it has the whole message."""
    async with wired(QUICK) as wire:
        wire.peer.answer = hold
        wire.peer.credit = False
        wire.peer.settings(max_concurrent_streams=2)
        await until(lambda: wire.peer.acknowledged == 2)
        deadline = asyncio.get_running_loop().time() + 0.01
        calls = [wire.call(b"x" * size, deadline) for size in (1, 100_000, 1)]
        errors = [await error_of(call) for call in calls]
        assert [error.code for error in errors] == [Code.DEADLINE_EXCEEDED] * 3
        assert [isinstance(error, NotConnected) for error in errors] == [False, True, True]
        assert not wire.connection._unopened and not wire.connection._sender._blocked


# -- streams of messages


async def opened(wire: Wire) -> StreamCall:
    call = wire.connection.stream(BLOCK)
    await until(lambda: call.id in wire.peer.requests)
    wire.peer.head(call.id)
    return call


async def test_messages_in_both_directions() -> None:
    async with wired() as wire:
        call = await opened(wire)
        call.write(b"one")
        call.write(b"")
        await until(lambda: wire.peer.requests[1].body == framed(b"one") + framed(b""))
        wire.peer.cut = 3
        wire.peer.body(1, framed(b"a" * 40_000) + framed(b"") + framed(b"b"), {"grpc-status": "0"})
        assert [await call.read() for _ in range(4)] == [b"a" * 40_000, b"", b"b", None]
        assert await call.read() is None
        with pytest.raises(RpcError):
            call.write(b"too late")
        await until(lambda: wire.peer.requests[1].reset == frames.CANCEL)  # or its stream stays half open for ever


async def test_a_reader_takes_what_came_before_the_error() -> None:
    async with wired() as wire:
        call = await opened(wire)
        wire.peer.body(1, framed(b"a"), {"grpc-status": "14", "grpc-message": "gone"})
        await until(lambda: call.ended)
        assert await call.read() == b"a"
        for _ in range(2):
            with pytest.raises(RpcError, match="gone"):
                await call.read()


@pytest.mark.parametrize("rest", [b"\0", b"\0\0\0\0\5four"])
async def test_a_stream_that_ends_within_a_message(rest: bytes) -> None:
    async with wired() as wire:
        call = await opened(wire)
        wire.peer.body(1, framed(b"a") + rest, {"grpc-status": "0"})
        assert await call.read() == b"a"
        with pytest.raises(RpcError, match="within a message"):
            await call.read()


async def test_a_compressed_message_ends_the_stream_alone() -> None:
    async with wired() as wire:
        call = await opened(wire)
        wire.peer.body(1, framed(b"a") + b"\1\0\0\0\1x")
        assert await call.read() == b"a"
        with pytest.raises(RpcError, match="compressed"):
            await call.read()
        assert await wire.call(b"others go on") == b"others go on"


async def test_a_reader_that_was_cancelled_may_read_again() -> None:
    async with wired() as wire:
        call = await opened(wire)
        reader = asyncio.create_task(call.read())
        await turns()
        reader.cancel()
        await asyncio.wait([reader])
        wire.peer.body(1, framed(b"a"))
        assert await call.read() == b"a"
        call.cancel()
        call.cancel()
        with pytest.raises(RpcError, match="CANCELLED"):
            await call.read()
        await until(lambda: wire.peer.requests[1].reset == frames.CANCEL)


async def test_messages_written_before_the_server_allows_the_stream() -> None:
    async with wired() as wire:
        wire.peer.settings(max_concurrent_streams=1)
        wire.peer.answer = hold
        await until(lambda: wire.peer.acknowledged == 2)
        first = wire.call()
        await until(lambda: 1 in wire.peer.requests)
        stream = wire.connection.stream(BLOCK)
        stream.write(b"a")
        stream.write(b"b")
        wire.peer.reply(1, b"done")
        assert await first == b"done"
        await until(lambda: 3 in wire.peer.requests and wire.peer.requests[3].body == framed(b"a") + framed(b"b"))


# -- the server's wishes


async def test_one_call_at_a_time_and_none_at_all() -> None:
    async with wired() as wire:
        wire.peer.settings(max_concurrent_streams=1)
        await until(lambda: wire.peer.acknowledged == 2)
        messages = [bytes([n]) * n * 1000 for n in range(30)]
        assert await asyncio.gather(*map(wire.call, messages)) == messages
        wire.peer.settings(max_concurrent_streams=0)
        await until(lambda: wire.peer.acknowledged == 3)
        call = wire.call(b"patience")
        await turns()
        assert not call.done()
        wire.peer.settings(max_concurrent_streams=5)
        assert await call == b"patience"


async def test_calls_that_wait_for_a_stream_and_give_up_are_forgotten() -> None:
    async with wired() as wire:
        wire.peer.settings(max_concurrent_streams=1)
        await until(lambda: wire.peer.acknowledged == 2)
        stream = await opened(wire)
        calls = [wire.call() for _ in range(50)]
        await turns()
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert not wire.connection._unopened
        stream.cancel()
        assert await wire.call(b"x") == b"x"
        assert len(wire.peer.requests) == 2


async def test_pings_both_ways() -> None:
    async with wired(QUICK) as wire:
        wire.peer.h2.ping(b"12345678")
        wire.peer.flush()
        await until(lambda: wire.peer.pings == [b"12345678"])
        wire.peer.answer = hold
        call = wire.call()
        await until(lambda: len(wire.peer.pings) >= 4)
        wire.peer.reply(1, b"a long silence")
        assert await call == b"a long silence"


async def test_a_quiet_connection_without_calls_is_left_in_peace() -> None:
    """Servers take pings without calls for an attack."""
    async with wired(QUICK) as wire:
        loop = asyncio.get_running_loop()
        passed = loop.create_future()
        loop.call_later(3 * (QUICK.ping_after + QUICK.ping_timeout), passed.set_result, None)
        await passed
        assert not wire.peer.pings
        assert await wire.call(b"x") == b"x"


async def test_a_server_that_does_not_answer_pings_is_given_up_at_once() -> None:
    async with wired(QUICK) as wire:
        wire.deaf = True
        stream = wire.connection.stream(BLOCK)
        error = await error_of(wire.call())
        assert error.code == Code.UNAVAILABLE and "ping" in error.details
        with pytest.raises(RpcError, match="ping"):
            await stream.read()
        assert wire.aborted, "its socket would wait for the last bytes to be taken"


async def test_a_dead_connection_with_only_short_calls_is_found_too() -> None:
    """No call is open when the time for a ping comes, since each has run out of time before."""
    async with wired(QUICK) as wire:
        wire.deaf = True
        loop = asyncio.get_running_loop()
        await until(lambda: loop.time() > wire.connection._heard + QUICK.ping_after)
        assert not wire.connection._asked
        await error_of(wire.call(deadline=loop.time() + 0.001))
        assert wire.connection._asked
        await until(lambda: wire.aborted)


# -- how a connection ends


async def test_going_away() -> None:
    """Calls that the server has begun get their answers; the others may be made elsewhere; then it closes."""
    async with wired() as wire:
        wire.peer.answer = hold
        below, above = wire.call(), wire.call()
        await until(lambda: len(wire.peer.requests) == 2)
        wire.peer.raw(frames.frame(frames.GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\0bye"))
        error = await error_of(above)
        assert isinstance(error, NotConnected) and "bye" in error.details
        assert not wire.connection.usable and not wire.ended
        late = await error_of(wire.call())
        assert isinstance(late, NotConnected) and "bye" in late.details
        wire.peer.reply(1, b"the last")
        assert await below == b"the last"
        await wire.connection.closed


async def test_going_away_in_two_steps_as_go_servers_do() -> None:
    async with wired() as wire:
        wire.peer.answer = hold
        wire.peer.settings(max_concurrent_streams=2)
        await until(lambda: wire.peer.acknowledged == 2)
        calls = [wire.call() for _ in range(3)]
        await until(lambda: len(wire.peer.requests) == 2)
        wire.peer.raw(frames.frame(frames.GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0"))
        assert isinstance(await error_of(calls[2]), NotConnected), "it waited for a stream"
        wire.peer.raw(frames.frame(frames.GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\0"))
        assert isinstance(await error_of(calls[1]), NotConnected)
        wire.peer.reply(1, b"x")
        assert await calls[0] == b"x"
        await wire.connection.closed


async def test_going_away_without_calls_closes() -> None:
    async with wired() as wire:
        wire.peer.raw(frames.frame(frames.GOAWAY, 0, 0, bytes(8)))
        await wire.connection.closed


async def test_when_its_streams_are_used_up_a_connection_ends_after_its_calls() -> None:
    async with wired(faults=True) as wire:
        wire.connection._next = 2**31 - 3
        first, last = wire.call(b"a"), wire.call(b"b")
        assert [await first, await last] == [b"a", b"b"]
        assert isinstance(await error_of(wire.call(b"c")), NotConnected)
        await wire.connection.closed


@pytest.mark.parametrize("failure", [None, ConnectionResetError("reset by peer")])
async def test_the_server_closes_within_a_frame(failure: Exception | None) -> None:
    async with wired() as wire:
        wire.peer.answer = hold
        wire.peer.credit = False
        call, long, stream = wire.call(b"x"), wire.call(b"y" * 100_000), wire.connection.stream(BLOCK)
        await until(lambda: len(wire.peer.requests) == 3)
        wire.connection.data_received(frames.frame(frames.DATA, 0, 1, framed(b"x"))[:-1])
        stream.write(b"this is still in the buffer of this turn")
        wire.break_off(failure)
        error = await error_of(call)
        assert error.code == Code.UNAVAILABLE and not isinstance(error, NotConnected), "nobody knows what it did"
        assert isinstance(await error_of(long), NotConnected), "its message never arrived whole"
        with pytest.raises(RpcError) as found:
            await stream.read()
        assert found.value.code == Code.UNAVAILABLE
        await turns()


GARBAGE = [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", 6),
    (b"\xff" * 100, 6),
    (frames.frame(frames.DATA, 0, 0, b"x"), 1),
    (frames.frame(frames.DATA, 0, 99, b"x"), 1),
    (frames.frame(frames.DATA, 0, 2, b"x"), 1),
    (frames.frame(frames.DATA, frames.PADDED, 1, b""), 1),
    (frames.frame(frames.DATA, frames.PADDED, 1, b"\5xxxx"), 1),
    (frames.frame(frames.HEADERS, frames.PADDED | frames.END_HEADERS, 1, b"\xffx"), 1),
    (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), 9),
    (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x3f\xe1\x1f"), 9),
    (frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.DATA, 0, 1, b""), 1),
    (frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.CONTINUATION, 4, 3, b""), 1),
    (frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.CONTINUATION, 0, 1, b"x" * 16000) * 5, 11),
    (frames.frame(frames.CONTINUATION, 4, 1, b""), 1),
    (frames.frame(frames.PUSH_PROMISE, 4, 1, b"\0\0\0\2"), 1),
    (frames.frame(frames.SETTINGS, 0, 0, b"12345"), 6),
    (frames.frame(frames.SETTINGS, 0, 1, b""), 1),
    (frames.settings({frames.MAX_FRAME_SIZE: 16383}), 1),
    (frames.settings({frames.MAX_FRAME_SIZE: 1 << 24}), 1),
    (frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}), 3),
    (frames.window_update(1, 1 << 30) + frames.settings({frames.INITIAL_WINDOW_SIZE: (1 << 31) - 1}), 3),
    (frames.window_update(0, (1 << 31) - 1), 3),
    (frames.window_update(1, (1 << 31) - 1), 3),
    (frames.window_update(1, 0), 1),
    (frames.window_update(0, 0), 1),
    (frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0"), 6),
    (frames.frame(frames.RST_STREAM, 0, 1, b"\0"), 6),
    (frames.reset(99, 0), 1),
    (frames.frame(frames.PING, 0, 0, b"1234567"), 6),
    (frames.frame(frames.GOAWAY, 0, 0, b"\0\0\0\0"), 6),
]


@pytest.mark.parametrize(("sent", "code"), GARBAGE)
async def test_a_server_that_breaks_the_rules_is_told_so_and_left(sent: bytes, code: int) -> None:
    async with wired() as wire:
        wire.peer.answer = hold
        call = wire.call()
        await until(lambda: wire.peer.requests)
        wire.peer.raw(sent + frames.frame(frames.PING, 0, 0, b"nobody's"))
        assert (await error_of(call)).code == Code.UNAVAILABLE
        await wire.connection.closed
        await until(lambda: wire.peer.goaway == code)
        assert not wire.peer.pings


async def test_frames_of_calls_that_have_ended_are_nothing() -> None:
    async with wired() as wire:
        assert await wire.call(b"x") == b"x"
        late = [
            frames.frame(frames.DATA, frames.END_STREAM, 1, b"x"),
            header_frame(1, {"grpc-status": "3"}, frames.END_HEADERS | frames.END_STREAM),
            frames.reset(1, 0),
            frames.window_update(1, 5),
        ]
        wire.peer.raw(b"".join(late))
        assert await wire.call(b"y") == b"y"


async def test_nothing_goes_on_after_the_end() -> None:
    """No timer, no callback, no error that nobody saw; and what arrives is not looked at."""
    async with wired() as wire:
        wire.peer.answer = hold
        call = wire.call()
        await until(lambda: wire.peer.requests)
        wire.connection.close()
        wire.connection.close()
        wire.connection.data_received(b"\xff" * 100)
        assert isinstance(await error_of(call), RpcError)
        await wire.connection.closed
        assert isinstance(await error_of(wire.call()), NotConnected)
        stream = wire.connection.stream(BLOCK)
        with pytest.raises(NotConnected):
            stream.write(b"x")
        with pytest.raises(NotConnected):
            await stream.read()
        left = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        assert not [handle for handle in left if "rpc" in repr(handle)]


async def test_a_server_that_leaves_before_its_settings() -> None:
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    connection = Connection(lambda _: None)
    connection.connection_lost(None)
    del connection
    gc.collect()
    await turns()
    assert not unseen, "nobody waited to hear that it never was ready"


async def test_errors_are_no_garbage() -> None:
    """Reference counting alone frees them: a collection of a large heap stops the server for long."""
    gc.collect()
    gc.disable()
    try:
        async with wired() as wire:
            wire.peer.answer = lambda peer, stream, _: peer.refuse(stream, 5, "no")
            call = wire.call()
            try:
                await call
            except RpcError as error:
                freed = weakref.ref(error)
            del call
            await turns()
            assert freed() is None
    finally:
        gc.enable()


async def test_each_call_has_an_error_of_its_own() -> None:
    async with wired() as wire:
        wire.peer.answer = hold
        calls = [wire.call() for _ in range(3)]
        await until(lambda: len(wire.peer.requests) == 3)
        wire.break_off()
        assert len({id(await error_of(call)) for call in calls}) == 3
