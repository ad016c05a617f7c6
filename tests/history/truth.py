"""What etcd says has happened: one watch from the beginning, which is behind none of its compactions."""

from __future__ import annotations

import asyncio

import orjson

from apiserver.storage.etcd import Etcd, prefix_end
from apiserver.storage.rpc import RpcError
from common.api.status import StatusError
from tests.history.records import State, Version

BY = "by"
LABEL = "half"


def state_of(obj: dict, revision: int | None = None) -> State:
    metadata = obj["metadata"]
    return State(
        int(metadata["resourceVersion"]) if revision is None else revision,
        (metadata.get("annotations") or {}).get(BY, ""),
        (metadata.get("labels") or {}).get(LABEL, ""),
        obj.get("data") or {},
        metadata["uid"],
    )


class Truth:
    def __init__(self, etcd: Etcd, prefix: bytes) -> None:
        self._etcd = etcd
        self._prefix = prefix
        self.versions: list[Version] = []
        self.revision = 0

    async def begin(self) -> None:
        """From here on everything is seen."""
        self.revision = int((await self._etcd.range(self._prefix, count_only=True)).header.revision)

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            stream = self._etcd.watch()
            try:
                await stream.create(self._prefix, prefix_end(self._prefix), self.revision + 1)
                async for response in stream.responses():
                    assert not response.compact_revision, "the test compacted what it had not seen"
                    for event in response.events:
                        self._record(event)
            except (RpcError, StatusError):
                await asyncio.sleep(0.05)
            finally:
                stream.cancel()

    def _record(self, event: object) -> None:
        kv = event.kv  # type: ignore[attr-defined]
        key = kv.key[len(self._prefix) :].decode()
        gone = event.type == 1  # type: ignore[attr-defined]
        state = None if gone else state_of(orjson.loads(kv.value), kv.mod_revision)
        self.versions.append(Version(kv.mod_revision, key, state, kv.version))
        self.revision = kv.mod_revision

    async def complete(self, seconds: float = 20) -> int:
        """Waits until nothing that has happened is missing. etcd's revision."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    answer = await self._etcd.range(self._prefix, prefix_end(self._prefix))
                except StatusError:
                    await asyncio.sleep(0.1)
                    continue
                if max((kv.mod_revision for kv in answer.kvs), default=0) <= self.revision:
                    keys = {kv.key[len(self._prefix) :].decode(): kv.mod_revision for kv in answer.kvs}
                    last = {v.key: v.revision if v.state else 0 for v in self.versions}
                    if keys == {k: r for k, r in last.items() if r}:
                        return int(answer.header.revision)
                await asyncio.sleep(0.05)
