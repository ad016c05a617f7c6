"""Leases that expire what nobody deletes: events."""

from __future__ import annotations

import asyncio
import time

from apiserver.storage.etcd import Etcd

EVENT_TTL = 3600
"""Seconds. Events are forgotten after an hour (upstream's --event-ttl)."""
SHARE = 60.0
"""Keys written within a minute share a lease."""


class Leases:
    def __init__(self, etcd: Etcd, seconds: int = EVENT_TTL) -> None:
        self._etcd = etcd
        self._seconds = seconds
        self._lease = 0
        self._until = 0.0
        self._granting = asyncio.Lock()

    async def current(self) -> int:
        if time.monotonic() >= self._until:
            async with self._granting:
                if time.monotonic() >= self._until:
                    self._lease = await self._etcd.lease_grant(self._seconds + int(SHARE))
                    self._until = time.monotonic() + SHARE
        return self._lease

    def forget(self) -> None:
        """The lease is gone: etcd was set back to a time before it, or its clock ran away."""
        self._until = 0.0
