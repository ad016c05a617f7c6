"""Validation of Services (upstream: ValidateService in pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import PROTOCOLS, Errors, go_strings, labels, one_of, port_or_name, texts
from apiserver.types import Object
from common.api.names import is_dns1123_label, is_dns1123_subdomain, is_ip, is_valid_port_name, is_valid_port_num
from common.api.status import GoSyntax, duplicate, field_forbidden, invalid_value, not_supported, required

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
NONE = "None"


def check_service(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    kind = spec.get("type", "")
    errors: Errors = []
    if kind not in TYPES:
        errors.append(not_supported("spec.type", kind, TYPES))
    if kind == "ExternalName":
        name = str(spec.get("externalName", "")).removesuffix(".")
        errors += (
            texts("spec.externalName", spec.get("externalName"), is_dns1123_subdomain(name))
            if name
            else [required("spec.externalName")]
        )
        if spec.get("clusterIP"):
            errors.append(field_forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'"))
    elif not spec.get("ports") and spec.get("clusterIP") != NONE:
        errors.append(required("spec.ports"))
    errors += _ports(spec.get("ports") or [], kind, spec.get("clusterIP") == NONE)
    errors += labels(spec.get("selector"), "spec.selector")
    if spec.get("sessionAffinity") not in ("ClientIP", NONE):
        errors.append(not_supported("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", NONE)))
    errors += _addresses(spec, kind)
    errors += one_of(spec, "externalTrafficPolicy", "spec", ("Cluster", "Local"))
    return errors + one_of(spec, "internalTrafficPolicy", "spec", ("Cluster", "Local"))


def _addresses(spec: dict[str, Any], kind: str) -> Errors:
    errors: Errors = []
    ips = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    for i, ip in enumerate(ips):
        if ip == NONE:
            if kind in ("NodePort", "LoadBalancer"):
                detail = f"may not be set to 'None' for {kind} services"
                errors.append(invalid_value(f"spec.clusterIPs[{i}]", ip, detail))
        else:
            errors += texts(f"spec.clusterIPs[{i}]", ip, is_ip(ip))
    for i, ip in enumerate(spec.get("externalIPs") or ()):
        errors += texts(f"spec.externalIPs[{i}]", ip, is_ip(ip))
    return errors


def _ports(ports: list[dict[str, Any]], kind: str, headless: bool) -> Errors:
    errors: Errors = []
    names: set[str] = set()
    numbers: set[tuple[Any, Any]] = set()
    node_ports: set[tuple[Any, Any]] = set()
    for i, port in enumerate(ports):
        path = f"spec.ports[{i}]"
        errors += _port(port, path, len(ports) > 1)
        name = port.get("name", "")
        if name and name in names:
            errors.append(duplicate(f"{path}.name", name))
        names.add(name)
        if port.get("nodePort"):
            if kind in ("ClusterIP", "ExternalName"):
                detail = f"may not be used when `type` is '{kind}'"
                errors.append(field_forbidden(f"{path}.nodePort", detail))
            elif (port.get("protocol"), port["nodePort"]) in node_ports:
                errors.append(duplicate(f"{path}.nodePort", port["nodePort"]))
            node_ports.add((port.get("protocol"), port["nodePort"]))
        identity = (port.get("protocol"), port.get("port"))
        if identity in numbers:
            errors.append(duplicate(path, _go_port(port)))
        numbers.add(identity)
    return errors


def _go_port(port: dict[str, Any]) -> GoSyntax:
    target = 'TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0'
    number = f'Protocol:"{port.get("protocol")}", AppProtocol:(*string)(nil), Port:{port.get("port")}'
    return GoSyntax(f'core.ServicePort{{Name:"", {number}, {target}}}')


def _port(port: dict[str, Any], path: str, needs_name: bool) -> Errors:
    errors: Errors = []
    name, number = port.get("name", ""), port.get("port", 0)
    if name:
        errors += texts(f"{path}.name", name, is_dns1123_label(name))
    elif needs_name:
        errors.append(required(f"{path}.name"))
    errors += texts(f"{path}.port", number, is_valid_port_num(number))
    errors += one_of(port, "protocol", path, PROTOCOLS)
    return errors + port_or_name(port.get("targetPort", number), f"{path}.targetPort", is_valid_port_name)


def keep_cluster_ips(obj: Object, old: Object, subresource: str) -> None:
    """clusterIP and clusterIPs[0] are one field: whichever the client changed, the other follows."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    ip, ips = spec.get("clusterIP"), spec.get("clusterIPs")
    if ip and ips and ip != before.get("clusterIP") and ips == before.get("clusterIPs"):
        spec["clusterIPs"] = [ip, *ips[1:]]


def check_service_update(obj: Object, old: Object, subresource: str) -> Errors:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if subresource == "status" or "ExternalName" in (spec.get("type"), before.get("type")):
        return []
    ips = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    was = before.get("clusterIPs") or ([before["clusterIP"]] if before.get("clusterIP") else [])
    if was and ips[:1] != was[:1]:
        return [invalid_value("spec.clusterIPs[0]", go_strings(ips), "may not change once set")]
    return []
