"""Informer: list + watch -> an indexed local store -> handlers.

Control loops never ask the server what exists: they read the store, which a reflector keeps as the watch tells. A watch
that ends is taken up again where it stopped; one that is too old (410) is listed afresh, and the difference is told to
the handlers as ordinary adds, updates and deletes, so that a loop need not know. After client-go's informer, whose
words are kept: https://pkg.go.dev/k8s.io/client-go/tools/cache
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from common.api.meta import key_of
from common.api.status import Gone, StatusError
from common.client import Client, ObjectList, ResourceInfo

T = TypeVar("T")
Index = Callable[[T], Iterable[str]]
log = logging.getLogger(__name__)

BACKOFF = (0.2, 5.0)
"""Seconds: first and longest wait after a failure, doubling between them."""
WATCH_SECONDS = (300, 600)
"""A watch asks to be ended after a random time in this range, so that watches spread over a server that restarted."""


class Store(Generic[T]):
    """Objects by key, and keys by the values of indexes. What it hands out is shared: never change it."""

    def __init__(self, indexers: dict[str, Index[T]] | None = None) -> None:
        self._objects: dict[str, T] = {}
        self._indexers: dict[str, Index[T]] = {"namespace": _namespace, **(indexers or {})}
        self._indexes: dict[str, dict[str, dict[str, None]]] = {name: {} for name in self._indexers}

    def add_indexers(self, indexers: dict[str, Index[T]]) -> None:
        """More indexes; what is stored already is indexed at once."""
        for name, indexer in indexers.items():
            if name in self._indexers:
                continue
            self._indexers[name] = indexer
            index = self._indexes[name] = {}
            for key, obj in self._objects.items():
                for value in indexer(obj):
                    index.setdefault(value, {})[key] = None

    def get(self, key: str) -> T | None:
        return self._objects.get(key)

    def list(self) -> list[T]:
        return list(self._objects.values())

    def keys(self) -> Sequence[str]:
        return list(self._objects)

    def by_index(self, index: str, value: str) -> Sequence[T]:
        """The objects for which the indexer gave this value. KeyError for an unknown index."""
        return [self._objects[key] for key in self._indexes[index].get(value, ())]

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: str) -> bool:
        return key in self._objects

    def _set(self, key: str, obj: T) -> T | None:
        old = self._objects.get(key)
        for name, indexer in self._indexers.items():
            index = self._indexes[name]
            before = set(indexer(old)) if old is not None else set()
            after = set(indexer(obj))
            for value in after - before:
                index.setdefault(value, {})[key] = None
            self._forget(index, before - after, key)
        self._objects[key] = obj
        return old

    def _delete(self, key: str) -> T | None:
        old = self._objects.pop(key, None)
        if old is not None:
            for name, indexer in self._indexers.items():
                self._forget(self._indexes[name], indexer(old), key)
        return old

    @staticmethod
    def _forget(index: dict[str, dict[str, None]], values: Iterable[str], key: str) -> None:
        for value in values:
            keys = index.get(value)
            if keys is not None:
                keys.pop(key, None)
                if not keys:
                    del index[value]


def _namespace(obj: Any) -> Iterable[str]:
    metadata = obj.get("metadata", {}) if isinstance(obj, dict) else None
    namespace = metadata.get("namespace") if metadata is not None else obj.metadata.namespace
    return (namespace,) if namespace else ()


def resource_version_of(obj: Any) -> str:
    """The resourceVersion of a struct or a dict, "" if it has none."""
    if isinstance(obj, dict):
        return str(obj.get("metadata", {}).get("resourceVersion") or "")
    return obj.metadata.resourceVersion or ""


def forget_managers(obj: Any) -> None:
    """Takes out metadata.managedFields: often half of an object, and no control loop reads it.

    Written back without it, the object keeps what the server has.
    """
    if isinstance(obj, dict):
        obj.get("metadata", {}).pop("managedFields", None)
    else:
        obj.metadata.managedFields = None


@dataclass(frozen=True)
class _Handler(Generic[T]):
    on_add: Callable[[T], Any] | None
    on_update: Callable[[T, T], Any] | None
    on_delete: Callable[[T], Any] | None


class Informer(Generic[T]):
    """One kind, kept up to date. ``kind`` is a lightkube class, or a ResourceInfo (objects are dicts then)."""

    def __init__(
        self,
        client: Client,
        kind: type[T] | ResourceInfo,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        indexers: dict[str, Index[T]] | None = None,
        accept: str | None = None,
    ) -> None:
        """``accept`` (with a ResourceInfo) asks for another form, such as PartialObjectMetadata."""
        self.kind = kind
        self.store: Store[T] = Store(indexers)
        self._client = client
        self._namespace = namespace
        self._selectors: dict[str, Any] = {"label_selector": label_selector, "field_selector": field_selector}
        self._accept = accept
        self._handlers: list[_Handler[T]] = []
        self._synced = asyncio.Event()
        self._version: str | None = None
        self._info = kind if isinstance(kind, ResourceInfo) else ResourceInfo.of(kind)

    @property
    def synced(self) -> bool:
        """Whether the first list is in the store."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def add_handler(
        self,
        on_add: Callable[[T], Any] | None = None,
        on_update: Callable[[T, T], Any] | None = None,
        on_delete: Callable[[T], Any] | None = None,
    ) -> None:
        """Calls back for each change. Handlers must not block; ``on_update`` gets old and new.

        What is in the store already is added at once.
        """
        handler = _Handler(on_add, on_update, on_delete)
        self._handlers.append(handler)
        if on_add is not None:
            for obj in self.store.list():
                on_add(obj)

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        delay = BACKOFF[0]
        while True:
            try:
                if self._version is None:
                    self._version = await self._list()
                started = time.monotonic()
                await self._watch(self._version)
                if time.monotonic() - started > BACKOFF[1]:
                    delay = BACKOFF[0]
                    continue  # an ordinary end: the server's or our time limit
                why = "the watch ended at once"
            except Gone:
                self._version = None
                why = "too old a version: listing again"
            except StatusError as error:
                why = str(error)
            log.warning("%s: %s; again in about %.1f s", self._info.plural, why, delay)
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))
            delay = min(delay * 2, BACKOFF[1])

    async def _list(self) -> str:
        listed: ObjectList[Any]
        if isinstance(self.kind, ResourceInfo):
            listed = await self._client.dynamic.list(
                self.kind, self._namespace, resource_version="0", accept=_of_list(self._accept), **self._selectors
            )
        else:
            listed = await self._client.list(self.kind, self._namespace, resource_version="0", **self._selectors)
        gone = set(self.store.keys())
        obj: Any
        for obj in listed.items:
            key = key_of(obj)
            gone.discard(key)
            old = self.store.get(key)
            if old is None or resource_version_of(old) != resource_version_of(obj):
                self._apply(key, obj)
        for key in gone:
            self._remove(key)
        self._synced.set()
        return listed.resource_version

    async def _watch(self, version: str) -> None:
        """Applies events until the watch ends, and notes the version reached: it goes on from there."""
        options: dict[str, Any] = {
            "resource_version": version,
            "timeout_seconds": random.randint(*WATCH_SECONDS),
            **self._selectors,
        }
        if isinstance(self.kind, ResourceInfo):
            events: Any = self._client.dynamic.watch(self.kind, self._namespace, accept=self._accept, **options)
        else:
            events = self._client.watch(self.kind, self._namespace, **options)
        async for event in events:
            if event.type in ("ADDED", "MODIFIED"):
                self._apply(key_of(event.object), event.object)
            elif event.type == "DELETED":
                self._remove(key_of(event.object), event.object)
            self._version = resource_version_of(event.object)

    def _apply(self, key: str, obj: T) -> None:
        forget_managers(obj)
        old = self.store._set(key, obj)
        for handler in self._handlers:
            if old is None:
                self._call(handler.on_add, obj)
            else:
                self._call(handler.on_update, old, obj)

    def _remove(self, key: str, last: T | None = None) -> None:
        old = self.store._delete(key)
        if old is None:
            return
        for handler in self._handlers:
            self._call(handler.on_delete, last if last is not None else old)

    def _call(self, handler: Callable[..., Any] | None, *objects: T) -> None:
        if handler is None:
            return
        try:
            handler(*objects)
        except Exception:
            log.exception("a handler of %s failed on %s", self._info.plural, key_of(objects[-1]))


class InformerFactory:
    """Shares informers: who asks for the same kind and selection gets the same one."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._informers: dict[Any, Informer[Any]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def informer(
        self,
        kind: type[T],
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        indexers: dict[str, Index[T]] | None = None,
    ) -> Informer[T]:
        """Indexers may be named anew by each asker, as long as the informer does not run yet."""
        key = (kind, namespace, label_selector, field_selector)
        informer = self._informers.get(key)
        if informer is None:
            informer = Informer(
                self._client,
                kind,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                indexers=indexers,
            )
            self._informers[key] = informer
            if self._tasks is not None:
                self._tasks.create_task(informer.run())
        elif indexers:
            informer.store.add_indexers(indexers)
        return informer

    async def run(self) -> None:
        """Runs all informers, and those asked for later, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for informer in self._informers.values():
                tasks.create_task(informer.run())
            await asyncio.Event().wait()

    async def wait_synced(self) -> None:
        waits: list[Awaitable[None]] = [informer.wait_synced() for informer in self._informers.values()]
        await asyncio.gather(*waits)


def _of_list(accept: str | None) -> str | None:
    """The form of a list whose items have the form that is accepted."""
    return accept and accept.replace("as=PartialObjectMetadata;", "as=PartialObjectMetadataList;")
