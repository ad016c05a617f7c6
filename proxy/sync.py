"""Informers -> what changed -> rules in the kernel.

`ServiceTracker` notes which Services changed (themselves or their EndpointSlices) and makes their rules; `Syncer` waits
for changes, gathers those of one --iptables-min-sync-period, and writes the difference. A change that comes after a
quiet time is written at once, so a pod that terminates is out of the rules within milliseconds: that is what makes a
rolling update lose no request.

Nothing is removed when the process ends: traffic goes on by the last rules, and the next start takes over from them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from common.api.meta import key_of
from common.informer import InformerFactory
from proxy.conntrack import UdpEndpoints, forget_stale_flows, udp_endpoints
from proxy.iptables import Iptables, IptablesError
from proxy.metrics import SyncMetrics
from proxy.model import PROXIED_SELECTOR, SERVICE_NAME_LABEL, Endpoint, ServicePort, endpoints_of, service_ports
from proxy.restore import TABLES, Change, RuleBook
from proxy.rules import RuleConfig, ServiceRules, service_rules

log = logging.getLogger(__name__)

FULL_SYNC_PERIOD_SECONDS = 3600.0
INTACT_CHECK_SECONDS = 5.0
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.5, 30.0


class ServiceTracker:
    """Which Services have to be looked at again, and what their rules are now."""

    def __init__(self, factory: InformerFactory, node_name: str) -> None:
        self.node_name = node_name
        self.changed = asyncio.Event()
        self._dirty: set[str] = set()
        self._services = factory.informer(Service, label_selector=PROXIED_SELECTOR)
        self._slices = factory.informer(
            EndpointSlice, label_selector=PROXIED_SELECTOR, indexers={"service": slice_services}
        )
        self._services.add_handler(
            self._service_changed, lambda _, new: self._service_changed(new), self._service_changed
        )
        self._slices.add_handler(self._slice_changed, self._slice_updated, self._slice_changed)

    async def wait_synced(self) -> None:
        await self._services.wait_synced()
        await self._slices.wait_synced()

    def take_dirty(self) -> set[str]:
        dirty, self._dirty = self._dirty, set()
        self.changed.clear()
        return dirty

    def ports(self, key: str) -> list[tuple[ServicePort, list[Endpoint]]]:
        """The ports of one Service with their endpoints; none when it is gone or not to be proxied."""
        service = self._services.store.get(key)
        if service is None:
            return []
        slices = self._slices.store.by_index("service", key)
        return [(port, endpoints_of(port, slices, self.node_name)) for port in service_ports(service)]

    def _service_changed(self, service: Service) -> None:
        self._mark((key_of(service),))

    def _slice_changed(self, endpoint_slice: EndpointSlice) -> None:
        self._mark(slice_services(endpoint_slice))

    def _slice_updated(self, old: EndpointSlice, new: EndpointSlice) -> None:
        self._mark((*slice_services(old), *slice_services(new)))

    def _mark(self, keys: Iterable[str]) -> None:
        self._dirty.update(keys)
        self.changed.set()


def slice_services(endpoint_slice: EndpointSlice) -> list[str]:
    """The key of the Service that a slice belongs to, as an index wants it."""
    metadata = endpoint_slice.metadata
    name = (metadata.labels or {}).get(SERVICE_NAME_LABEL) if metadata else None
    return [f"{metadata.namespace}/{name}"] if metadata and name else []


class Syncer:
    """Keeps the kernel's tables equal to what the tracker says."""

    def __init__(
        self,
        tracker: ServiceTracker,
        iptables: Iptables,
        config: RuleConfig,
        metrics: SyncMetrics,
        *,
        min_sync_period: float,
        sync_period: float,
    ) -> None:
        self._tracker, self._iptables, self._metrics = tracker, iptables, metrics
        self._min_sync_period = min_sync_period
        self._check_period = min(sync_period, INTACT_CHECK_SECONDS)
        self._book = RuleBook(config)
        self._full_due = 0.0
        self._udp: dict[str, list[tuple[ServicePort, list[Endpoint]]]] = {}
        self.last_synced: float | None = None
        self.pending_since: float | None = None

    async def run(self) -> None:
        """Until cancelled."""
        await self._tracker.wait_synced()
        retry = FIRST_RETRY_SECONDS
        while True:
            try:
                await self.sync()
            except IptablesError as error:
                self._metrics.failures.inc()
                self._full_due = 0.0
                log.error("rules were not written, next try in %.1f s: %s", retry, error)
                await asyncio.sleep(retry)
                retry = min(retry * 2, LAST_RETRY_SECONDS)
                continue
            retry = FIRST_RETRY_SECONDS
            await asyncio.sleep(self._min_sync_period)
            await self._wait_for_work()

    async def sync(self) -> None:
        """Writes what changed since the last call, or everything when that is due."""
        started = time.monotonic()
        if self.pending_since is None:
            self.pending_since = started
        full = started >= self._full_due
        dirty = self._tracker.take_dirty()
        for key in sorted(dirty):
            try:
                self._refresh(key)
            except Exception:  # one Service that cannot be understood must not stop the others
                log.exception("service %s keeps its last rules", key)
        change = self._book.full(await self._iptables.existing()) if full else self._book.partial()
        if change:
            await self._iptables.restore(change.text())
        if full:
            if not await self._iptables.intact():
                await self._iptables.ensure_jumps()
            self._full_due = started + FULL_SYNC_PERIOD_SECONDS
        self._book.written()
        self.last_synced, self.pending_since = time.monotonic(), None
        self._measure(change, len(dirty), self.last_synced - started, full=full)
        await self._forget_udp(dirty)

    def _refresh(self, key: str) -> None:
        ports = self._tracker.ports(key)
        self._book.put(key, _rules(ports, self._book.config))
        udp = [entry for entry in ports if entry[0].protocol == "udp"]
        if udp:
            self._udp[key] = udp
        else:
            self._udp.pop(key, None)

    async def _wait_for_work(self) -> None:
        """Returns when a Service changed, a full sync is due, or somebody took our chains away."""
        while time.monotonic() < self._full_due:
            try:
                async with asyncio.timeout(self._check_period):
                    await self._tracker.changed.wait()
                return
            except TimeoutError:
                if not await self._iptables.intact():
                    log.warning(
                        "chains or rules of this proxy were removed by somebody else: writing all of them again"
                    )
                    self._full_due = 0.0
                else:
                    self.last_synced = time.monotonic()

    async def _forget_udp(self, dirty: Iterable[str]) -> None:
        changed = [entry for key in dirty for entry in self._udp.get(key, ())]
        valid: UdpEndpoints = udp_endpoints(changed)
        try:
            forgotten = await forget_stale_flows(valid)
        except OSError as error:
            log.warning("stale UDP flows were not deleted: %s", error)
        else:
            if forgotten:
                log.info("%d stale UDP flows deleted", forgotten)

    def _measure(self, change: Change, services: int, seconds: float, *, full: bool) -> None:
        self._metrics.duration.observe(seconds)
        (self._metrics.full_duration if full else self._metrics.partial_duration).observe(seconds)
        self._metrics.last_sync.set_to_current_time()
        for table in TABLES:
            self._metrics.rules_last_sync.labels(table=table).set(change.rules(table))
        log.info(
            "%s sync: %d services changed, %d rules written in %.0f ms",
            "full" if full else "partial",
            services,
            sum(change.rules(table) for table in TABLES),
            seconds * 1000,
        )


def _rules(ports: Iterable[tuple[ServicePort, list[Endpoint]]], config: RuleConfig) -> list[ServiceRules]:
    return [service_rules(port, endpoints, config) for port, endpoints in ports]
