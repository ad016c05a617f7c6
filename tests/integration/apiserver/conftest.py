"""The storage of the server under test, opened beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from apiserver.resources.table import RESOURCES
from apiserver.storage.etcd import Etcd, EtcdTLS
from apiserver.storage.registry import Stores
from tests.integration.conftest import ApiServer
from tests.integration.conftest import Etcd as EtcdProcess

SERVED = [r for r in RESOURCES if "get" in r.verbs]
Fed = Callable[[Etcd], AbstractAsyncContextManager[Stores]]


def etcd_tls(etcd: EtcdProcess) -> EtcdTLS:
    pki = etcd.pki
    files = (pki / "etcd/ca.crt", pki / "apiserver-etcd-client.crt", pki / "apiserver-etcd-client.key")
    return EtcdTLS(*map(str, files))


@pytest.fixture
async def etcd_client(etcd: EtcdProcess, apiserver: ApiServer) -> AsyncIterator[Etcd]:
    client = Etcd([etcd.endpoint], etcd_tls(etcd))
    yield client
    await client.close()


@pytest.fixture
def fed() -> Fed:
    """Stores with a feed of their own: ``async with fed(etcd_client) as stores``."""

    @asynccontextmanager
    async def opened(client: Etcd) -> AsyncIterator[Stores]:
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

    return opened


@pytest.fixture
async def stores(etcd_client: Etcd, fed: Fed) -> AsyncIterator[Stores]:
    async with fed(etcd_client) as opened:
        yield opened
