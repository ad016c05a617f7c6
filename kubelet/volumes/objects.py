"""ConfigMaps and Secrets that this node's pods refer to, one by one.

The kubelet may read only what its pods refer to (the Node authorizer), so there is no list and no watch over all of
them. Those that volumes are made of are followed: a watch of the one object tells each change at once, and costs
nothing while there is none (upstream's default, configMapAndSecretChangeDetectionStrategy: Watch). Everything else, and
all beyond a bound, is fetched by name, at most once in ``ttl`` seconds however many pods use it. An object that is
immutable is read once. When the API server is away, the last known object is given, so that containers can be restarted
without it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from lightkube.resources.core_v1 import ConfigMap, Secret

from common.api.meta import meta_of
from common.api.status import Forbidden, NotFound, StatusError
from kubelet.volumes.used import Reference

log = logging.getLogger("kubelet.volumes")

T = TypeVar("T", ConfigMap, Secret)
_TTL = 10.0
_UNUSED_AFTER = 600.0
MAX_WATCHES = 64
"""Each is a connection of its own."""
_WATCH_SECONDS = (300, 600)
_BACKOFF = (0.5, 30.0)


class ObjectClient(Protocol):
    """The part of common.client.Client that is used here."""

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T: ...

    def watch(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        resource_version: str | None,
        field_selector: str | None = None,
        timeout_seconds: int | None = None,
    ) -> AsyncIterator[Any]: ...

    async def list(self, kind: type[T], namespace: str | None = None, *, field_selector: str | None = None) -> Any: ...


@dataclass(slots=True)
class _Entry(Generic[T]):
    lock: asyncio.Lock
    value: T | None = None
    fetched: float = 0.0
    used: float = 0.0
    followers: set[str] = field(default_factory=set)
    """The uids of pods whose volumes it is in."""
    watch: asyncio.Task[None] | None = None
    current: bool = False
    """Whether a watch keeps the value (also None: there is no such object) as the server has it."""


class _Cache(Generic[T]):
    def __init__(
        self, client: ObjectClient, kind: type[T], resource: str, ttl: float, changed: Callable[[frozenset[str]], None]
    ) -> None:
        self._client = client
        self._kind: type[T] = kind
        self._resource = resource
        self._ttl = ttl
        self._changed = changed
        self._entries: dict[tuple[str, str], _Entry[T]] = {}

    async def get(self, namespace: str, name: str) -> T:
        now = time.monotonic()
        self._drop_unused(now)
        entry = self._entry(namespace, name)
        entry.used = now
        async with entry.lock:
            if entry.value is not None and (self._holds(entry) or now - entry.fetched < self._ttl):
                return entry.value
            return await self._fetch(entry, namespace, name)

    def follow(self, namespace: str, name: str, pod_uid: str) -> None:
        self._entry(namespace, name).followers.add(pod_uid)

    def unfollow(self, namespace: str, name: str, pod_uid: str) -> None:
        entry = self._entries.get((namespace, name))
        if entry is None:
            return
        entry.followers.discard(pod_uid)
        if not entry.followers:
            self.end_watch(entry)
            del self._entries[namespace, name]  # a new pod sees what is there then, also instead of an immutable one

    def unwatched(self) -> list[tuple[str, str]]:
        """Those that are followed by nobody's watch yet."""
        return [
            key
            for key, entry in self._entries.items()
            if entry.followers and entry.watch is None and not (entry.value and entry.value.immutable)
        ]

    def watches(self) -> int:
        return sum(entry.watch is not None and not entry.watch.done() for entry in self._entries.values())

    def start_watch(self, namespace: str, name: str) -> None:
        entry = self._entry(namespace, name)
        if entry.watch is None:
            name_ = f"watch of {self._resource} {namespace}/{name}"
            entry.watch = asyncio.create_task(self._follow(entry, namespace, name), name=name_)

    @staticmethod
    def _holds(entry: _Entry[T]) -> bool:
        """Whether the value is true without a look at the server: as long as a pod has it in its volumes."""
        immutable = entry.value is not None and bool(entry.value.immutable)
        return entry.current or (immutable and bool(entry.followers))

    @staticmethod
    def end_watch(entry: _Entry[T]) -> None:
        entry.current = False
        if entry.watch is not None:
            entry.watch.cancel()
            entry.watch = None

    def close(self) -> list[asyncio.Task[None]]:
        tasks = [entry.watch for entry in self._entries.values() if entry.watch is not None]
        for entry in self._entries.values():
            self.end_watch(entry)
        return tasks

    async def _follow(self, entry: _Entry[T], namespace: str, name: str) -> None:
        """Lists and watches the one object until it turns out to be immutable."""
        delay = _BACKOFF[0]
        while not (entry.value is not None and entry.value.immutable):
            try:
                began = time.monotonic()
                await self._list_and_watch(entry, namespace, name)
                if time.monotonic() - began > _BACKOFF[1]:
                    delay = _BACKOFF[0]
            except StatusError as error:
                log.info("watch of %s %s/%s: %s", self._resource, namespace, name, error)
            except Exception:
                log.exception("watch of %s %s/%s", self._resource, namespace, name)
            finally:
                entry.current = False
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))
            delay = min(delay * 2, _BACKOFF[1])

    async def _list_and_watch(self, entry: _Entry[T], namespace: str, name: str) -> None:
        selector = f"metadata.name={name}"
        listed = await self._client.list(self._kind, namespace, field_selector=selector)
        self._keep(entry, listed.items[0] if listed.items else None)
        entry.current = True
        events = self._client.watch(
            self._kind,
            namespace,
            resource_version=listed.resource_version,
            field_selector=selector,
            timeout_seconds=random.randint(*_WATCH_SECONDS),
        )
        async for event in events:
            if event.type in ("ADDED", "MODIFIED"):
                self._keep(entry, event.object)
                if entry.value is not None and entry.value.immutable:
                    return
            elif event.type == "DELETED":
                self._keep(entry, None)

    def _keep(self, entry: _Entry[T], value: T | None) -> None:
        if _version(entry.value) != _version(value):
            entry.value = value
            self._changed(frozenset(entry.followers))

    def _entry(self, namespace: str, name: str) -> _Entry[T]:
        return self._entries.setdefault((namespace, name), _Entry(asyncio.Lock()))

    async def _fetch(self, entry: _Entry[T], namespace: str, name: str) -> T:
        try:
            entry.value = await self._client.get(self._kind, name, namespace)
        except NotFound:
            entry.value = None
            raise NotFound(f'{self._resource} "{name}" not found') from None
        except Forbidden:
            entry.value = None
            raise
        except Exception as error:
            if entry.value is None:
                raise
            log.warning("%s %s/%s: using what was read before: %s", self._resource, namespace, name, error)
            return entry.value
        entry.fetched = time.monotonic()
        return entry.value

    def _drop_unused(self, now: float) -> None:
        for key in [key for key, entry in self._entries.items() if now - entry.used > _UNUSED_AFTER]:
            entry = self._entries[key]
            if not entry.lock.locked() and not entry.followers:
                del self._entries[key]


class CachedObjects:
    """kubelet.types.ObjectSource over the API server."""

    def __init__(self, client: ObjectClient, ttl: float = _TTL) -> None:
        self.changed: Callable[[frozenset[str]], None] = lambda _: None
        """Told the uids of the pods that an object's change concerns."""
        self._config_maps = _Cache(client, ConfigMap, "configmap", ttl, lambda uids: self.changed(uids))
        self._secrets = _Cache(client, Secret, "secret", ttl, lambda uids: self.changed(uids))
        self._followed: dict[str, frozenset[Reference]] = {}

    async def config_map(self, namespace: str, name: str) -> ConfigMap:
        return await self._config_maps.get(namespace, name)

    async def secret(self, namespace: str, name: str) -> Secret:
        return await self._secrets.get(namespace, name)

    def follow(self, pod_uid: str, wanted: frozenset[Reference]) -> None:
        """From now on the objects that a pod's volumes are made of are watched, those that they were are not."""
        held = self._followed.get(pod_uid, frozenset())
        for kind, namespace, name in held - wanted:
            self._cache(kind).unfollow(namespace, name, pod_uid)
        for kind, namespace, name in wanted - held:
            self._cache(kind).follow(namespace, name, pod_uid)
        if wanted:
            self._followed[pod_uid] = wanted
        else:
            self._followed.pop(pod_uid, None)

    def watch(self) -> None:
        """Begins the watches that are wanted, as long as there are not too many."""
        caches: tuple[_Cache[Any], ...] = (self._config_maps, self._secrets)
        room = MAX_WATCHES - sum(cache.watches() for cache in caches)
        for cache in caches:
            for namespace, name in cache.unwatched()[: max(0, room)]:
                cache.start_watch(namespace, name)
                room -= 1

    async def close(self) -> None:
        tasks = [*self._config_maps.close(), *self._secrets.close()]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cache(self, kind: str) -> _Cache[Any]:
        return self._config_maps if kind == "configmap" else self._secrets


def _version(obj: ConfigMap | Secret | None) -> tuple[str, str] | None:
    if obj is None:
        return None
    meta = meta_of(obj)
    return meta.uid or "", meta.resourceVersion or ""
