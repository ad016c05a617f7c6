"""The three etcd transactions of an object: each compares what the writer has seen, and reads when it lost."""

from __future__ import annotations

from typing import Any

from aetcd import rpc


def create(key: bytes, value: bytes, lease: int = 0) -> Any:
    """Puts the key if it is not there."""
    return rpc.TxnRequest(
        compare=[rpc.Compare(target=rpc.Compare.CREATE, result=rpc.Compare.EQUAL, key=key, create_revision=0)],
        success=[rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))],
    )


def update(key: bytes, value: bytes, revision: int, lease: int = 0) -> Any:
    """Puts the key if it is still at ``revision``; its present state otherwise."""
    return rpc.TxnRequest(
        compare=[_at(key, revision)],
        success=[rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))],
        failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=key))],
    )


def delete(key: bytes, revision: int) -> Any:
    """Removes the key if it is still at ``revision``; its present state otherwise."""
    return rpc.TxnRequest(
        compare=[_at(key, revision)],
        success=[rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))],
        failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=key))],
    )


def _at(key: bytes, revision: int) -> Any:
    return rpc.Compare(target=rpc.Compare.MOD, result=rpc.Compare.EQUAL, key=key, mod_revision=revision)
