"""Gives Services their cluster addresses and node ports: the last mutating plugin of the admission chain.

It completes what a client left open and refuses what another Service has. On an update it keeps what the Service had
and drops what its new type no longer needs, as upstream's service storage does. Released numbers come back when the
watch cache sees the change. One API server is assumed to be writing Services at a time.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from apiserver.allocation.pool import AlreadyAllocated, NotInRange, Pool, RangeFull, static_band
from apiserver.types import AdmissionRequest, Object, Registry
from common.api.status import FieldError, InternalError, invalid, invalid_value

log = logging.getLogger(__name__)

NONE = "None"
KUBERNETES = "default/kubernetes"


class AllocationSettings(Protocol):
    @property
    def service_cluster_ip_range(self) -> str: ...
    @property
    def service_node_port_range(self) -> str: ...


def parse_port_range(text: str) -> tuple[int, int]:
    """``30000-32767`` as its ends. Raises ValueError."""
    low, _, high = text.partition("-")
    first, last = int(low), int(high or low)
    if not 0 < first <= last <= 65535:
        raise ValueError(f"{text!r} is not a port range")
    return first, last


def needs_cluster_ip(spec: Object) -> bool:
    return spec.get("type", "ClusterIP") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_ports(spec: Object) -> bool:
    kind = spec.get("type", "ClusterIP")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False)


def needs_health_port(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def addresses_of(spec: Object) -> list[str]:
    ips = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [ip for ip in ips if ip and ip != NONE]


def node_ports_of(spec: Object) -> list[int]:
    ports = [p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")]
    return [*ports, spec["healthCheckNodePort"]] if spec.get("healthCheckNodePort") else ports


def keep_allocated(spec: Object, old: Object) -> None:
    """Copies what the Service had and the client left out (upstream: patchAllocatedValues)."""
    if needs_cluster_ip(spec) and needs_cluster_ip(old):
        if not spec.get("clusterIP") and not spec.get("clusterIPs"):
            _copy(spec, old, "clusterIP")
            _copy(spec, old, "clusterIPs")
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if not spec.get(field):
                _copy(spec, old, field)
    if needs_node_ports(spec) and needs_node_ports(old):
        had = {
            (p.get("protocol", "TCP"), p["port"]): p["nodePort"] for p in old.get("ports") or () if p.get("nodePort")
        }
        asked = {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}
        for port in spec.get("ports") or ():
            number = had.get((port.get("protocol", "TCP"), port["port"]))
            if not port.get("nodePort") and number and number not in asked:
                port["nodePort"] = number
    if needs_health_port(spec) and needs_health_port(old) and not spec.get("healthCheckNodePort"):
        _copy(spec, old, "healthCheckNodePort")


def drop_unneeded(spec: Object, old: Object) -> None:
    """Removes what the old type had and the new one has no use for, unless the client changed it (then it is an error).

    Upstream: dropTypeDependentFields.
    """
    if needs_cluster_ip(old) and not needs_cluster_ip(spec) and spec.get("clusterIP", "") == old.get("clusterIP", ""):
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            spec.pop(field, None)
    same_ports = [p.get("nodePort") for p in spec.get("ports") or ()] == [
        p.get("nodePort") for p in old.get("ports") or ()
    ]
    if needs_node_ports(old) and not needs_node_ports(spec) and same_ports:
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    same_health = spec.get("healthCheckNodePort") == old.get("healthCheckNodePort")
    if needs_health_port(old) and not needs_health_port(spec) and same_health:
        spec.pop("healthCheckNodePort", None)


def _copy(spec: Object, old: Object, field: str) -> None:
    if old.get(field):
        spec[field] = old[field]


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
        if request.old_object is not None:
            old = request.old_object.get("spec") or {}
            drop_unneeded(spec, old)
            keep_allocated(spec, old)
        owner = f"{request.namespace}/{request.object['metadata'].get('name') or request.name}"
        reserve = not request.dry_run
        errors = [*self._addresses(spec, owner, reserve), *self._node_ports(spec, owner, reserve)]
        if errors:
            raise invalid("Service", request.name, "", errors)

    # ---- addresses ----

    def _addresses(self, spec: Object, owner: str, reserve: bool) -> Iterable[FieldError]:
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
            number = self._reserved_for(owner) or self._choose(self._ips, owner, reserve, "serviceIP")
            asked = [str(ipaddress.ip_address(number))]
        spec["clusterIP"], spec["clusterIPs"] = asked[0], asked
        for ip in asked:
            try:
                self._ips.take(int(ipaddress.ip_address(ip)), owner, reserve=reserve)
            except ValueError:
                yield invalid_value("spec.clusterIPs", asked, f"must be a valid IP address: {ip}")
            except (AlreadyAllocated, NotInRange) as error:
                yield invalid_value("spec.clusterIPs", asked, f"failed to allocate IP {ip}: {self._ip_text(ip, error)}")

    def _ip_text(self, ip: str, error: Exception) -> str:
        if isinstance(error, NotInRange):
            return f"the provided IP ({ip}) is not in the valid range. The range of valid IPs is {self._network}"
        return "provided IP is already allocated"

    def _reserved_for(self, owner: str) -> int | None:
        """The first address belongs to the ``kubernetes`` Service, whoever makes it."""
        return self._ips.first if owner == KUBERNETES else None

    # ---- node ports ----

    def _node_ports(self, spec: Object, owner: str, reserve: bool) -> Iterable[FieldError]:
        if needs_node_ports(spec):
            yield from self._ports_of(spec, owner, reserve)
        if needs_health_port(spec):
            number = spec.get("healthCheckNodePort")
            if not number:
                spec["healthCheckNodePort"] = self._choose(self._ports, owner, reserve, "healthCheckNodePort")
            elif text := self._take_port(number, owner, reserve):
                yield invalid_value("spec.healthCheckNodePort", number, text)

    def _ports_of(self, spec: Object, owner: str, reserve: bool) -> Iterable[FieldError]:
        ports: list[dict[str, Any]] = spec.get("ports") or []
        by_number: dict[int, int] = {}
        for index, port in enumerate(ports):
            number = port.get("nodePort")
            if not number:
                continue
            if text := self._take_port(number, owner, reserve):
                yield invalid_value(f"spec.ports[{index}].nodePort", number, text)
            by_number.setdefault(port["port"], number)
        for port in ports:
            if port.get("nodePort"):
                continue
            # TCP and UDP of the same port share a node port, as upstream.
            number = by_number.get(port["port"])
            if number is None or any(
                p.get("nodePort") == number and p.get("protocol", "TCP") == port.get("protocol", "TCP") for p in ports
            ):
                number = self._choose(self._ports, owner, reserve, "nodePort")
            port["nodePort"] = by_number[port["port"]] = number

    def _take_port(self, number: int, owner: str, reserve: bool) -> str:
        try:
            self._ports.take(number, owner, reserve=reserve)
        except NotInRange:
            return f"provided port is not in the valid range. The range of valid ports is {self._range}"
        except AlreadyAllocated:
            return "provided port is already allocated"
        return ""

    @staticmethod
    def _choose(pool: Pool, owner: str, reserve: bool, what: str) -> int:
        try:
            return pool.choose(owner, reserve=reserve)
        except RangeFull as full:
            raise InternalError(f"Internal error occurred: failed to allocate a {what}: {full}") from None

    # ---- what is stored ----

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for service in self._store.cached_list():
                self._changed("ADDED", service)

    def _changed(self, type_: str, service: Object) -> None:
        owner = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        spec: Object = {} if type_ == "DELETED" else service.get("spec") or {}
        addresses = {int(ipaddress.ip_address(ip)) for ip in addresses_of(spec)}
        self._observe(self._ips, owner, addresses | {self._ips.first} if owner == KUBERNETES else addresses, _address)
        self._observe(self._ports, owner, node_ports_of(spec), str)

    @staticmethod
    def _observe(pool: Pool, owner: str, numbers: Iterable[int], show: Callable[[int], str]) -> None:
        for number in pool.observe(owner, numbers):
            log.warning("%s of service %s belongs to another service: recreate one of them", show(number), owner)


def _address(number: int) -> str:
    return str(ipaddress.ip_address(number))
