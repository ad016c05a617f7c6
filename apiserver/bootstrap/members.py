"""Which API servers there are: each keeps a key with a lease, and the ``kubernetes`` service leads to those that have
one (upstream: pkg/controlplane/reconcilers/lease.go, and its keys and times).

Processes that share an address share a key. One that listens on another port of that address stays out while the first
is there: an address leads to one port.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from apiserver.storage import transactions
from apiserver.storage.etcd import prefix_end

PREFIX = b"/registry/masterleases/"
TTL = 15
"""Seconds after which one that says nothing is gone (upstream's DefaultEndpointReconcilerTTL)."""


class Etcd(Protocol):
    async def lease_grant(self, seconds: int) -> int: ...
    async def txn(self, request: Any) -> Any: ...
    async def range(self, key: bytes, range_end: bytes = ...) -> Any: ...


class Members:
    def __init__(self, etcd: Etcd, ttl: int = TTL) -> None:
        self._etcd = etcd
        self._ttl = ttl

    async def join(self, address: str, port: int) -> None:
        """Says that this one is there, for the next seconds."""
        lease = await self._etcd.lease_grant(self._ttl)
        await self._etcd.txn(transactions.put_if_mine(PREFIX + address.encode(), _value(address, port), lease))

    async def leave(self, address: str, port: int) -> None:
        key = PREFIX + address.encode()
        await self._etcd.txn(
            transactions.when([transactions.holds(key, _value(address, port))], [transactions.remove(key)])
        )

    async def present(self) -> dict[str, int]:
        """The port of each address."""
        members: dict[str, int] = {}
        for kv in (await self._etcd.range(PREFIX, prefix_end(PREFIX))).kvs:
            try:
                subset = orjson.loads(kv.value)["subsets"][0]
                members[subset["addresses"][0]["ip"]] = int(subset["ports"][0]["port"])
            except (ValueError, LookupError, TypeError):  # not ours
                continue
        return members


def _value(address: str, port: int) -> bytes:
    return orjson.dumps({"subsets": [{"addresses": [{"ip": address}], "ports": [{"port": port}]}]})
