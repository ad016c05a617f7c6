"""All stores of the server, over one etcd, one feed and one question for etcd's revision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apiserver.storage.cache import ResourceCache
from apiserver.storage.encoding import ROOT, storage_of
from apiserver.storage.etcd import Etcd, ReadIndex
from apiserver.storage.feed import Feed
from apiserver.storage.leases import Leases
from apiserver.storage.store import Store
from apiserver.types import Resource
from common.api.status import NotFound


class Stores:
    """The Registry. Resources that share a storage share a store: that of the resource the storage is named after."""

    def __init__(self, resources: Sequence[Resource], etcd: Etcd) -> None:
        self._resources = tuple(resources)
        self.etcd = etcd
        caches: dict[tuple[str, str], ResourceCache] = {}
        for resource in self._resources:
            if resource.stored_as is None:
                caches.setdefault(storage_of(resource), ResourceCache(resource))
        self.feed = Feed(etcd, caches.values())
        index = ReadIndex(etcd, ROOT, lambda: self.feed.revision)
        leases = Leases(etcd)
        self._stores = {
            where: Store(cache, etcd, self.feed, index, leases if where == ("", "events") else None)
            for where, cache in caches.items()
        }
        for resource in self._resources:
            self._stores.setdefault((resource.group, resource.plural), self._stores[storage_of(resource)])
        self.feed.on_relist.append(self._start_again)

    def store(self, group: str, plural: str) -> Store:
        found = self._stores.get((group, plural))
        if found is None:
            raise NotFound("the server could not find the requested resource")
        return found

    def resources(self) -> Iterable[Resource]:
        return self._resources

    def stores(self) -> Iterable[Store]:
        """Each once."""
        return {id(store): store for store in self._stores.values()}.values()

    def caches(self) -> Iterable[ResourceCache]:
        return {id(store.cache): store.cache for store in self._stores.values()}.values()

    def _start_again(self) -> None:
        """After a new list: an etcd that was set back comes to the same revisions with other objects."""
        self.end_watches()
        for store in self._stores.values():
            store.zipped.forget()

    def end_watches(self) -> None:
        for store in self._stores.values():
            store.hub.close_all()
