"""The three etcd transactions of an object: each compares what the writer has seen, and reads when it lost.

Other terms may be added to them before they are sent: see ``claims`` and ``apiserver.types.Guard``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aetcd import rpc


def create(key: bytes, value: bytes, lease: int = 0) -> Any:
    """Puts the key if it is not there; when it lost, whether it is there (other terms may have failed)."""
    return rpc.TxnRequest(
        compare=[absent(key)],
        success=[put(key, value, lease)],
        failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=key, count_only=True))],
    )


def update(key: bytes, value: bytes, revision: int, lease: int = 0) -> Any:
    """Puts the key if it is still at ``revision``; its present state otherwise."""
    return rpc.TxnRequest(
        compare=[at(key, revision)],
        success=[put(key, value, lease)],
        failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=key))],
    )


def delete(key: bytes, revision: int) -> Any:
    """Removes the key if it is still at ``revision``; its present state otherwise."""
    return rpc.TxnRequest(
        compare=[at(key, revision)],
        success=[rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))],
        failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=key))],
    )


def put(key: bytes, value: bytes, lease: int = 0) -> Any:
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
