"""Tells the graph of every object there is, by watches of metadata.

Kinds that other controllers watch anyway are taken from their informers, at no cost. All others are watched as
PartialObjectMetadata; a monitor keeps nothing but uids. What the server offers is discovered again every 30 seconds.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from common.api.status import Gone, StatusError
from common.api.time import to_rfc3339
from common.client import Client, ResourceInfo
from common.informer import Informer
from controller_manager.garbage_collector.graph import Ref
from controller_manager.metadata import METADATA, METADATA_LIST, Metadata, Owner, decode, decode_list
from controller_manager.objects import need, uid_of

BACKOFF = (0.2, 10.0)
LOUD_FROM = 2.0
"""Failures are warnings when they last: a restart of the server ends all watches at once."""
WATCH_SECONDS = (300, 600)
IGNORED = frozenset({("", "events"), ("events.k8s.io", "events")})
"""Events name no owner and come by the thousand."""

log = logging.getLogger(__name__)

Seen = Callable[[Ref, Metadata], None]
Removed = Callable[[str], None]


def is_collectable(resource: ResourceInfo) -> bool:
    """Whether objects of the resource can be watched and deleted."""
    verbs = {"list", "watch", "delete"}
    return verbs <= set(resource.verbs) and (resource.group, resource.plural) not in IGNORED


def ref_of(resource: ResourceInfo, metadata: Metadata) -> Ref:
    """Where an object of the resource is."""
    return Ref(resource.api_version, resource.kind, metadata.namespace, metadata.name, metadata.uid)


def metadata_of(obj: Any) -> Metadata:
    """The same of an object that another controller's cache holds."""
    meta = need(obj.metadata)
    owners = (
        Owner(o.apiVersion, o.kind, o.name, o.uid, o.controller, o.blockOwnerDeletion)
        for o in meta.ownerReferences or ()
    )
    return Metadata(
        name=meta.name or "",
        namespace=meta.namespace or "",
        uid=meta.uid or "",
        resourceVersion=meta.resourceVersion or "",
        deletionTimestamp=to_rfc3339(meta.deletionTimestamp) if meta.deletionTimestamp else None,
        finalizers=tuple(meta.finalizers or ()),
        ownerReferences=tuple(owners),
    )


class SharedMonitor:
    """Listens to an informer that is there anyway."""

    def __init__(self, informer: Informer[Any], seen: Seen, removed: Removed) -> None:
        self._resource = ResourceInfo.of(informer.kind)  # type: ignore[arg-type]
        self._seen, self._removed = seen, removed
        informer.add_handler(self._added, self._updated, lambda obj: removed(uid_of(obj)))

    def _added(self, obj: Any) -> None:
        metadata = metadata_of(obj)
        self._seen(ref_of(self._resource, metadata), metadata)

    def _updated(self, old: Any, new: Any) -> None:
        if uid_of(old) != uid_of(new):
            self._removed(uid_of(old))
        self._added(new)


class MetadataMonitor:
    """Lists and watches one resource's metadata."""

    def __init__(self, client: Client, resource: ResourceInfo, seen: Seen, removed: Removed) -> None:
        self._client = client
        self._resource = resource
        self._seen, self._removed = seen, removed
        self._uids: set[str] = set()
        self._version: str | None = None
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        delay = BACKOFF[0]
        while True:
            started = time.monotonic()
            try:
                self._version = self._version or await self._list()
                await self._watch(self._version)
                why = "the watch ended at once"
            except Gone:
                self._version, why = None, "too old a version: listing again"
            except StatusError as error:
                why = str(error)
            if time.monotonic() - started > BACKOFF[1]:
                delay = BACKOFF[0]  # it ran for a while: what ended it is news
            level = logging.DEBUG if delay < LOUD_FROM else logging.WARNING
            log.log(level, "watching %s: %s; again in about %.1f s", self._resource.plural, why, delay)
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))
            delay = min(delay * 2, BACKOFF[1])

    async def _list(self) -> str:
        items: list[Metadata] = []
        version = ""
        async for page in self._client.dynamic.pages(self._resource, resource_version="0", accept=METADATA_LIST):
            listed = decode_list(page)
            items += listed.items
            version = listed.resource_version
        for uid in self._uids - {item.uid for item in items}:
            self._forget(uid)
        for item in items:
            self._tell(item)
        self.synced.set()
        return version

    async def _watch(self, version: str) -> None:
        """Applies events, and keeps the version reached: a watch that ends is taken up again where it stopped."""
        events = self._client.dynamic.watch_raw(
            self._resource,
            resource_version=version,
            timeout_seconds=random.randint(*WATCH_SECONDS),
            accept=METADATA,
        )
        async for event in events:
            metadata = decode(event.object)
            if event.type in ("ADDED", "MODIFIED"):
                self._tell(metadata)
            elif event.type == "DELETED":
                self._forget(metadata.uid)
            self._version = metadata.resourceVersion

    def _tell(self, metadata: Metadata) -> None:
        self._uids.add(metadata.uid)
        self._seen(ref_of(self._resource, metadata), metadata)

    def _forget(self, uid: str) -> None:
        self._uids.discard(uid)
        self._removed(uid)


class Monitors:
    """The running monitors, one for each resource."""

    def __init__(
        self, client: Client, shared: Mapping[ResourceInfo, Informer[Any]], seen: Seen, removed: Removed
    ) -> None:
        self._client = client
        self._seen, self._removed = seen, removed
        self._shared = {(each.group, each.plural) for each in shared}
        self._running: dict[ResourceInfo, tuple[MetadataMonitor, asyncio.Task[None]]] = {}
        for informer in shared.values():
            SharedMonitor(informer, seen, removed)

    def follow(self, resources: list[ResourceInfo], tasks: asyncio.TaskGroup) -> None:
        """Starts and stops monitors so that they are those of the resources there are."""
        wanted = {r for r in resources if is_collectable(r) and (r.group, r.plural) not in self._shared}
        for resource in wanted - self._running.keys():
            monitor = MetadataMonitor(self._client, resource, self._seen, self._removed)
            self._running[resource] = (monitor, tasks.create_task(monitor.run()))
        for resource in self._running.keys() - wanted:
            self._running.pop(resource)[1].cancel()

    async def wait_synced(self, seconds: float) -> None:
        """Waits for the first lists, but not for ever: one resource that fails must not stop the rest."""
        waits = [asyncio.ensure_future(monitor.synced.wait()) for monitor, _ in self._running.values()]
        if not waits:
            return
        _, late = await asyncio.wait(waits, timeout=seconds)
        for wait in late:
            wait.cancel()
