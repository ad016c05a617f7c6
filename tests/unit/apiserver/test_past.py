"""Lists of the past, which are read from etcd and parsed anew."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest

from apiserver.resources.table import RESOURCES
from apiserver.storage.cache import ResourceCache
from apiserver.storage.past import LONGEST_PAGE, TURN, list_past
from common.api.selectors import EVERYTHING

CACHE = ResourceCache(next(r for r in RESOURCES if r.plural == "configmaps"))


@dataclass(frozen=True)
class KeyValue:
    key: bytes
    value: bytes
    mod_revision: int = 1


@dataclass(frozen=True)
class Answer:
    kvs: list[KeyValue]
    count: int


class History:
    """As an Etcd of so many ConfigMaps."""

    def __init__(self, size: int) -> None:
        value = CACHE.head + b'"name":"x"}}'
        self.kvs = [KeyValue(b"/registry/configmaps/ns/%06d" % n, value) for n in range(size)]
        self.asked: list[int] = []

    async def range(self, key: bytes, end: bytes, *, limit: int, revision: int) -> Answer:
        self.asked.append(limit)
        left = [kv for kv in self.kvs if key <= kv.key < end]
        return Answer(left[:limit], len(left))


@pytest.mark.parametrize("limit", [0, 10, LONGEST_PAGE + 1, 1_000_000])
async def test_others_have_their_turn_while_a_long_list_is_read(limit: int) -> None:
    history, turns = History(3 * LONGEST_PAGE), 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    page = await list_past(cast(Any, history), CACHE, 5, "", "", EVERYTHING, EVERYTHING, limit)
    task.cancel()
    count = min(limit or len(history.kvs), len(history.kvs))
    assert [entry.name for entry in page.entries] == [f"{n:06d}" for n in range(count)]
    assert page.remaining == (len(history.kvs) - count or None)
    assert bool(page.token) is (count < len(history.kvs))
    assert max(history.asked) <= LONGEST_PAGE
    assert turns >= count // TURN - len(history.asked)
