"""The three etcd transactions of an object: each compares what the writer has seen, and reads when it lost.

Other terms may be added to them before they are sent: see ``claims`` and ``apiserver.types.Guard``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aetcd import rpc


def create(key: bytes, value: bytes, lease: int = 0) -> Any:
    """Puts the key if it is not there; when it lost, whether it is there (other terms may have failed)."""
    request = rpc.TxnRequest()
    compare = request.compare.add()
    compare.target, compare.key, compare.create_revision = rpc.Compare.CREATE, key, 0
    _put(request, key, value, lease)
    read = request.failure.add().request_range
    read.key, read.count_only = key, True
    return request


def update(key: bytes, value: bytes, revision: int, lease: int = 0) -> Any:
    """Puts the key if it is still at ``revision``; its present state otherwise."""
    request = _if_at(key, revision)
    _put(request, key, value, lease)
    return request


def delete(key: bytes, revision: int) -> Any:
    """Removes the key if it is still at ``revision``; its present state otherwise."""
    request = _if_at(key, revision)
    request.success.add().request_delete_range.key = key
    return request


def _if_at(key: bytes, revision: int) -> Any:
    request = rpc.TxnRequest()
    compare = request.compare.add()
    compare.target, compare.key, compare.mod_revision = rpc.Compare.MOD, key, revision
    request.failure.add().request_range.key = key
    return request


def _put(request: Any, key: bytes, value: bytes, lease: int) -> None:
    """Filled in place, as above: messages made apart and copied in cost twice as much."""
    put = request.success.add().request_put
    put.key, put.value, put.lease = key, value, lease


def put(key: bytes, value: bytes, lease: int = 0) -> Any:
    """One step of another transaction."""
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))


def absent(key: bytes) -> Any:
    return rpc.Compare(target=rpc.Compare.CREATE, result=rpc.Compare.EQUAL, key=key, create_revision=0)


def at(key: bytes, revision: int) -> Any:
    """The key is at ``revision``: 0 when it is absent."""
    return rpc.Compare(target=rpc.Compare.MOD, result=rpc.Compare.EQUAL, key=key, mod_revision=revision)


def holds(key: bytes, value: bytes) -> Any:
    return rpc.Compare(target=rpc.Compare.VALUE, result=rpc.Compare.EQUAL, key=key, value=value)


def when(compare: Iterable[Any], then: Iterable[Any], otherwise: Iterable[Any] = ()) -> Any:
    return rpc.TxnRequest(compare=list(compare), success=list(then), failure=list(otherwise))


def remove(key: bytes) -> Any:
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))


def delete_if(key: bytes, value: bytes) -> Any:
    """Removes the key if it has this value; nothing otherwise. One step of another transaction."""
    return rpc.RequestOp(request_txn=when([holds(key, value)], [remove(key)]))


def put_if_mine(key: bytes, value: bytes, lease: int) -> Any:
    """Puts the key if it is not there, or has this value already (and another lease)."""
    step = [put(key, value, lease)]
    return when([holds(key, value)], step, [rpc.RequestOp(request_txn=when([absent(key)], step))])
