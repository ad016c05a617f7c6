"""A Registry in memory: enough of the contract for the rooms that only read caches and write single objects."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any

from apiserver.resources.strategy import KindStrategy
from apiserver.types import AdmissionRequest, Guard, Object, Operation, Resource, Terms, User
from common.api.status import already_exists, not_found

Change = Callable[[Object], Any]
_revisions = itertools.count(1)


def resource(group: str, plural: str, *, namespaced: bool = True) -> Resource:
    return Resource(group, "v1", plural, plural[:-1].capitalize(), plural[:-1], namespaced, KindStrategy())


class MemoryStore:
    def __init__(self, group: str, plural: str) -> None:
        self.resource = resource(group, plural)
        self.objects: dict[tuple[str, str], Object] = {}
        self.callbacks: list[Callable[[str, Object], None]] = []

    async def get(self, namespace: str, name: str) -> Object:
        if (namespace, name) not in self.objects:
            raise not_found(self.resource.plural, name, self.resource.group)
        return copy.deepcopy(self.objects[namespace, name])

    async def fresh(self) -> bool:
        return True

    async def reached(self, revision: int) -> bool:
        return True

    def unchanged(self, namespace: str, name: str, revision: str) -> Terms:
        return Terms()

    def replaced(self, obj: Object) -> Terms:
        return Terms((), (partial(self.put, obj),))

    def claim(self, claims_of: Callable[[Object], Mapping[bytes, bytes]]) -> None:
        pass

    async def create(self, obj: Object, guards: Sequence[Guard] = ()) -> Object:
        metadata = obj["metadata"]
        key = metadata.get("namespace", ""), metadata["name"]
        if key in self.objects:
            raise already_exists(self.resource.plural, metadata["name"], self.resource.group)
        self.put(obj)
        return obj

    async def update(self, namespace: str, name: str, change: Change, *, resource_version: str | None = None) -> Object:
        changed = change(await self.get(namespace, name))
        if isawaitable(changed):
            changed = await changed
        if changed is not None:
            self.put(changed)
        return await self.get(namespace, name)

    async def delete(
        self, namespace: str, name: str, *, uid: str | None = None, resource_version: str | None = None
    ) -> Object:
        obj = await self.get(namespace, name)
        self.remove(namespace, name)
        return obj

    def cached(self, namespace: str, name: str) -> Object | None:
        return self.objects.get((namespace, name))

    def cached_list(self, namespace: str | None = None) -> Iterable[Object]:
        return [o for (ns, _), o in self.objects.items() if namespace in (None, "", ns)]

    def on_change(self, callback: Callable[[str, Object], None]) -> None:
        self.callbacks.append(callback)

    def put(self, obj: Object) -> None:
        key = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        type_ = "MODIFIED" if key in self.objects else "ADDED"
        stored = copy.deepcopy(obj)
        stored["metadata"]["resourceVersion"] = str(next(_revisions))
        self.objects[key] = stored
        for callback in self.callbacks:
            callback(type_, stored)

    def remove(self, namespace: str, name: str) -> None:
        obj = self.objects.pop((namespace, name))
        for callback in self.callbacks:
            callback("DELETED", obj)


class MemoryRegistry:
    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], MemoryStore] = {}

    def store(self, group: str, plural: str) -> MemoryStore:
        return self._stores.setdefault((group, plural), MemoryStore(group, plural))

    def resources(self) -> Iterable[Resource]:
        return [store.resource for store in self._stores.values()]

    def put(self, group: str, plural: str, name: str, namespace: str = "", **fields: Any) -> Object:
        metadata: Object = {"name": name, "uid": f"uid-{name}", **fields.pop("metadata", {})}
        if namespace:
            metadata["namespace"] = namespace
        obj = {"metadata": metadata, **fields}
        self.store(group, plural).put(obj)
        return obj


def review(
    operation: Operation,
    group: str,
    plural: str,
    obj: Object | None,
    *,
    old: Object | None = None,
    user: User | None = None,
    subresource: str = "",
    namespace: str = "default",
    dry_run: bool = False,
) -> AdmissionRequest:
    name = ((obj or old or {}).get("metadata") or {}).get("name", "")
    kind = resource(group, plural)
    user = user or User("u", groups=("system:authenticated",))
    return AdmissionRequest(operation, kind, subresource, namespace, name, obj, old, user, {}, dry_run)


async def commit(request: AdmissionRequest) -> None:
    """What storage does when the request's object is written."""
    for guard in request.guards:
        for step in (await guard.enter()).then:
            if callable(step):  # a replaced object of this fake; etcd's own steps are for etcd
                step()
        guard.leave(next(_revisions))
