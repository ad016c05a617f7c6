"""Every five minutes etcd forgets what is older than five minutes.

Several API servers share one etcd: whoever wins the compare-and-swap of one key compacts, and all remember the
revision at which that happened (upstream: apiserver/pkg/storage/etcd3/compact.go; its key has the same name).
"""

from __future__ import annotations

import asyncio
import logging

from aetcd import rpc

from apiserver.storage.etcd import Etcd
from common.api.status import StatusError

log = logging.getLogger(__name__)

INTERVAL = 300.0
KEY = b"compact_rev_key"


async def compact_once(etcd: Etcd, version: int, revision: int) -> tuple[int, int]:
    """Compacts at ``revision`` if nobody else did since ``version``. The key's version and etcd's revision now."""
    answer = await etcd.txn(
        rpc.TxnRequest(
            compare=[rpc.Compare(target=rpc.Compare.VERSION, result=rpc.Compare.EQUAL, key=KEY, version=version)],
            success=[rpc.RequestOp(request_put=rpc.PutRequest(key=KEY, value=str(revision).encode()))],
            failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=KEY))],
        )
    )
    now = int(answer.header.revision)
    if not answer.succeeded:
        kvs = answer.responses[0].response_range.kvs
        return (int(kvs[0].version) if kvs else 0), now
    if revision > 0:
        await etcd.compact(revision)
        log.info("compacted etcd at revision %d", revision)
    return version + 1, now


async def run(etcd: Etcd, interval: float = INTERVAL) -> None:
    """Until cancelled."""
    version, revision = 0, 0
    while True:
        try:
            version, revision = await compact_once(etcd, version, revision)
        except StatusError as error:
            log.warning("etcd was not compacted: %s", error)
        await asyncio.sleep(interval)
