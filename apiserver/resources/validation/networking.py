"""NetworkPolicies and IngressClasses (upstream: pkg/apis/networking/validation). Ingresses have a file of their own."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import IMMUTABLE, Errors, label_selector, texts
from apiserver.resources.validation.formats import domain_prefixed_path, go_list, path_segment
from apiserver.types import Object
from common.api.names import (
    Network,
    is_cidr,
    is_dns1123_label,
    is_dns1123_subdomain,
    is_valid_port_name,
    is_valid_port_num,
    parse_cidr,
)
from common.api.status import field_forbidden, invalid_value, not_supported, required, too_long

Spec = dict[str, Any]

MAX_CONTROLLER = 250
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_POLICY_TYPES = ("Ingress", "Egress")
_SCOPES = ("Cluster", "Namespace")


def check_network_policy(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                errors += _port(port, f"{path}.ports[{j}]")
            for j, peer in enumerate(rule.get(peers) or ()):
                errors += _peer(peer, f"{path}.{peers}[{j}]")
    types = spec.get("policyTypes") or ()
    if len(types) > len(_POLICY_TYPES):
        shown = go_list("networking.PolicyType", types)
        return [*errors, invalid_value("spec.policyTypes", shown, "may not specify more than two policyTypes")]
    for i, kind in enumerate(types):
        if kind not in _POLICY_TYPES:
            errors.append(not_supported(f"spec.policyTypes[{i}]", kind, _POLICY_TYPES))
    return errors


def _port(port: Spec, path: str) -> Errors:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    errors: Errors = []
    if protocol is not None and protocol not in _PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
    at = f"{path}.endPort"
    if number is None:
        if end is not None:
            errors.append(invalid_value(at, end, "may not be specified when `port` is not specified"))
    elif isinstance(number, int):
        errors += texts(f"{path}.port", number, is_valid_port_num(number))
        if end is not None:
            if end < number:
                errors.append(invalid_value(at, end, "must be greater than or equal to `port`"))
            errors += texts(at, end, is_valid_port_num(end))
    else:
        if end is not None:
            errors.append(invalid_value(at, end, "may not be specified when `port` is non-numeric"))
        errors += texts(f"{path}.port", number, is_valid_port_name(number))
    return errors


def _peer(peer: Spec, path: str) -> Errors:
    pods, namespaces, block = (peer.get(f) for f in ("podSelector", "namespaceSelector", "ipBlock"))
    errors = label_selector(pods, f"{path}.podSelector") + label_selector(namespaces, f"{path}.namespaceSelector")
    if block is not None:
        errors += _block(block, f"{path}.ipBlock")
        if pods is not None or namespaces is not None:
            errors.append(field_forbidden(path, "may not specify both ipBlock and another peer"))
    elif pods is None and namespaces is None:
        errors.append(required(path, "must specify a peer"))
    return errors


def _block(block: Spec, path: str) -> Errors:
    cidr = block.get("cidr") or ""
    if not cidr:
        return [required(f"{path}.cidr")]
    whole = parse_cidr(cidr)
    if whole is None:
        return texts(f"{path}.cidr", cidr, is_cidr(cidr))
    errors: Errors = []
    for i, text in enumerate(block.get("except") or ()):
        at = f"{path}.except[{i}]"
        part = parse_cidr(text)
        if part is None:
            errors += texts(at, text, is_cidr(text))
        elif not _strict_subset(part, whole):
            errors.append(invalid_value(at, text, "must be a strict subset of `cidr`"))
    return errors


def _strict_subset(part: Network, whole: Network) -> bool:
    return part.version == whole.version and part.network_address in whole and part.prefixlen > whole.prefixlen


def check_ingress_class(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    controller, parameters = spec.get("controller") or "", spec.get("parameters")
    errors: Errors = [too_long("spec.controller", MAX_CONTROLLER)] if len(controller) > MAX_CONTROLLER else []
    errors += domain_prefixed_path(controller, "spec.controller")
    return errors + (_parameters(parameters, "spec.parameters") if parameters is not None else [])


def check_ingress_class_update(obj: Object, old: Object) -> Errors:
    after, before = ((o.get("spec") or {}).get("controller") or "" for o in (obj, old))
    errors: Errors = [] if after == before else [invalid_value("spec.controller", after, IMMUTABLE)]
    return errors + check_ingress_class(obj)


def typed_reference(ref: Spec, path: str) -> Errors:
    """A TypedLocalObjectReference."""
    errors: Errors = []
    if (group := ref.get("apiGroup")) is not None:
        errors += texts(f"{path}.apiGroup", group, is_dns1123_subdomain(group))
    for field in ("kind", "name"):
        value = ref.get(field) or ""
        errors += texts(f"{path}.{field}", value, path_segment(value)) if value else [required(f"{path}.{field}")]
    return errors


def _parameters(ref: Spec, path: str) -> Errors:
    errors = typed_reference(ref, path)
    scope, namespace = ref.get("scope"), ref.get("namespace")
    if scope is None:
        return [*errors, required(f"{path}.scope")]
    if scope not in _SCOPES:
        return [*errors, not_supported(f"{path}.scope", scope, _SCOPES)]
    at = f"{path}.namespace"
    if scope == "Namespace":
        if namespace is None:
            errors.append(required(at, "`parameters.scope` is set to 'Namespace'"))
        else:
            errors += texts(at, namespace, is_dns1123_label(namespace))
    elif namespace is not None:
        errors.append(field_forbidden(at, "`parameters.scope` is set to 'Cluster'"))
    return errors
