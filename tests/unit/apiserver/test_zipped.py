"""Lists in gzip: every reader gets what an uncompressed answer would be, and the items are compressed once."""

from __future__ import annotations

import asyncio
import gzip
import threading
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.storage import zipped
from apiserver.storage.cache import Entry
from apiserver.storage.zipped import MOST, ZippedLists


def entries(*data: bytes) -> list[Entry]:
    return [Entry("ns", str(n), n, each, {"metadata": {}}, {}) for n, each in enumerate(data)]


@given(st.binary(max_size=200_000), st.lists(st.binary(max_size=5_000), max_size=20))
def test_a_head_and_a_segment_are_one_gzip_stream(head: bytes, data: list[bytes]) -> None:
    stream = zipped._compress(1, entries(*data)).after(head)
    assert gzip.decompress(stream) == head + b",".join(data) + b"]}\n"
    # Clients that read one member only see all of it.
    assert zlib.decompressobj(31).decompress(stream) == head + b",".join(data) + b"]}\n"


async def test_readers_share_what_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    compress = zipped._compress

    def counting(stamp: int, found: list[Entry]) -> zipped.Segment:
        made.append(stamp)
        return compress(stamp, found)

    monkeypatch.setattr(zipped, "_compress", counting)
    lists = ZippedLists()
    first = await asyncio.gather(*(lists.segment("all", 5, entries(b"{}")) for _ in range(10)))
    assert len({id(segment) for segment in first}) == 1
    assert await lists.segment("all", 5, entries(b"{}")) is first[0]
    assert (await lists.segment("all", 6, entries(b"{}", b"{}"))).size > first[0].size
    assert made == [5, 6]


async def test_what_is_kept_is_bounded() -> None:
    lists = ZippedLists()
    for number in range(3 * MOST):
        await lists.segment(number, 1, entries(b"{}"))
    assert len(lists._kept) == MOST


async def test_what_nobody_waits_for_any_more_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers who ask for ever new lists and go at once must not leave work behind for the threads of all."""
    made: list[int] = []
    go = threading.Event()
    compress = zipped._compress

    def slow(stamp: int, found: list[Entry]) -> zipped.Segment:
        made.append(stamp)
        go.wait(10)
        return compress(stamp, found)

    monkeypatch.setattr(zipped, "_compress", slow)
    lists = ZippedLists()
    readers = [asyncio.create_task(lists.segment("all", n, entries(b"{}"))) for n in range(1, 200)]
    patient = asyncio.create_task(lists.segment("all", 199, entries(b"{}")))
    while len(made) < zipped.AT_A_TIME:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    go.set()
    assert (await patient).stamp == 199
    assert (await lists.segment("all", 5, entries(b"{}"))).stamp == 5, "who comes again is served"
    assert made == [1, 2, 199, 5]
    async with asyncio.timeout(10):
        while lists._making:  # noqa: ASYNC110 - those that were begun are made to the end
            await asyncio.sleep(0.001)
