"""Validation of Services (upstream: ValidateService in pkg/apis/core/validation)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from apiserver.resources.checks import Errors, go_strings, labels, port_or_name, texts
from apiserver.resources.core_validation import non_special_ip
from apiserver.resources.pods.containers import PROTOCOLS
from apiserver.types import Object
from common.api.names import (
    is_cidr,
    is_dns1123_label,
    is_dns1123_subdomain,
    is_ip,
    is_qualified_name,
    is_valid_port_name,
    is_valid_port_num,
    parse_ip,
)
from common.api.status import GoSyntax, duplicate, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
NONE = "None"
FAMILIES = ("IPv4", "IPv6")
POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
TRAFFIC = ("Cluster", "Local")
MAX_AFFINITY_SECONDS = 86_400
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
_LOAD_BALANCER_ONLY = "may only be used when `type` is 'LoadBalancer'"
_IP_MODES = ("Proxy", "VIP")
_FAMILY_OF = {ipaddress.IPv4Address: "IPv4", ipaddress.IPv6Address: "IPv6"}


def is_headless(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("clusterIPs") == [NONE])


def is_external(spec: Mapping[str, Any]) -> bool:
    """Whether it is reached from outside the cluster."""
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Mapping[str, Any]) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def check_service(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    errors: Errors = []
    kind, headless, ports = spec.get("type", ""), is_headless(spec), spec.get("ports") or []
    if annotations:
        errors += _topology(annotations)
    if not ports and not headless and kind != "ExternalName":
        errors.append(required("spec.ports"))
    if headless and kind in ("LoadBalancer", "NodePort"):
        detail = f"may not be set to 'None' for {kind} services"
        errors.append(invalid_value("spec.clusterIPs[0]", NONE, detail))
    elif kind == "ExternalName":
        errors += _external_name(spec)
    names: set[str] = set()
    for i, port in enumerate(ports):
        errors += _port(port, f"spec.ports[{i}]", len(ports) > 1, names)
    if selector := spec.get("selector"):
        errors += labels(selector, "spec.selector")
    errors += _affinity(spec) + check_cluster_ips(spec)
    for i, ip in enumerate(spec.get("externalIPs") or ()):
        at = f"spec.externalIPs[{i}]"
        errors += texts(at, ip, is_ip(ip)) or non_special_ip(ip, at)
    if not kind:
        errors.append(required("spec.type"))
    elif kind not in TYPES:
        errors.append(not_supported("spec.type", kind, TYPES))
    errors += _port_numbers(ports, kind) + _source_ranges(spec, annotations)
    allocate = spec.get("allocateLoadBalancerNodePorts")
    if allocate is not None and kind != "LoadBalancer":
        errors.append(field_forbidden("spec.allocateLoadBalancerNodePorts", _LOAD_BALANCER_ONLY))
    if allocate is None and kind == "LoadBalancer":
        errors.append(required("allocateLoadBalancerNodePorts"))
    return errors + _load_balancer_class(spec) + _traffic(spec)


def _topology(annotations: Mapping[str, str]) -> Errors:
    mode, hints = annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS)
    if mode is None or hints is None or mode == hints:
        return []
    detail = f"must match annotations[{TOPOLOGY_HINTS}] when both are specified"
    return [invalid_value(f"metadata.annotations[{TOPOLOGY_MODE}]", mode, detail)]


def _external_name(spec: Spec) -> Errors:
    detail = "may not be set for ExternalName services"
    errors = [
        field_forbidden(f"spec.{field}", detail)
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get(field)
    ]
    name = str(spec.get("externalName", "")).removesuffix(".")
    if not name:
        return [*errors, required("spec.externalName")]
    return errors + texts("spec.externalName", name, is_dns1123_subdomain(name))


def _port(port: Spec, path: str, needs_name: bool, names: set[str]) -> Errors:
    errors: Errors = []
    name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "")
    if name:
        errors += texts(f"{path}.name", name, is_dns1123_label(name))
        if name in names:
            errors.append(duplicate(f"{path}.name", name))
        names.add(name)
    elif needs_name:
        errors.append(required(f"{path}.name"))
    errors += texts(f"{path}.port", number, is_valid_port_num(number))
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    errors += port_or_name(port.get("targetPort", number), f"{path}.targetPort", is_valid_port_name)
    if (application := port.get("appProtocol")) is not None:
        errors += texts(f"{path}.appProtocol", application, is_qualified_name(application))
    return errors


def _affinity(spec: Spec) -> Errors:
    affinity, path = spec.get("sessionAffinity", ""), "spec.sessionAffinityConfig"
    if affinity == "ClientIP":
        seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            return [required(path, "when session affinity type is ClientIP")]
        if not 0 < seconds <= MAX_AFFINITY_SECONDS:
            detail = f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"
            return [invalid_value(f"{path}.clientIP.timeoutSeconds", seconds, detail)]
    elif affinity == NONE:
        if spec.get("sessionAffinityConfig") is not None:
            return [field_forbidden(path, "must not be set when session affinity is None")]
    elif not affinity:
        return [required("spec.sessionAffinity")]
    else:
        return [not_supported("spec.sessionAffinity", affinity, ("ClientIP", NONE))]
    return []


def check_cluster_ips(spec: Spec) -> Errors:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy (upstream: ValidateServiceClusterIPsRelatedFields)."""
    if spec.get("type") == "ExternalName":
        return []
    ip, ips = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    errors: Errors = []
    if ip and not ips:
        errors.append(required("spec.clusterIPs"))
    elif ip and ips[0] != ip:
        errors.append(invalid_value("spec.clusterIPs", go_strings(ips), "first value must match `clusterIP`"))
    elif ips and not ip:
        detail = "must be empty when `clusterIP` is not specified"
        errors.append(invalid_value("spec.clusterIPs", go_strings(ips), detail))
    for i, family in enumerate(families):
        if family not in FAMILIES:
            errors.append(not_supported(f"spec.ipFamilies[{i}]", family, FAMILIES))
        if family in families[:i]:
            errors.append(duplicate(f"spec.ipFamilies[{i}]", family))
    if policy is not None and policy not in POLICIES:
        errors.append(not_supported("spec.ipFamilyPolicy", policy, POLICIES))
    bad = _check_each_ip(errors, ips)
    if len(ips) > 2:
        errors.append(invalid_value("spec.clusterIPs", go_strings(ips), "may only hold up to 2 values"))
    return errors if bad else errors + _families(ips, families)


def _check_each_ip(errors: Errors, ips: list[str]) -> bool:
    """Whether one is no address, so that their families say nothing."""
    bad = False
    for i, ip in enumerate(ips):
        if i == 0 and ip == NONE:
            if len(ips) > 1:
                bad = True
                detail = "'None' must be the first and only value"
                errors.append(invalid_value("spec.clusterIPs", go_strings(ips), detail))
        elif problems := is_ip(ip):
            bad = True
            errors += texts(f"spec.clusterIPs[{i}]", ip, problems)
    return bad


def family_of(ip: str) -> str:
    return _FAMILY_OF.get(type(parse_ip(ip)), "")  # type: ignore[arg-type]


def _families(ips: list[str], families: list[str]) -> Errors:
    errors: Errors = []
    if len(ips) > 1 and {family_of(ip) for ip in ips} != set(FAMILIES):
        detail = "may specify no more than one IP for each IP family"
        errors.append(invalid_value("spec.clusterIPs", go_strings(ips), detail))
    if ips == [NONE]:
        return errors
    for i, (ip, family) in enumerate(zip(ips, families, strict=False)):
        if family in FAMILIES and family_of(ip) != family:
            detail = f"expected an {family} value as indicated by `ipFamilies[{i}]`"
            errors.append(invalid_value(f"spec.clusterIPs[{i}]", ip, detail))
    return errors


def _port_numbers(ports: list[Spec], kind: str) -> Errors:
    errors: Errors = []
    if kind == "ClusterIP":
        for i, port in enumerate(ports):
            if port.get("nodePort"):
                detail = "may not be used when `type` is 'ClusterIP'"
                errors.append(field_forbidden(f"spec.ports[{i}].nodePort", detail))
    taken: set[tuple[Any, Any]] = set()
    for i, port in enumerate(ports):
        number = (port.get("protocol"), port.get("nodePort"))
        if number[1]:
            if number in taken:
                errors.append(duplicate(f"spec.ports[{i}].nodePort", number[1]))
            taken.add(number)
    taken = set()
    for i, port in enumerate(ports):
        number = (port.get("protocol"), port.get("port"))
        if number in taken:
            errors.append(duplicate(f"spec.ports[{i}]", _go_port(port)))
        taken.add(number)
    return errors


def _go_port(port: Spec) -> GoSyntax:
    target = 'TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0'
    number = f'Protocol:"{port.get("protocol", "")}", AppProtocol:(*string)(nil), Port:{port.get("port", 0)}'
    return GoSyntax(f'core.ServicePort{{Name:"", {number}, {target}}}')


def _source_ranges(spec: Spec, annotations: Mapping[str, str]) -> Errors:
    ranges, text = spec.get("loadBalancerSourceRanges"), annotations.get(SOURCE_RANGES)
    path = "spec.LoadBalancerSourceRanges" if ranges else f"metadata.annotations[{SOURCE_RANGES}]"
    if not ranges and text is None:
        return []
    errors: Errors = []
    if spec.get("type") != "LoadBalancer":
        errors.append(field_forbidden(path, _LOAD_BALANCER_ONLY))
    if ranges:
        for i, value in enumerate(ranges):
            errors += texts(f"{path}[{i}]", value.strip(), is_cidr(value.strip()))
    elif text and text.strip():
        for value in text.strip().split(","):
            errors += texts(path, value.strip(), is_cidr(value.strip()))
    return errors


def _load_balancer_class(spec: Spec) -> Errors:
    name, path = spec.get("loadBalancerClass"), "spec.loadBalancerClass"
    if name is None:
        return []
    if spec.get("type") != "LoadBalancer":
        return [field_forbidden(path, _LOAD_BALANCER_ONLY)]
    return texts(path, name, is_qualified_name(name))


def _traffic(spec: Spec) -> Errors:
    errors: Errors = []
    external, path = spec.get("externalTrafficPolicy", ""), "spec.externalTrafficPolicy"
    if not is_external(spec):
        if external:
            errors.append(invalid_value(path, external, "may only be set for externally-accessible services"))
    elif external not in TRAFFIC:
        errors.append(not_supported(path, external, TRAFFIC) if external else required(path))
    number, path = spec.get("healthCheckNodePort", 0), "spec.healthCheckNodePort"
    if not needs_health_check(spec):
        if number:
            detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            errors.append(invalid_value(path, number, detail))
    elif not number:
        errors.append(required(path))
    else:
        errors += texts(path, number, is_valid_port_num(number))
    internal, path = spec.get("internalTrafficPolicy"), "spec.internalTrafficPolicy"
    if internal is None:
        if spec.get("type") in ("ClusterIP", "LoadBalancer", "NodePort"):
            errors.append(required(path))
    elif internal not in TRAFFIC:
        errors.append(not_supported(path, internal, TRAFFIC))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution != "PreferClose":
        errors.append(not_supported("spec.trafficDistribution", distribution, ("PreferClose",)))
    return errors


# ---- updates ------------------------------------------------------------------------------------------------------


def check_service_update(obj: Object, old: Object) -> Errors:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    errors: Errors = []
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        headless, was = is_headless(spec), is_headless(before)
        if not (headless and was):
            errors += _changed_ips(spec, before)
        if not headless and not was:
            errors += _changed_families(spec, before)
    if spec.get("type") == before.get("type") == "LoadBalancer":
        name = spec.get("loadBalancerClass")
        if name != before.get("loadBalancerClass"):
            errors.append(invalid_value("spec.loadBalancerClass", name, "may not change once set"))
    errors += _load_balancer_class(spec)
    checked = needs_health_check(spec) and needs_health_check(before)
    if checked and spec.get("healthCheckNodePort") != before.get("healthCheckNodePort"):
        errors.append(field_forbidden("spec.healthCheckNodePort", "field is immutable"))
    return errors + check_service(obj)


def _changed_ips(spec: Spec, before: Spec) -> Errors:
    """A second address may come and go, the first one stays."""
    ips, was = spec.get("clusterIPs") or [], before.get("clusterIPs") or []
    errors: Errors = []
    if len(ips) == len(was):
        for i, (new, old) in enumerate(zip(ips, was, strict=True)):
            if new != old:
                errors.append(invalid_value(f"spec.clusterIPs[{i}]", go_strings(ips), "may not change once set"))
        return errors
    path = "spec.clusterIPs[0]"
    if not ips:
        errors.append(invalid_value(path, GoSyntax("[]string(nil)"), "primary clusterIP can not be unset"))
    elif was and ips[0] != was[0]:
        errors.append(invalid_value(path, go_strings(ips), "may not change once set"))
    policy = spec.get("ipFamilyPolicy")
    if len(was) > len(ips) == 1 and policy != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        errors.append(invalid_value("spec.ipFamilyPolicy", policy, detail))
    return errors


def _go_families(families: list[str]) -> GoSyntax:
    names = ", ".join(map('"{}"'.format, families))
    return GoSyntax(f"[]core.IPFamily{{{names}}}")


def _changed_families(spec: Spec, before: Spec) -> Errors:
    families, was = spec.get("ipFamilies") or [], before.get("ipFamilies") or []
    path, fixed = "spec.ipFamilies[0]", "may not change once set"
    if len(families) == len(was):
        shown = _go_families(families)
        return [invalid_value(path, shown, fixed) for new, old in zip(families, was, strict=True) if new != old]
    errors: Errors = []
    ips = spec.get("clusterIPs") or []
    if len(was) > len(families) and not ips:
        errors.append(invalid_value(path, _go_families(families), "primary ipFamily can not be unset"))
    if families and was and families[0] != was[0]:
        errors.append(invalid_value(path, go_strings(ips), fixed))
    policy = spec.get("ipFamilyPolicy")
    if len(was) > len(families) == 1 and policy != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        errors.append(invalid_value("spec.ipFamilyPolicy", policy, detail))
    return errors


def check_service_status(obj: Object, old: Object) -> Errors:
    spec = old.get("spec") or {}
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    path = "status.loadBalancer.ingress"
    if ingress and spec.get("type") != "LoadBalancer":
        return [field_forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    return [e for i, entry in enumerate(ingress) for e in _ingress(entry, f"{path}[{i}]")]


def _ingress(entry: Spec, path: str) -> Errors:
    ip, mode, name = entry.get("ip", ""), entry.get("ipMode"), entry.get("hostname", "")
    errors = texts(f"{path}.ip", ip, is_ip(ip)) if ip else []
    if mode is None:
        if ip:
            errors.append(required(f"{path}.ipMode", "must be specified when `ip` is set"))
    elif not ip:
        errors.append(field_forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set"))
    elif mode not in _IP_MODES:
        errors.append(not_supported(f"{path}.ipMode", mode, _IP_MODES))
    if name:
        errors += texts(f"{path}.hostname", name, is_dns1123_subdomain(name))
        if parse_ip(name) is not None:
            errors.append(invalid_value(f"{path}.hostname", name, "must be a DNS name, not an IP address"))
    return errors


def service_warnings(obj: Object) -> list[str]:
    """Upstream: pkg/api/service/warnings.go."""
    spec, annotations = obj.get("spec") or {}, (obj.get("metadata") or {}).get("annotations") or {}
    found = []
    if TOPOLOGY_HINTS in annotations:
        found.append(f"annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead")
    external = spec.get("type") == "ExternalName"
    if spec.get("type") == "ClusterIP" and spec.get("clusterIP") == NONE:
        if spec.get("loadBalancerIP"):
            found.append("spec.loadBalancerIP is ignored for headless services")
        if spec.get("externalIPs"):
            found.append("spec.externalIPs is ignored for headless services")
        if spec.get("sessionAffinity") != NONE:
            found.append("spec.SessionAffinity is ignored for headless services")
    if external and spec.get("externalIPs"):
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if not external and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    return found
