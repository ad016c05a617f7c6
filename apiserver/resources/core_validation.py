"""Validation of ConfigMaps, Secrets, Endpoints and Namespaces (upstream: pkg/apis/core/validation)."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from apiserver.resources.checks import IMMUTABLE, Errors, texts
from apiserver.resources.pods.containers import PROTOCOLS
from apiserver.schema.gojson import syntax_error
from apiserver.types import Object
from common.api.names import (
    Address,
    is_config_map_key,
    is_dns1123_label,
    is_dns1123_subdomain,
    is_ip,
    is_qualified_name,
    is_valid_port_num,
    parse_ip,
)
from common.api.status import field_forbidden, invalid_value, not_supported, required, too_long

MAX_BYTES = 1024 * 1024
STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_IMMUTABLE_FIELD = "field is immutable when `immutable` is set"


def _size(encoded: str) -> int:
    """Of what base64 stands for."""
    return len(encoded) // 4 * 3 - encoded.count("=", -2)


def check_config_map(obj: Object) -> Errors:
    errors: Errors = []
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for key in data:
        errors += texts(f"data[{key}]", key, is_config_map_key(key))
        if key in binary:
            errors.append(invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData"))
    for key in binary:
        errors += texts(f"binaryData[{key}]", key, is_config_map_key(key))
    size = sum(len(v) if v.isascii() else len(v.encode()) for v in data.values()) + sum(map(_size, binary.values()))
    return [*errors, too_long("[]", MAX_BYTES)] if size > MAX_BYTES else errors


def _frozen(obj: Object, old: Object, fields: tuple[str, ...]) -> Errors:
    if not old.get("immutable"):
        return []
    errors = [] if obj.get("immutable") else [field_forbidden("immutable", _IMMUTABLE_FIELD)]
    return errors + [field_forbidden(f, _IMMUTABLE_FIELD) for f in fields if (obj.get(f) or {}) != (old.get(f) or {})]


def check_config_map_update(obj: Object, old: Object) -> Errors:
    return _frozen(obj, old, ("data", "binaryData")) + check_config_map(obj)


_ANNOTATION = "kubernetes.io/service-account.name"
_JSON_KEYS = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}


def check_secret(obj: Object) -> Errors:
    data, kind = obj.get("data") or {}, obj.get("type", "")
    errors = [e for key in data for e in texts(f"data[{key}]", key, is_config_map_key(key))]
    if sum(map(_size, data.values())) > MAX_BYTES:
        errors.append(too_long("data", MAX_BYTES))
    if kind == "kubernetes.io/service-account-token":
        if not ((obj.get("metadata") or {}).get("annotations") or {}).get(_ANNOTATION):
            errors.append(required(f"metadata.annotations[{_ANNOTATION}]"))
    elif kind in _JSON_KEYS:
        errors += _docker(data, _JSON_KEYS[kind])
    elif kind == "kubernetes.io/basic-auth":
        if not {"username", "password"} & data.keys():
            errors += [required("data[username]"), required("data[password]")]
    elif kind == "kubernetes.io/ssh-auth":
        if not data.get("ssh-privatekey"):
            errors.append(required("data[ssh-privatekey]"))
    elif kind == "kubernetes.io/tls":
        errors += [required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in data]
    return errors


def _docker(data: dict[str, str], key: str) -> Errors:
    if key not in data:
        return [required(f"data[{key}]")]
    try:
        content = base64.b64decode(data[key])
    except (ValueError, binascii.Error):
        content = b""
    problem = _json_problem(content)
    return [invalid_value(f"data[{key}]", "<secret contents redacted>", problem)] if problem else []


def _json_problem(content: bytes) -> str:
    try:
        value = json.loads(content)
    except ValueError:
        return syntax_error(content)
    if isinstance(value, dict) or value is None:
        return ""
    kind = {bool: "bool", str: "string", list: "array"}.get(type(value), "number")
    return f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"


def check_secret_update(obj: Object, old: Object) -> Errors:
    errors = [] if obj.get("type") == old.get("type") else [invalid_value("type", obj.get("type"), IMMUTABLE)]
    return errors + _frozen(obj, old, ("data",)) + check_secret(obj)


# ---- endpoints ----------------------------------------------------------------------------------------------------


def check_endpoints(obj: Object) -> Errors:
    errors: Errors = []
    for i, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{i}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(field) or ()):
                errors += _endpoint_address(address, f"{path}.{field}[{j}]")
        ports = subset.get("ports") or ()
        for j, port in enumerate(ports):
            errors += _endpoint_port(port, f"{path}.ports[{j}]", len(ports) > 1)
    return errors


def _endpoint_address(address: dict[str, Any], path: str) -> Errors:
    ip = address.get("ip", "")
    errors = texts(f"{path}.ip", ip, is_ip(ip))
    if name := address.get("hostname"):
        errors += texts(f"{path}.hostname", name, is_dns1123_label(name))
    if (node := address.get("nodeName")) is not None:
        errors += texts(f"{path}.nodeName", node, is_dns1123_subdomain(node))
    return errors + non_special_ip(ip, f"{path}.ip")


def _endpoint_port(port: dict[str, Any], path: str, needs_name: bool) -> Errors:
    errors: Errors = []
    name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "")
    if name:
        errors += texts(f"{path}.name", name, is_dns1123_label(name))
    elif needs_name:
        errors.append(required(f"{path}.name"))
    errors += texts(f"{path}.port", number, is_valid_port_num(number))
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    if (application := port.get("appProtocol")) is not None:
        errors += texts(f"{path}.appProtocol", application, is_qualified_name(application))
    return errors


def non_special_ip(value: str, path: str) -> Errors:
    """Addresses that mean another machine to everybody (upstream: ValidateNonSpecialIP)."""
    ip = parse_ip(value)
    if ip is None:
        return [invalid_value(path, value, "must be a valid IP address")]
    return [invalid_value(path, value, text) for text in _special(ip, value)]


def _special(ip: Address, value: str) -> list[str]:
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_unspecified:
        return [f"may not be unspecified ({value})"]
    if ip.is_loopback:
        return ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]
    if ip.is_link_local:
        return ["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]
    number = int(ip)
    if ip.is_multicast and (number >> 8 == 0xE00000 if ip.version == 4 else number >> 112 & 0xFF0F == 0xFF02):
        return ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]
    return []


# ---- namespaces ---------------------------------------------------------------------------------------------------


def check_namespace(obj: Object) -> Errors:
    finalizers = (obj.get("spec") or {}).get("finalizers") or ()
    return [e for name in finalizers for e in check_finalizer(name, "spec.finalizers")]


def check_finalizer(name: str, path: str) -> Errors:
    errors = texts(path, name, is_qualified_name(name))
    if "/" not in name and name not in STANDARD_FINALIZERS:
        detail = "name is neither a standard finalizer name nor is it fully qualified"
        errors.append(invalid_value(path, name, detail))
    return errors


def check_namespace_update(obj: Object, old: Object) -> Errors:
    return []


def check_namespace_status(obj: Object, old: Object) -> Errors:
    phase, deleting = (obj.get("status") or {}).get("phase", ""), "deletionTimestamp" in obj["metadata"]
    if deleting and phase != "Terminating":
        detail = "may only be 'Terminating' if `deletionTimestamp` is not empty"
    elif not deleting and phase != "Active":
        detail = "may only be 'Active' if `deletionTimestamp` is empty"
    else:
        return []
    return [invalid_value("status.Phase", phase, detail)]


def check_namespace_finalizers(obj: Object, old: Object) -> Errors:
    """Of a write to /finalize."""
    finalizers = (obj.get("spec") or {}).get("finalizers") or ()
    return [e for i, name in enumerate(finalizers) for e in check_finalizer(name, f"spec.finalizers[{i}]")]
