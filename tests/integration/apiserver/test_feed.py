"""The feed of the watch caches from a real etcd: what must not stop it."""

from __future__ import annotations

import asyncio
import logging
import uuid

import pytest

from apiserver.storage import transactions
from apiserver.storage.etcd import Etcd
from tests.integration.apiserver.conftest import Fed


async def test_many_waiting_readers_do_not_break_the_watch(
    etcd_client: Etcd, fed: Fed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with fed(etcd_client) as stores:
        assert await stores.store("", "namespaces").fresh()
        future = stores.feed.revision + 1000
        waiting = [stores.feed.wait(future, timeout=0.5) for _ in range(50)]
        assert await asyncio.gather(*waiting) == [False] * 50
        assert "the watch of etcd broke" not in caplog.text
        # What is written outside the feed's keys is seen because a reader asked.
        key = f"elsewhere/{uuid.uuid4()}".encode()
        answer = await etcd_client.txn(transactions.create(key, b"x"))
        assert await stores.feed.wait(answer.header.revision)


@pytest.mark.parametrize("key", [b"poison", b"\xff\xfe"])
async def test_a_value_that_is_no_object_is_left_out(etcd_client: Etcd, fed: Fed, key: bytes) -> None:
    path = b"/registry/configmaps/default/" + key
    async with fed(etcd_client) as watching:
        written = await etcd_client.txn(transactions.create(path, b"k8s\x00 not for us"))
        try:
            assert await watching.feed.wait(written.header.revision)
            async with fed(etcd_client) as listing:
                assert await listing.store("", "configmaps").fresh()
        finally:
            await etcd_client.txn(transactions.delete(path, written.header.revision))
