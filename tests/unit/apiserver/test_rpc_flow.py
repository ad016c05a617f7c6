"""Flow control in both directions, as laws: no window is ever overdrawn, all room is given back, nothing hangs.

h2 raises for each byte beyond a window, and ``wired`` fails when it did.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import example, given
from hypothesis import settings as runs
from hypothesis import strategies as st

from apiserver.storage.rpc import frames
from apiserver.storage.rpc.calls import framed
from apiserver.storage.rpc.limits import LIMITS
from apiserver.storage.rpc.reading import Reader
from tests.unit.apiserver.grpc_peer import BLOCK, Peer, turns, until, wired

SMALL = replace(LIMITS, stream_window=3000, connection_window=70_000, credit_after=1000, queued=10_000)

CHANGES = st.one_of(
    st.tuples(st.just("call"), st.integers(0, 60_000)),
    st.tuples(st.just("initial_window_size"), st.integers(0, 100_000)),
    st.tuples(st.just("max_frame_size"), st.integers(16384, 40_000)),
    st.tuples(st.just("max_concurrent_streams"), st.integers(0, 4)),
    st.tuples(st.just("stream room"), st.integers(1, 30_000)),
    st.tuples(st.just("room"), st.integers(1, 30_000)),
    st.tuples(st.just("turn"), st.just(0)),
)


@runs(max_examples=60)
@given(st.lists(CHANGES, max_size=25))
@example([("turn", 0), ("max_frame_size", 16385), ("call", 16380)])
def test_the_client_never_sends_more_than_the_windows_allow(changes: list[tuple[str, int]]) -> None:
    async def main() -> None:
        async with wired() as wire:
            peer = wire.peer
            peer.credit = False
            calls: list[tuple[asyncio.Task[bytes], bytes]] = []
            for kind, number in changes:
                if kind == "call":
                    message = bytes([len(calls)]) * number
                    calls.append((wire.call(message), message))
                elif kind == "turn":
                    await turns()
                elif kind == "room":
                    peer.h2.increment_flow_control_window(number)
                    peer.flush()
                elif kind == "stream room":
                    for stream, request in peer.requests.items():
                        if not request.ended:
                            peer.h2.increment_flow_control_window(number, stream)
                    peer.flush()
                else:
                    peer.settings(**{kind: number})
            # With room for all, all end.
            peer.h2.increment_flow_control_window(10_000_000)
            peer.settings(initial_window_size=1_000_000, max_concurrent_streams=100)
            for call, message in calls:
                assert await asyncio.wait_for(call, 3) == message

    asyncio.run(main())


@runs(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.one_of(st.none(), st.integers(0, 255))), max_size=12),
    st.integers(0, 100),
)
def test_room_is_given_back_for_all_that_came(answers: list[tuple[int, int | None]], cut: int) -> None:
    """Answers are larger than a stream's window: they come to an end only since room is given back."""

    async def main() -> None:
        async with wired(SMALL) as wire:
            plan = iter(answers)

            def answer(peer: Peer, stream: int, message: bytes) -> None:
                size, padding = next(plan)
                peer.reply(stream, b"x" * size, padding)

            wire.peer.cut, wire.peer.answer = cut * 10, answer
            found = await asyncio.wait_for(asyncio.gather(*(wire.call() for _ in answers)), 20)
            assert [len(message) for message in found] == [size for size, _ in answers]
            await turns()
            missing = SMALL.connection_window - wire.peer.h2.outbound_flow_control_window
            assert missing == wire.connection._taken < SMALL.credit_after

    asyncio.run(main())


@given(st.lists(st.integers(0, 8), max_size=30), st.lists(st.binary(max_size=50), max_size=8))
def test_frames_are_the_same_however_they_are_cut(cuts: list[int], payloads: list[bytes]) -> None:
    whole = b"".join(frames.frame(frames.DATA, n & 1, n, payload) for n, payload in enumerate(payloads))
    expected = [(frames.DATA, n & 1, n, payload) for n, payload in enumerate(payloads)]
    reader, found, at = Reader(), [], 0
    for size in cuts:
        found += reader.read(whole[at : at + size])
        at += size
    found += reader.read(whole[at:])
    assert found == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_a_broken_rule(data: bytes) -> None:
    async def main() -> None:
        async with wired(faults=True) as wire:
            wire.peer.answer = lambda peer, stream, message: None
            calls = [wire.call(), wire.call()]
            await turns()
            wire.connection.data_received(data)
            wire.connection.close()
            await asyncio.wait(calls)
            assert all(call.exception() is not None for call in calls)

    asyncio.run(main())


async def test_windows_that_are_taken_back_below_nothing() -> None:
    async with wired() as wire:
        wire.peer.credit = False
        call = wire.call(b"x" * 100_000)
        await until(lambda: wire.peer.requests and len(wire.peer.requests[1].body) == 65535)
        wire.peer.settings(initial_window_size=10)
        wire.peer.h2.increment_flow_control_window(1_000_000)
        wire.peer.h2.increment_flow_control_window(65_525, 1)
        wire.peer.flush()
        await turns()
        assert wire.connection._calls[1].window == 0 and len(wire.peer.requests[1].body) == 65535
        assert await wire.call(b"five5") == b"five5", (
            "a new stream has room for ten bytes, and this one holds nobody up"
        )
        wire.peer.h2.increment_flow_control_window(100_000, 1)
        wire.peer.flush()
        assert await call == b"x" * 100_000


async def test_a_byte_at_a_time() -> None:
    async with wired() as wire:
        wire.peer.settings(initial_window_size=1)
        await until(lambda: wire.peer.acknowledged == 2)
        assert await asyncio.gather(wire.call(b"abc"), wire.call(b"")) == [b"abc", b""]


async def test_small_calls_do_not_starve_a_large_one() -> None:
    """The connection's room comes in small pieces: who came first gets it."""
    async with wired() as wire:
        wire.peer.credit = False
        wire.peer.settings(initial_window_size=10_000_000)
        await until(lambda: wire.peer.acknowledged == 2)
        large = wire.call(b"x" * 100_000)
        await turns()
        small = []
        while not large.done():
            small.append(wire.call(b"y" * 100))
            wire.peer.h2.increment_flow_control_window(1000)
            wire.peer.flush()
            await turns()
            assert len(small) < 100
            assert large.done() or not any(call.done() for call in small)
        wire.peer.h2.increment_flow_control_window(100_000)
        wire.peer.flush()
        await asyncio.gather(*small)


async def test_a_reader_that_stops_stops_the_sender() -> None:
    """Memory is bounded by ``queued`` and the window; when the reader goes on, so does the rest."""
    async with wired(SMALL) as wire:
        call = wire.connection.stream(BLOCK)
        await until(lambda: wire.peer.requests)
        wire.peer.head(1)
        wire.peer.body(1, framed(b"m" * 500) * 200, {"grpc-status": "0"})
        await until(lambda: wire.peer.h2.local_flow_control_window(1) == 0)
        await turns(50)
        assert SMALL.queued < call._queued <= SMALL.queued + SMALL.stream_window
        assert await wire.call(b"others go on") == b"others go on"
        count = 0
        while (message := await asyncio.wait_for(call.read(), 10)) is not None:
            assert message == b"m" * 500
            count += 1
        assert count == 200


async def test_a_message_larger_than_every_window() -> None:
    async with wired(SMALL) as wire:
        call = wire.connection.stream(BLOCK)
        await until(lambda: wire.peer.requests)
        wire.peer.head(1)
        wire.peer.body(1, framed(b"m" * 300_000), {"grpc-status": "0"})
        assert await asyncio.wait_for(call.read(), 10) == b"m" * 300_000
        assert await call.read() is None
