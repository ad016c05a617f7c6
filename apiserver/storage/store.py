"""Reads and writes of one resource.

A write is one transaction that compares the revision its writer saw. It starts from the cache, which may be a moment
old: what fails or refuses on that is tried again on what etcd holds (upstream's GuaranteedUpdate). A read is never
older than a write that was answered before it began: it asks etcd for its revision and waits for the cache to be there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from inspect import isawaitable
from typing import Any

from apiserver.storage import claims, continuation, transactions
from apiserver.storage.cache import Entry, ResourceCache, matching
from apiserver.storage.encoding import UNREADABLE, encode, join_key, prefix_of, with_revision
from apiserver.storage.etcd import Etcd, LeaseNotFound, ReadIndex
from apiserver.storage.feed import Feed
from apiserver.storage.guarded import add_terms, commit
from apiserver.storage.leases import Leases
from apiserver.storage.past import Page, list_past
from apiserver.storage.watchers import Hub
from apiserver.storage.zipped import ZippedLists
from apiserver.types import Guard, Object, Resource, Terms
from common.api.selectors import EVERYTHING, Selector
from common.api.status import Conflict, InternalError, StatusError, Timeout, already_exists, conflict, not_found
from common.aside import aside

Change = Callable[[Object], Object | None] | Callable[[Object], Awaitable[Object | None]]

ATTEMPTS = 64


class Stale(Conflict):
    """What a guard of the write stands for is not so any more: nothing was written, and the caches show why."""


class Store:
    """The ObjectStore of one resource, and what the verbs need beyond it."""

    def __init__(
        self, cache: ResourceCache, etcd: Etcd, feed: Feed, index: ReadIndex, leases: Leases | None = None
    ) -> None:
        self.resource: Resource = cache.resource
        self.cache = cache
        self.hub = Hub(cache)
        self.zipped = ZippedLists()
        self.feed = feed
        self._etcd = etcd
        self._read_index = index
        self._leases = leases
        self._prefix = prefix_of(*cache.storage)
        self._claims_of: claims.ClaimsOf | None = None
        """The keys that an object of this resource holds while it is stored."""

    # -- reading

    async def fresh(self) -> bool:
        """Whether the cache has reached what etcd holds now."""
        return await self.feed.wait(await self._read_index.revision())

    async def reached(self, revision: int) -> bool:
        return await self.feed.wait(revision)

    async def entry(self, namespace: str, name: str) -> Entry:
        """The object as it is now. Raises NotFound."""
        if await self.fresh():
            found = self.cache.get(namespace, name)
            if found is None:
                raise self._missing(name)
            return found
        return await self._read(namespace, name)

    async def get(self, namespace: str, name: str) -> Object:
        return (await self.entry(namespace, name)).parse()

    async def list(
        self, namespace: str = "", labels: Selector = EVERYTHING, fields: Selector = EVERYTHING, limit: int = 0
    ) -> Page:
        """The objects as they are now."""
        if not await self.fresh():
            raise Timeout("etcdserver: request timed out", {"retryAfterSeconds": 1})
        return await self.list_cached(namespace, labels, fields, limit)

    async def list_cached(
        self, namespace: str = "", labels: Selector = EVERYTHING, fields: Selector = EVERYTHING, limit: int = 0
    ) -> Page:
        """As the cache has them."""
        entries = self.cache.candidates(namespace, labels, fields)
        revision, stamp = self.feed.revision, self.cache.changed
        # A selector has as many terms as a URL holds, and each may be looked at for each object.
        terms = len(labels.requirements) + len(fields.requirements)
        entries = await aside(len(entries) * terms, matching, entries, labels, fields)
        if not limit or len(entries) <= limit:
            return Page(entries, revision, stamp=stamp)
        remaining = len(entries) - limit if labels.everything and fields.everything else None
        token = continuation.Continuation(revision, entries[limit - 1].key + "\0").encode()
        return Page(entries[:limit], revision, token, remaining, stamp)

    async def list_at(
        self, revision: int, start: str, namespace: str, labels: Selector, fields: Selector, limit: int
    ) -> Page:
        """The objects as they were at ``revision``, from key ``start`` on: what etcd's history is for.

        Raises CompactedError.
        """
        return await list_past(self._etcd, self.cache, revision, start, namespace, labels, fields, limit)

    def cached(self, namespace: str, name: str) -> Object | None:
        entry = self.cache.get(namespace, name)
        return None if entry is None else self.cache.object_of(entry)

    def cached_list(self, namespace: str | None = None) -> Iterable[Object]:
        return [self.cache.object_of(entry) for entry in self.cache.all(namespace or "")]

    def on_change(self, callback: Callable[[str, Object], None]) -> None:
        self.cache.callbacks.append(callback)

    def claim(self, claims_of: claims.ClaimsOf) -> None:
        self._claims_of = claims_of

    # -- writing

    async def create(self, obj: Object, guards: Sequence[Guard] = ()) -> Object:
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "") if self.resource.namespaced else ""
        key, value = self._key(namespace, metadata["name"]), encode(obj)
        request = transactions.create(key, value, await self._lease())
        if self._claims_of is not None:
            add_terms(request, claims.terms(claims.NOTHING, self._claims_of(obj)))
        answer = await self._commit(request, guards)
        if not answer.succeeded:
            if answer.responses[0].response_range.count:
                raise already_exists(self.resource.plural, metadata["name"], self.resource.group)
            await self.feed.wait(answer.header.revision)
            stale = conflict(self.resource.plural, metadata["name"], self.resource.group)
            raise Stale(stale.message, stale.details)
        metadata["resourceVersion"] = str(answer.header.revision)
        return obj

    async def exists(self, namespace: str, name: str) -> bool:
        return bool((await self._etcd.range(self._key(namespace, name), count_only=True)).count)

    async def update(self, namespace: str, name: str, change: Change, *, resource_version: str | None = None) -> Object:
        async def change_entry(entry: Entry) -> Object | None:
            changed = change(entry.parse())
            return await changed if isawaitable(changed) else changed

        return await self.update_entry(namespace, name, change_entry, resource_version=resource_version)

    async def update_entry(
        self,
        namespace: str,
        name: str,
        change: Callable[[Entry], Awaitable[Object | None]],
        *,
        resource_version: str | None = None,
        dry_run: bool = False,
        guards: Sequence[Guard] = (),
    ) -> Object:
        """As :meth:`update`; ``change`` gets the entry, to parse as often as it needs.

        ``guards`` is looked at after each call of ``change``, which may fill it.
        """
        entry, current = await self._start(namespace, name)
        key = self._key(namespace, name)
        for _ in range(ATTEMPTS):
            try:
                if resource_version is not None and resource_version != str(entry.revision):
                    raise conflict(self.resource.plural, name, self.resource.group)
                result = await change(entry)
            except StatusError:
                newer = await self._newer(namespace, name, entry, current)
                if newer is None:
                    raise
                entry, current = newer, True
                continue
            remove = result is not None and is_gone(self.resource, result)
            value = b"" if result is None else encode(result)
            if result is None or dry_run or (not remove and self._is_same(value, entry)):
                # Nothing is written; but that must rest on what etcd has, not on what the cache remembers.
                newer = await self._newer(namespace, name, entry, current)
                if newer is not None:
                    entry, current = newer, True
                    continue
                if result is None or not dry_run:
                    return entry.parse()
                result["metadata"]["resourceVersion"] = str(entry.revision)
                return result
            request = (
                transactions.delete(key, entry.revision)
                if remove
                else transactions.update(key, value, entry.revision, await self._lease())
            )
            if self._claims_of is not None:
                after = claims.NOTHING if remove else self._claims_of(result)
                add_terms(request, claims.terms(self._claims_of(self.cache.object_of(entry)), after))
            answer = await self._commit(request, guards)
            if answer.succeeded:
                result["metadata"]["resourceVersion"] = str(answer.header.revision)
                return result
            newer = self._state(namespace, name, answer)
            if newer.revision == entry.revision:  # it was another term that failed: what it stands for comes
                await self.feed.wait(answer.header.revision)
            entry, current = newer, True
        raise conflict(self.resource.plural, name, self.resource.group)

    async def delete(
        self, namespace: str, name: str, *, uid: str | None = None, resource_version: str | None = None
    ) -> Object:
        entry, current = await self._start(namespace, name)
        key = self._key(namespace, name)
        for _ in range(ATTEMPTS):
            obj = entry.parse()
            try:
                self.check_preconditions(obj, uid, resource_version)
            except Conflict:
                newer = await self._newer(namespace, name, entry, current)
                if newer is None:
                    raise
                entry, current = newer, True
                continue
            request = transactions.delete(key, entry.revision)
            if self._claims_of is not None:
                add_terms(request, claims.terms(self._claims_of(obj), claims.NOTHING))
            answer = await self._etcd.txn(request)
            if answer.succeeded:
                obj["metadata"]["resourceVersion"] = str(answer.header.revision)
                return obj
            entry, current = self._state(namespace, name, answer), True
        raise conflict(self.resource.plural, name, self.resource.group)

    def check_preconditions(self, obj: Object, uid: str | None, resource_version: str | None) -> None:
        """Raises Conflict with upstream's words."""
        metadata = obj["metadata"]
        for wanted, field, word in ((uid, "uid", "UID"), (resource_version, "resourceVersion", "ResourceVersion")):
            if wanted is not None and wanted != metadata.get(field, ""):
                raise conflict(
                    self.resource.plural,
                    metadata["name"],
                    self.resource.group,
                    f"the {word} in the precondition ({wanted}) does not match the {word} in record "
                    f"({metadata.get(field, '')}). The object might have been deleted and then recreated",
                )

    def unchanged(self, namespace: str, name: str, revision: str) -> Terms:
        return Terms((transactions.at(self._key(namespace, name), int(revision)),))

    def replaced(self, obj: Object) -> Terms:
        metadata = obj["metadata"]
        key = self._key(metadata.get("namespace", "") if self.resource.namespaced else "", metadata["name"])
        revision = int(metadata["resourceVersion"])
        return Terms((transactions.at(key, revision),), (transactions.put(key, encode(obj)),))

    # -- helpers

    async def _commit(self, request: Any, guards: Sequence[Guard]) -> Any:
        try:
            return await commit(self._etcd, request, guards)
        except LeaseNotFound:
            if self._leases is not None:
                self._leases.forget()
            raise

    def _key(self, namespace: str, name: str) -> bytes:
        return self._prefix + join_key(namespace, name).encode()

    def _missing(self, name: str) -> StatusError:
        return not_found(self.resource.plural, name, self.resource.group)

    async def _lease(self) -> int:
        return 0 if self._leases is None else await self._leases.current()

    async def _start(self, namespace: str, name: str) -> tuple[Entry, bool]:
        """What a write starts from, and whether it is surely what etcd has."""
        entry = self.cache.get(namespace, name)
        return (entry, False) if entry is not None else (await self._read(namespace, name), True)

    async def _newer(self, namespace: str, name: str, entry: Entry, current: bool) -> Entry | None:
        """What etcd has, if that is another than ``entry``; ``current`` entries come from there."""
        newer = entry if current else await self._read(namespace, name)
        return None if newer.revision == entry.revision else newer

    def _is_same(self, value: bytes, entry: Entry) -> bool:
        return with_revision(self.cache.head, value, entry.revision) == entry.data

    async def _read(self, namespace: str, name: str) -> Entry:
        answer = await self._etcd.range(self._key(namespace, name))
        return self._entry_of(namespace, name, answer.kvs)

    def _state(self, namespace: str, name: str, answer: object) -> Entry:
        """The present state, out of a transaction that lost."""
        return self._entry_of(namespace, name, answer.responses[0].response_range.kvs)  # type: ignore[attr-defined]

    def _entry_of(self, namespace: str, name: str, kvs: object) -> Entry:
        for kv in kvs:  # type: ignore[attr-defined]
            try:
                return self.cache.entry_of(namespace, name, kv.mod_revision, kv.value)
            except UNREADABLE as error:
                key = self._key(namespace, name).decode(errors="replace")
                raise InternalError(f"Internal error occurred: unable to decode {key}: {error}") from error
        raise self._missing(name)


def is_gone(resource: Resource, obj: Object) -> bool:
    """Whether a write leaves an object that nothing holds any more: it was deleted and its finalizers are done."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if resource.graceful and metadata.get("deletionGracePeriodSeconds"):
        return False
    if resource.kind == "Namespace" and not resource.group:
        return not (obj.get("spec") or {}).get("finalizers")
    return True
