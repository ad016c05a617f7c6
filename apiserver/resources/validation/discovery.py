"""EndpointSlices (upstream: pkg/apis/discovery/validation)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apiserver.resources.checks import IMMUTABLE, PROTOCOLS, Errors, labels, texts
from apiserver.resources.core_validation import non_special_ip
from apiserver.resources.validation.formats import fully_qualified_domain_name, ip_of_family
from apiserver.types import Object
from common.api.names import is_dns1123_label, is_dns1123_subdomain, is_label_value, is_qualified_name
from common.api.status import duplicate, invalid_value, not_supported, required, too_many
from common.remember import remembered

Spec = dict[str, Any]

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
MAX_TOPOLOGY, MAX_ADDRESSES, MAX_PORTS, MAX_ENDPOINTS, MAX_HINTS = 16, 100, 20000, 1000, 8


def check_endpoint_slice(obj: Object) -> Errors:
    kind = obj.get("addressType") or ""
    errors: Errors = []
    if not kind:
        errors.append(required("addressType"))
    elif kind not in ADDRESS_TYPES:
        errors.append(not_supported("addressType", kind, ADDRESS_TYPES))
    return errors + _endpoints(obj.get("endpoints") or (), kind) + _ports(obj.get("ports") or ())


def check_endpoint_slice_update(obj: Object, old: Object, subresource: str) -> Errors:
    kind = obj.get("addressType") or ""
    return [] if kind == old.get("addressType") else [invalid_value("addressType", kind, IMMUTABLE)]


def _endpoints(endpoints: Any, kind: str) -> Errors:
    if len(endpoints) > MAX_ENDPOINTS:
        return [too_many("endpoints", len(endpoints), MAX_ENDPOINTS)]
    return [error for i, endpoint in enumerate(endpoints) for error in _endpoint(endpoint, f"endpoints[{i}]", kind)]


def _endpoint(endpoint: Spec, path: str, kind: str) -> Errors:
    addresses = endpoint.get("addresses") or ()
    errors: Errors = []
    if not addresses:
        errors.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > MAX_ADDRESSES:
        errors.append(too_many(f"{path}.addresses", len(addresses), MAX_ADDRESSES))
    for i, address in enumerate(addresses):
        if not _is_fine(kind)(address):
            errors += _address(address, f"{path}.addresses[{i}]", kind)
    if (node := endpoint.get("nodeName")) is not None:
        errors += texts(f"{path}.nodeName", node, is_dns1123_subdomain(node))
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > MAX_TOPOLOGY:
        errors.append(too_many(f"{path}.deprecatedTopology", len(topology), MAX_TOPOLOGY))
    errors += labels(topology, f"{path}.deprecatedTopology")
    if (hostname := endpoint.get("hostname")) is not None:
        errors += texts(f"{path}.hostname", hostname, is_dns1123_label(hostname))
    if (hints := endpoint.get("hints")) is not None:
        errors += _hints(hints.get("forZones") or (), f"{path}.hints.forZones")
    return errors


def _is_fine(kind: str) -> Callable[[str], bool]:
    """Slices are written again and again with most of the addresses they had."""
    return _FINE.get(kind, bool)


def _judge(kind: str) -> Callable[[str], bool]:
    return remembered(4096)(lambda address: not _address(address, "", kind))


_FINE = {kind: _judge(kind) for kind in ("FQDN", "IPv4", "IPv6")}


def _address(address: str, path: str, kind: str) -> Errors:
    if kind == "FQDN":
        return fully_qualified_domain_name(address, path)
    if kind in ("IPv4", "IPv6"):
        return ip_of_family(address, path, 4 if kind == "IPv4" else 6) + non_special_ip(address, path)
    return []


def _hints(zones: Any, path: str) -> Errors:
    if len(zones) > MAX_HINTS:
        return [too_many(path, len(zones), MAX_HINTS)]
    errors: Errors = []
    seen: set[str] = set()
    for i, zone in enumerate(zones):
        name = zone.get("name") or ""
        if name in seen:
            errors.append(duplicate(f"{path}[{i}].name", name))
        seen.add(name)
        errors += texts(f"{path}[{i}].name", name, is_label_value(name))
    return errors


def _ports(ports: Any) -> Errors:
    if len(ports) > MAX_PORTS:
        return [too_many("ports", len(ports), MAX_PORTS)]
    errors: Errors = []
    names: set[str] = set()
    for i, port in enumerate(ports):
        path, name, protocol = f"ports[{i}]", port.get("name") or "", port.get("protocol")
        if name:
            errors += texts(f"{path}.name", name, is_dns1123_label(name))
        if name in names:
            errors.append(duplicate(f"{path}.name", name))
        names.add(name)
        if protocol is None:
            errors.append(required(f"{path}.protocol"))
        elif protocol not in PROTOCOLS:
            errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
        if (application := port.get("appProtocol")) is not None:
            errors += texts(f"{path}.appProtocol", application, is_qualified_name(application))
    return errors
