"""Gives Services their cluster addresses and node ports: the last mutating plugin of the admission chain.

It completes what a client left open and refuses what another Service has. On an update it keeps what the Service had
and drops what its new type no longer needs, as upstream's service storage does. Its pools follow the watch cache; that
no other server gave the same number away meanwhile is said by the transaction that stores the Service
(:mod:`apiserver.storage.claims`). When it was, the request comes here again.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from apiserver.allocation.pool import AlreadyAllocated, NotInRange, Pool, RangeFull, static_band
from apiserver.allocation.spec import (
    NONE,
    AllocationSettings,
    addresses_of,
    claims_of,
    drop_unneeded,
    keep_allocated,
    needs_cluster_ip,
    needs_health_port,
    needs_node_ports,
    node_ports_of,
    owner_of,
    parse_port_range,
)
from apiserver.types import AdmissionRequest, Object, Registry
from common.api.names import is_ip
from common.api.status import FieldError, InternalError, invalid, invalid_value

log = logging.getLogger(__name__)

KUBERNETES = "default/kubernetes"


class ServiceAllocation:
    """AdmissionPlugin-shaped; its place is after every other mutating plugin."""

    name = "ServiceAllocation"

    def __init__(self, registry: Registry, settings: AllocationSettings) -> None:
        self._network = ipaddress.ip_network(settings.service_cluster_ip_range)
        first, last = int(self._network.network_address) + 1, int(self._network.broadcast_address)
        if self._network.version == 4:
            last -= 1
        self._ips = Pool(first, last, static_band(last - first + 1, 16, 256))
        low, high = parse_port_range(settings.service_node_port_range)
        self._ports = Pool(low, high, static_band(high - low + 1, 32, 128))
        self._range = f"{low}-{high}"
        self._store = registry.store("", "services")
        self._loaded = False
        self._ips.observe(KUBERNETES, [first])  # whether it exists yet or not
        self._store.on_change(self._changed)
        self._store.claim(claims_of)

    def handles(self, request: AdmissionRequest) -> bool:
        resource = request.resource
        is_service = resource.plural == "services" and resource.group == ""
        return is_service and request.operation in ("CREATE", "UPDATE") and not request.subresource

    async def validate(self, request: AdmissionRequest) -> None:
        return None

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        self._load()
        spec = request.object.setdefault("spec", {})
        old: Object = {}
        if request.old_object is not None:
            old = request.old_object.get("spec") or {}
            drop_unneeded(spec, old)
            keep_allocated(spec, old)
            status = request.object.get("status") or {}
            if spec.get("type") != "LoadBalancer" and status.get("loadBalancer"):
                status["loadBalancer"] = {}
        owner = f"{request.namespace}/{request.object['metadata'].get('name') or request.name}"
        try:
            errors = self._allocate(spec, old, owner)
        except RangeFull:
            errors = [FieldError("", "")]
        if errors:  # what is refused is refused on what etcd has now: another server may have freed it
            await self._store.fresh()
            try:
                errors = self._allocate(spec, old, owner)
            except RangeFull as full:
                raise InternalError(f"Internal error occurred: failed to allocate {full.what}: {full}") from None
        if errors:
            raise invalid("Service", request.name, "", errors)

    def _allocate(self, spec: Object, old: Object, owner: str) -> list[FieldError]:
        """Fills ``spec``; again is no harm."""
        had = set(addresses_of(old)), set(node_ports_of(old))
        return [*self._addresses(spec, owner, had[0]), *self._node_ports(spec, owner, had[1])]

    # ---- addresses ----

    def _addresses(self, spec: Object, owner: str, had: Collection[str]) -> Iterator[FieldError]:
        if not needs_cluster_ip(spec):
            return
        family = f"IPv{self._network.version}"
        spec.setdefault("ipFamilies", [family])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if spec.get("clusterIP") == NONE or (spec.get("clusterIPs") or [""])[0] == NONE:
            spec["clusterIP"], spec["clusterIPs"] = NONE, [NONE]
            return
        asked = addresses_of(spec)
        if not asked:
            number = self._kept_for(owner) or _choose(self._ips, "a serviceIP")
            asked = [str(ipaddress.ip_address(number))]
        spec["clusterIP"], spec["clusterIPs"] = asked[0], asked
        for ip in asked:
            if ip in had:
                continue
            try:
                self._ips.check(int(ipaddress.ip_address(ip)), owner)
            except ValueError:
                yield from (invalid_value(f"spec.clusterIPs[{asked.index(ip)}]", ip, text) for text in is_ip(ip))
            except (AlreadyAllocated, NotInRange) as error:
                yield invalid_value("spec.clusterIPs", asked, f"failed to allocate IP {ip}: {self._ip_text(ip, error)}")

    def _ip_text(self, ip: str, error: Exception) -> str:
        if isinstance(error, NotInRange):
            return f"the provided IP ({ip}) is not in the valid range. The range of valid IPs is {self._network}"
        return "provided IP is already allocated"

    def _kept_for(self, owner: str) -> int | None:
        """The first address belongs to the ``kubernetes`` Service, whoever makes it."""
        return self._ips.first if owner == KUBERNETES else None

    # ---- node ports ----

    def _node_ports(self, spec: Object, owner: str, had: Collection[int]) -> Iterator[FieldError]:
        if needs_node_ports(spec):
            yield from self._ports_of(spec, owner, had)
        if needs_health_port(spec):
            number = spec.get("healthCheckNodePort")
            if not number:
                spec["healthCheckNodePort"] = _choose(self._ports, "a healthCheckNodePort", node_ports_of(spec))
            elif number not in had and (text := self._refused(number, owner)):
                yield invalid_value("spec.healthCheckNodePort", number, text)

    def _ports_of(self, spec: Object, owner: str, had: Collection[int]) -> Iterator[FieldError]:
        ports: list[dict[str, Any]] = spec.get("ports") or []
        by_number: dict[int, int] = {}
        taken = {(p["nodePort"], p.get("protocol", "TCP")) for p in ports if p.get("nodePort")}
        numbers = set(node_ports_of(spec))
        for index, port in enumerate(ports):
            number = port.get("nodePort")
            if not number:
                continue
            if number not in had and (text := self._refused(number, owner)):
                yield invalid_value(f"spec.ports[{index}].nodePort", number, text)
            by_number.setdefault(port["port"], number)
        for port in ports:
            if port.get("nodePort"):
                continue
            # TCP and UDP of the same port share a node port, as upstream.
            number, protocol = by_number.get(port["port"]), port.get("protocol", "TCP")
            if number is None or (number, protocol) in taken:
                number = _choose(self._ports, "a nodePort", numbers)
            port["nodePort"] = by_number[port["port"]] = number
            taken.add((number, protocol))
            numbers.add(number)

    def _refused(self, port: int, owner: str) -> str:
        try:
            self._ports.check(port, owner)
        except NotInRange:
            return f"provided port is not in the valid range. The range of valid ports is {self._range}"
        except AlreadyAllocated:
            return "provided port is already allocated"
        return ""

    # ---- what is stored ----

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for service in self._store.cached_list():
                self._changed("ADDED", service)

    def _changed(self, type_: str, service: Object) -> None:
        owner = owner_of(service)
        spec: Object = {} if type_ == "DELETED" else service.get("spec") or {}
        addresses = set(_numbers(addresses_of(spec)))
        self._observe(self._ips, owner, addresses | {self._ips.first} if owner == KUBERNETES else addresses, _address)
        self._observe(self._ports, owner, node_ports_of(spec), str)

    @staticmethod
    def _observe(pool: Pool, owner: str, numbers: Iterable[int], show: Callable[[int], str]) -> None:
        for number in pool.observe(owner, numbers):
            log.warning("%s of service %s belongs to another service: recreate one of them", show(number), owner)


def _choose(pool: Pool, what: str, but: Collection[int] = ()) -> int:
    try:
        return pool.choose(but)
    except RangeFull as full:
        full.what = what
        raise


def _numbers(addresses: Iterable[str]) -> Iterator[int]:
    for ip in addresses:
        try:
            yield int(ipaddress.ip_address(ip))
        except ValueError:
            continue


def _address(number: int) -> str:
    return str(ipaddress.ip_address(number))
