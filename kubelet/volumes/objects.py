"""ConfigMaps and Secrets that this node's pods refer to, fetched one by one and remembered for a short while.

The kubelet may read only what its pods refer to (the Node authorizer), so there is no list and no watch over all of
them: each is fetched by name, at most once in ``ttl`` seconds however many pods use it. When the API server is away,
the last known object is given, so that containers can be restarted without it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from lightkube.resources.core_v1 import ConfigMap, Secret

from common.api.status import Forbidden, NotFound

log = logging.getLogger("kubelet.volumes")

T = TypeVar("T", ConfigMap, Secret)
_TTL = 10.0
_UNUSED_AFTER = 600.0


class ObjectClient(Protocol):
    """The part of common.client.Client that is used here."""

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T: ...


@dataclass(slots=True)
class _Entry(Generic[T]):
    lock: asyncio.Lock
    value: T | None = None
    fetched: float = 0.0
    used: float = 0.0


class _Cache(Generic[T]):
    def __init__(self, client: ObjectClient, kind: type[T], resource: str, ttl: float) -> None:
        self._client = client
        self._kind: type[T] = kind
        self._resource = resource
        self._ttl = ttl
        self._entries: dict[tuple[str, str], _Entry[T]] = {}

    async def get(self, namespace: str, name: str) -> T:
        now = time.monotonic()
        self._drop_unused(now)
        entry = self._entries.setdefault((namespace, name), _Entry(asyncio.Lock()))
        entry.used = now
        async with entry.lock:
            if entry.value is not None and (entry.value.immutable or now - entry.fetched < self._ttl):
                return entry.value
            return await self._fetch(entry, namespace, name)

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
            if not self._entries[key].lock.locked():
                del self._entries[key]


class CachedObjects:
    """kubelet.types.ObjectSource over the API server."""

    def __init__(self, client: ObjectClient, ttl: float = _TTL) -> None:
        self._config_maps = _Cache(client, ConfigMap, "configmap", ttl)
        self._secrets = _Cache(client, Secret, "secret", ttl)

    async def config_map(self, namespace: str, name: str) -> ConfigMap:
        return await self._config_maps.get(namespace, name)

    async def secret(self, namespace: str, name: str) -> Secret:
        return await self._secrets.get(namespace, name)
