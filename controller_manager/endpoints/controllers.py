"""The control loops of Endpoints and of EndpointSlices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from lightkube.resources.core_v1 import Endpoints, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from common.api.meta import is_deleting, labels_of
from common.api.status import Conflict, NotFound
from controller_manager.context import Context
from controller_manager.endpoints import backends, legacy, slices
from controller_manager.endpoints.watch import ServiceTrigger
from controller_manager.objects import name_of, namespace_of
from controller_manager.requests import Batches, is_namespace_terminating

ZONE_LABEL = "topology.kubernetes.io/zone"
UNSEEN_SECONDS = 5.0
"""How long a write that the cache does not show is believed."""


class EndpointsController:
    """Keeps an Endpoints object of each service with a selector."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._services = context.services.store
        informer = context.informers.informer(Endpoints)
        self._endpoints = informer.store
        loop = context.loop("endpoint", self.reconcile, workers=context.settings.concurrent_endpoint_syncs)
        self._loop, self._trigger = loop, ServiceTrigger(context, loop)
        informer.add_handler(on_delete=loop.enqueue)

    async def run(self) -> None:
        """Until cancelled. First come Endpoints whose service went while nobody looked."""
        for key in self._endpoints.keys():  # noqa: SIM118 - a store is no dict
            if key not in self._services:
                self._loop.queue.add(key)
        await self._loop.run()

    async def reconcile(self, key: str) -> None:
        """One round for one service."""
        service, current = self._services.get(key), self._endpoints.get(key)
        if service is None:
            self._trigger.forget(key)
            await self._delete(current)
            return
        if not backends.needs_endpoints(service) or is_deleting(service):
            return
        self._trigger.acted(key)
        changed = legacy.desired(service, self._trigger.pods_of(service), current)
        if changed is None:
            return
        if current is not None:
            await self._client.replace(changed)
            return
        try:
            await self._client.create(changed)
        except Exception as error:
            if not is_namespace_terminating(error):
                raise

    async def _delete(self, current: Endpoints | None) -> None:
        """Endpoints have no owner reference: they go with the service of their name."""
        if current is None:
            return
        try:
            await self._client.delete(Endpoints, name_of(current), namespace_of(current))
        except NotFound:
            return


def _by_service(each: EndpointSlice) -> Iterable[str]:
    labels = labels_of(each)
    if labels.get(slices.MANAGED_BY) == slices.CONTROLLER and slices.SERVICE_NAME in labels:
        yield f"{namespace_of(each)}/{labels[slices.SERVICE_NAME]}"


class EndpointSliceController:
    """Keeps the EndpointSlices of each service with a selector."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._services = context.services.store
        self._nodes = context.nodes.store
        informer = context.informers.informer(EndpointSlice, indexers={"service": _by_service})
        self._slices = informer.store
        self._batches = Batches(10)
        self._unseen: dict[str, dict[str, float]] = {}
        workers = context.settings.concurrent_service_endpoint_syncs
        loop = context.loop("endpoint_slice", self.reconcile, workers=workers)
        self._loop, self._trigger = loop, ServiceTrigger(context, loop)
        informer.add_handler(on_update=lambda _, new: self._slice_changed(new), on_delete=self._slice_changed)

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    def _slice_changed(self, each: EndpointSlice) -> None:
        """Somebody else may have changed it: a round puts it right, or finds nothing to do."""
        for key in _by_service(each):
            self._loop.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        """One round for one service."""
        service = self._services.get(key)
        if service is None or not backends.needs_endpoints(service):
            self._trigger.forget(key)
            self._unseen.pop(key, None)
            return None  # slices of a deleted service are garbage of their owner
        if is_deleting(service):
            return None
        existing = self._slices.by_index("service", key)
        if self._waits_for_cache(key, {name_of(each) for each in existing}):
            return 0.05
        self._trigger.acted(key)
        zones = self._zones()
        await self._carry_out(key, service, slices.plan(service, self._trigger.pods_of(service), zones, existing))
        return None

    def _zones(self) -> dict[str, str]:
        return {
            name_of(node): labels_of(node)[ZONE_LABEL] for node in self._nodes.list() if ZONE_LABEL in labels_of(node)
        }

    def _waits_for_cache(self, key: str, existing: set[str]) -> bool:
        """Whether slices that were just created are still to be seen: to go on now would create them again."""
        unseen, time = self._unseen.get(key, {}), asyncio.get_running_loop().time()
        left = {name: until for name, until in unseen.items() if name not in existing and until > time}
        self._unseen[key] = left
        return bool(left)

    async def _carry_out(self, key: str, service: Service, plan: slices.Plan) -> None:
        async def create(each: EndpointSlice) -> None:
            try:
                created = await self._client.create(each)
            except Exception as error:
                if is_namespace_terminating(error):
                    return
                raise
            until = asyncio.get_running_loop().time() + UNSEEN_SECONDS
            self._unseen.setdefault(key, {})[name_of(created)] = until

        async def update(each: EndpointSlice) -> None:
            try:
                await self._client.replace(each)
            except NotFound as error:
                raise Conflict(f"endpoint slice {name_of(each)} has just been deleted") from error

        async def delete(each: EndpointSlice) -> None:
            try:
                await self._client.delete(EndpointSlice, name_of(each), namespace_of(service))
            except NotFound:
                return

        await self._batches.each(plan.update, update)
        await self._batches.each(plan.create, create)
        await self._batches.each(plan.delete, delete)
