"""What a Service's spec says of addresses and node ports: which it needs, has, keeps and drops. Pure functions."""

from __future__ import annotations

import ipaddress
from typing import Protocol

from apiserver.storage.claims import Claims
from apiserver.types import Object

NONE = "None"
IP_KEYS, PORT_KEYS = b"/registry/ranges/serviceips/", b"/registry/ranges/servicenodeports/"
"""Below these, each allocated address and port is a key that names its owner."""


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


def is_external(spec: Object) -> bool:
    """Whether traffic from outside reaches the Service, so that a policy for it means something."""
    return spec.get("type") in ("NodePort", "LoadBalancer") or bool(spec.get("externalIPs"))


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
    if is_external(old) and not is_external(spec):
        _drop(spec, old, "externalTrafficPolicy")
    if old.get("type") == "LoadBalancer" != spec.get("type"):
        _drop(spec, old, "allocateLoadBalancerNodePorts")
        _drop(spec, old, "loadBalancerClass")


def _drop(spec: Object, old: Object, field: str) -> None:
    if spec.get(field) == old.get(field):
        spec.pop(field, None)


def _copy(spec: Object, old: Object, field: str) -> None:
    if old.get(field):
        spec[field] = old[field]


def owner_of(service: Object) -> str:
    return f"{service['metadata']['namespace']}/{service['metadata']['name']}"


def claims_of(service: Object) -> Claims:
    """The keys that a stored Service holds. What is no address cannot be another's."""
    owner = owner_of(service).encode()
    spec = service.get("spec") or {}
    keys = [PORT_KEYS + str(port).encode() for port in node_ports_of(spec)]
    for ip in addresses_of(spec):
        try:
            keys.append(IP_KEYS + str(ipaddress.ip_address(ip)).encode())
        except ValueError:
            continue
    return dict.fromkeys(keys, owner)
