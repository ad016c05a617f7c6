"""Which endpoint a call goes to, and which calls are made twice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aetcd import rpc

from apiserver.storage.etcd import CompactedError, Etcd
from common.api.status import ServiceUnavailable
from tests.unit.apiserver.grpc_peer import Listener, Peer, until

REVISION = rpc.RangeResponse(header=rpc.ResponseHeader(revision=7)).SerializeToString()
DONE = rpc.TxnResponse(succeeded=True).SerializeToString()


@pytest.fixture
async def members() -> AsyncIterator[list[Listener]]:
    made = [Listener(), Listener()]
    for member in made:
        await member.start()
    yield made
    for member in made:
        await member.stop()
        assert not member.errors()


@pytest.fixture
async def etcd(members: list[Listener]) -> AsyncIterator[Etcd]:
    client = Etcd([member.url for member in members])
    for endpoint in client._endpoints:
        await endpoint.connect(10)
    await until(lambda: all(member.peers for member in members))
    yield client
    await client.close()


def counts(members: list[Listener]) -> list[int]:
    return [sum(len(peer.requests) for peer in member.peers) for member in members]


def answering(members: list[Listener], message: bytes) -> None:
    for member in members:
        member.peers[0].answer = lambda peer, stream, _: peer.reply(stream, message)


async def test_an_answer_that_is_an_error_moves_nobody(members: list[Listener], etcd: Etcd) -> None:
    members[0].peers[0].answer = lambda peer, stream, _: peer.refuse(stream, 11, "compacted")
    for _ in range(3):
        with pytest.raises(CompactedError):
            await etcd.range(b"x", revision=1)
    assert counts(members) == [3, 0]


async def test_a_read_is_repeated_elsewhere(members: list[Listener], etcd: Etcd) -> None:
    answering(members, REVISION)
    members[0].peers[0].answer = lambda peer, stream, _: peer.refuse(stream, 14, "etcdserver: no leader")
    assert (await etcd.range(b"x")).header.revision == 7
    assert counts(members) == [1, 1]
    await etcd.range(b"x")
    assert counts(members) == [1, 2]


async def test_a_write_that_may_have_happened_is_not_repeated(members: list[Listener], etcd: Etcd) -> None:
    members[0].peers[0].answer = lambda peer, stream, _: peer.refuse(stream, 14, "etcdserver: leader changed")
    with pytest.raises(ServiceUnavailable):
        await etcd.txn(rpc.TxnRequest())
    assert counts(members) == [1, 0]


async def test_a_write_that_was_not_begun_is_made_elsewhere(members: list[Listener], etcd: Etcd) -> None:
    def refuse(peer: Peer, stream: int, message: bytes) -> None:
        peer.h2.reset_stream(stream, 7)

    answering(members, DONE)
    members[0].peers[0].answer = refuse
    assert (await etcd.txn(rpc.TxnRequest())).succeeded
    assert counts(members) == [1, 1]
