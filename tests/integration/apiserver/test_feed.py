"""The feed of the watch caches from a real etcd: what must not stop it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from apiserver.resources.table import RESOURCES
from apiserver.storage import transactions
from apiserver.storage.etcd import Etcd, EtcdTLS
from apiserver.storage.registry import Stores
from tests.integration.conftest import ApiServer
from tests.integration.conftest import Etcd as EtcdProcess

SERVED = [r for r in RESOURCES if "get" in r.verbs]


@pytest.fixture
async def etcd_client(etcd: EtcdProcess, apiserver: ApiServer) -> AsyncIterator[Etcd]:
    pki = etcd.pki
    files = (pki / "etcd/ca.crt", pki / "apiserver-etcd-client.crt", pki / "apiserver-etcd-client.key")
    client = Etcd([etcd.endpoint], EtcdTLS(*map(str, files)))
    yield client
    await client.close()


@asynccontextmanager
async def fed(client: Etcd) -> AsyncIterator[Stores]:
    stores = Stores(SERVED, client)
    task = asyncio.create_task(stores.feed.run())
    synced = asyncio.create_task(stores.feed.synced.wait())
    await asyncio.wait({task, synced}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert synced.done(), "the feed ended"
    try:
        yield stores
        assert not task.done()
    finally:
        task.cancel()


async def test_many_waiting_readers_do_not_break_the_watch(etcd_client: Etcd, caplog: pytest.LogCaptureFixture) -> None:
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
async def test_a_value_that_is_no_object_is_left_out(etcd_client: Etcd, key: bytes) -> None:
    path = b"/registry/configmaps/default/" + key
    async with fed(etcd_client) as watching:
        written = await etcd_client.txn(transactions.create(path, b"k8s\x00 not for us"))
        try:
            assert await watching.feed.wait(written.header.revision)
            async with fed(etcd_client) as listing:
                assert await listing.store("", "configmaps").fresh()
        finally:
            await etcd_client.txn(transactions.delete(path, written.header.revision))
