"""One etcd watch over everything, feeding the watch caches.

The feed lists all keys once at a fixed revision and watches from there. When etcd goes away it watches again from the
last revision it saw, so that nothing is missed and no client's watch notices; only when etcd has compacted that
revision does it list again, and then the clients' watches are ended (they list again too). ``revision`` is how far all
caches are; ``wait`` is how a consistent read waits for them. etcd says how far a quiet watch is when asked
(https://etcd.io/docs/v3.5/learning/api/#watch-streams, progress notify).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from apiserver.storage.cache import Entry, ResourceCache
from apiserver.storage.encoding import ROOT, UNREADABLE
from apiserver.storage.etcd import CompactedError, Etcd, WatchStream, prefix_end
from apiserver.storage.rpc import RpcError
from common.api.status import ServiceUnavailable, StatusError

log = logging.getLogger(__name__)

PAGE = 2000
NUDGE_AFTER = 0.05
"""A reader waits this long before etcd is asked how far the watch is."""
STALE_AFTER = 60.0
"""A watch that has been silent this long is asked for its progress."""


STUCK_AFTER = 3.0
"""A watch that does not answer for this long while a reader waits is made anew, on another endpoint if there is one."""


DELETED = 1
"""A watch event's type."""

Place = tuple[ResourceCache, str, str]
"""Cache, namespace and name."""


Written = tuple[bytes, int, bytes]
"""Key, revision and value of what was written last and is still there."""


class SetBackError(Exception):
    """etcd has another past than it was seen to have: a backup was put back. The caches show what is no more."""


class Feed:
    def __init__(self, etcd: Etcd, caches: Iterable[ResourceCache]) -> None:
        self._etcd = etcd
        self._caches: dict[str, ResourceCache] = {}
        for cache in caches:
            group, plural = cache.storage
            self._caches[f"{group}/{plural}" if group else plural] = cache
        self.revision = 0
        self.synced = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._behind = asyncio.Event()
        """A reader waits for a revision that the watch has not shown."""
        self._asked: float | None = None
        """Since when the watch has not answered."""
        self._last: Written | None = None
        """By it etcd's history is known again."""
        self.on_relist: list[Callable[[], None]] = []

    async def run(self) -> None:
        """Until cancelled."""
        pause, listed = 0.1, False
        while True:
            before = self.revision
            try:
                if not listed:
                    await self._etcd.check_version()
                    await self._list()
                    listed = True
                await self._watch()
            except CompactedError:
                log.warning("etcd has compacted revision %d: listing again", self.revision)
                listed = False
            except SetBackError as error:
                log.warning("etcd was set back (seen at revision %d, now at %s): listing again", self.revision, error)
                listed = False
            except (StatusError, RpcError) as error:
                log.warning("the watch of etcd broke at revision %d: %s", self.revision, error)
                pause = 0.1 if self.revision > before else min(pause * 2, 2.0)
                await asyncio.sleep(pause)

    async def wait(self, revision: int, timeout: float = 3.0) -> bool:
        """Whether the caches reach ``revision`` in time."""
        if self.revision >= revision:
            return True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        reached: asyncio.Future[None] = loop.create_future()
        self._waiting.append((revision, reached))
        try:
            while not reached.done():
                left = deadline - loop.time()
                if left <= 0:
                    return False
                done, _ = await asyncio.wait([reached], timeout=min(NUDGE_AFTER, left))
                if not done:
                    self._behind.set()
            return True
        finally:
            if not reached.done():
                self._waiting.remove((revision, reached))

    def _reached(self, revision: int) -> None:
        self.revision = revision
        if self._waiting:
            still = []
            for item in self._waiting:
                if item[0] > revision:
                    still.append(item)
                elif not item[1].done():
                    item[1].set_result(None)
            self._waiting = still

    def _locate(self, key: bytes) -> Place | None:
        """The cache, namespace and name of a key; None for what is not served."""
        path = key[len(ROOT) :].decode(errors="replace")
        plural, _, rest = path.partition("/")
        cache = self._caches.get(plural)
        if cache is None:
            second, _, rest = rest.partition("/")
            cache = self._caches.get(f"{plural}/{second}")
            if cache is None:
                return None
        if not cache.resource.namespaced:
            return cache, "", rest
        namespace, _, name = rest.partition("/")
        return cache, namespace, name

    async def _list(self) -> None:
        found: dict[int, tuple[ResourceCache, list[Entry]]] = {
            id(cache): (cache, []) for cache in self._caches.values()
        }
        key, end, revision = ROOT, prefix_end(ROOT), 0
        self._last = None
        while True:
            page = await self._etcd.range(key, end, limit=PAGE, revision=revision)
            revision = revision or page.header.revision
            for kv in page.kvs:
                if self._last is None or kv.mod_revision > self._last[1]:
                    self._last = kv.key, kv.mod_revision, kv.value
            for kv in page.kvs:
                if (place := self._locate(kv.key)) is not None and (entry := self._read(kv, place)) is not None:
                    found[id(place[0])][1].append(entry)
            if not page.more:
                break
            key = page.kvs[-1].key + b"\0"
        for cache, entries in found.values():
            cache.replace(entries, revision)
        for callback in self.on_relist:
            callback()
        log.info("listed etcd at revision %d", revision)
        self._reached(revision)
        self.synced.set()

    async def _watch(self) -> None:
        await self._check_history()
        stream = self._etcd.watch()
        asker: asyncio.Task[None] | None = None
        try:
            self._asked = None
            await stream.create(ROOT, prefix_end(ROOT), self.revision + 1)
            asker = asyncio.create_task(self._ask_for_progress(stream))
            async for response in stream.responses():
                self._asked = None
                if response.canceled:
                    if response.compact_revision:
                        raise CompactedError(response.cancel_reason)
                    raise ServiceUnavailable(response.cancel_reason or "etcd cancelled the watch")
                if response.events:
                    for event in response.events:
                        self._apply(event)
                    self._last = last_written(response.events, self._last)
                    self._reached(response.events[-1].kv.mod_revision)
                elif not response.created and response.header.revision > self.revision:
                    self._reached(response.header.revision)
            raise ServiceUnavailable("etcd ended the watch")
        finally:
            if asker is not None:
                asker.cancel()
            stream.cancel()

    async def _check_history(self) -> None:
        """Whether etcd's past is still the one that the caches show. Raises SetBackError, CompactedError.

        A backup that was put back need not be behind for long: what is written to it comes to the same revisions. So
        the last thing seen written must be what it was.
        """
        now = (await self._etcd.range(ROOT, count_only=True)).header.revision
        if now < self.revision:
            raise SetBackError(now)
        if self._last is not None:
            key, revision, value = self._last
            kvs = (await self._etcd.range(key, revision=self.revision)).kvs
            if not kvs or (kvs[0].mod_revision, kvs[0].value) != (revision, value):
                raise SetBackError(now)

    async def _ask_for_progress(self, stream: WatchStream) -> None:
        """Asks how far the watch is when a reader waits (another client of etcd may have written keys that this watch
        does not see), and now and then, since bookmarks carry the feed's revision."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(STALE_AFTER / 2):
                    await self._behind.wait()
            self._behind.clear()
            time = asyncio.get_running_loop().time()
            if self._asked is None:
                self._asked = time
            elif time - self._asked > STUCK_AFTER:
                log.warning("the watch of etcd does not answer")
                stream.cancel()  # which run() sees as its end
                return
            try:
                stream.request_progress()
            except RpcError:
                return  # run() sees the broken stream itself

    def _apply(self, event: Any) -> None:
        kv = event.kv
        place = self._locate(kv.key)
        if place is None:
            return
        cache, namespace, name = place
        entry = None if event.type == DELETED else self._read(kv, place)
        if entry is None:  # what cannot be read is not there, rather than as it was before
            cache.delete(namespace, name, kv.mod_revision)
        else:
            cache.put(entry)

    @staticmethod
    def _read(kv: Any, place: Place) -> Entry | None:
        """The object of a key. One unreadable value, written by something else, must not stop the cluster."""
        cache, namespace, name = place
        try:
            return cache.entry_of(namespace, name, kv.mod_revision, kv.value)
        except UNREADABLE:
            log.exception("%s holds no readable object", kv.key.decode(errors="replace"))
            return None


def last_written(events: Sequence[Any], before: Written | None) -> Written | None:
    """What was written last and not deleted since, after more of etcd's events."""
    gone: set[bytes] = set()
    for event in reversed(events):
        kv = event.kv
        if event.type == DELETED:
            gone.add(kv.key)
        elif kv.key not in gone:
            return kv.key, kv.mod_revision, kv.value
    return None if before is not None and before[0] in gone else before
