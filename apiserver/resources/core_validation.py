"""Validation of the core group's kinds beside pods and services (upstream: pkg/apis/core/validation)."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from apiserver.resources.checks import IMMUTABLE, PROTOCOLS, Errors, filled, one_of, quantities, quantity, texts
from apiserver.resources.pods.placement import EFFECTS
from apiserver.resources.service_validation import check_service, check_service_update, keep_cluster_ips
from apiserver.types import Object
from common.api.names import (
    is_cidr,
    is_config_map_key,
    is_dns1123_label,
    is_ip,
    is_label_value,
    is_qualified_name,
    is_valid_port_num,
)
from common.api.status import duplicate, field_forbidden, invalid_value, not_supported, required, too_long

__all__ = ["check_service", "check_service_update", "keep_cluster_ips"]

MAX_BYTES = 1024 * 1024
_IMMUTABLE_FIELD = "field is immutable when `immutable` is set"


def check_config_map(obj: Object) -> Errors:
    errors: Errors = []
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for field, values in (("data", data), ("binaryData", binary)):
        for key in values:
            errors += texts(f"{field}[{key}]", key, is_config_map_key(key))
    for key in binary:
        if key in data:
            errors.append(invalid_value(f"binaryData[{key}]", key, "duplicate of key present in data"))
    size = sum(len(v.encode()) for v in data.values()) + sum(len(v) * 3 // 4 for v in binary.values())
    return [*errors, too_long("", MAX_BYTES)] if size > MAX_BYTES else errors


def _frozen(obj: Object, old: Object, fields: tuple[str, ...]) -> Errors:
    if not old.get("immutable"):
        return []
    errors = [] if obj.get("immutable") else [field_forbidden("immutable", _IMMUTABLE_FIELD)]
    return errors + [field_forbidden(f, _IMMUTABLE_FIELD) for f in fields if (obj.get(f) or {}) != (old.get(f) or {})]


def check_config_map_update(obj: Object, old: Object, subresource: str) -> Errors:
    return _frozen(obj, old, ("data", "binaryData"))


_SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def check_secret(obj: Object) -> Errors:
    data, kind = obj.get("data") or {}, obj.get("type", "")
    errors = [e for key in data for e in texts(f"data[{key}]", key, is_config_map_key(key))]
    if sum(len(v) * 3 // 4 for v in data.values()) > MAX_BYTES:
        errors.append(too_long("data", MAX_BYTES))
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in data:
            errors.append(required(f"data[{key}]"))
        elif kind.startswith("kubernetes.io/docker") and not _is_json(data[key]):
            errors.append(invalid_value(f"data[{key}]", "<secret contents redacted>", "invalid character"))
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        errors += [required("data[username]"), required("data[password]")]
    if kind == "kubernetes.io/service-account-token":
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        if not annotations.get("kubernetes.io/service-account.name"):
            errors.append(required("metadata.annotations[kubernetes.io/service-account.name]"))
    return errors


def _is_json(encoded: str) -> bool:
    try:
        json.loads(base64.b64decode(encoded))
    except (ValueError, binascii.Error):
        return False
    return True


def check_secret_update(obj: Object, old: Object, subresource: str) -> Errors:
    errors = [] if obj.get("type") == old.get("type") else [invalid_value("type", obj.get("type"), IMMUTABLE)]
    return errors + _frozen(obj, old, ("data",))


def check_node(obj: Object) -> Errors:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    errors: Errors = []
    seen: set[tuple[Any, Any]] = set()
    for i, taint in enumerate(spec.get("taints") or ()):
        at = f"spec.taints[{i}]"
        errors += texts(f"{at}.key", taint.get("key", ""), is_qualified_name(taint.get("key", "")))
        errors += texts(f"{at}.value", taint.get("value", ""), is_label_value(taint.get("value", "")))
        effect = taint.get("effect", "")
        if not effect:
            errors.append(required(f"{at}.effect"))
        elif effect not in EFFECTS:
            errors.append(not_supported(f"{at}.effect", effect, EFFECTS))
        if (taint.get("key"), effect) in seen:
            detail = f"taints must be unique by key and effect pair: {taint.get('key')}"
            errors.append(duplicate(at, detail))
        seen.add((taint.get("key"), effect))
    for i, cidr in enumerate(spec.get("podCIDRs") or ()):
        errors += texts(f"spec.podCIDRs[{i}]", cidr, is_cidr(cidr))
    for field in ("capacity", "allocatable"):
        errors += quantities(status.get(field), f"status.{field}")
    return errors


def check_node_update(obj: Object, old: Object, subresource: str) -> Errors:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    errors: Errors = []
    if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
        errors.append(field_forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        errors.append(
            field_forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
        )
    return errors


def check_endpoints(obj: Object) -> Errors:
    errors: Errors = []
    for i, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{i}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(field) or ()):
                errors += texts(f"{path}.{field}[{j}].ip", address.get("ip", ""), is_ip(address.get("ip", "")))
        for j, port in enumerate(subset.get("ports") or ()):
            at, name = f"{path}.ports[{j}]", port.get("name", "")
            if not name and len(subset["ports"]) > 1:
                errors.append(required(f"{at}.name"))
            elif name:
                errors += texts(f"{at}.name", name, is_dns1123_label(name))
            errors += texts(f"{at}.port", port.get("port", 0), is_valid_port_num(port.get("port", 0)))
            errors += one_of(port, "protocol", at, PROTOCOLS)
    return errors


def check_event(obj: Object) -> Errors:
    """Events of either group arrive here in the stored shape, or in events.k8s.io's."""
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    namespace = (obj.get("metadata") or {}).get("namespace", "")
    expected = about.get("namespace") or "default"
    if namespace and namespace != expected:
        return [invalid_value("involvedObject.namespace", about.get("namespace", ""), "does not match event.namespace")]
    return []


def check_limit_range(obj: Object) -> Errors:
    errors: Errors = []
    for i, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path = f"spec.limits[{i}]"
        errors += filled(item, path, "type")
        for field in ("max", "min", "default", "defaultRequest"):
            errors += quantities(item.get(field), f"{path}.{field}")
        for name, least in (item.get("min") or {}).items():
            most = (item.get("max") or {}).get(name)
            if most is not None and quantity(least) > quantity(most):
                detail = f"min value {least} is greater than max value {most}"
                errors.append(invalid_value(f"{path}.min[{name}]", str(least), detail))
    return errors


def check_resource_quota(obj: Object) -> Errors:
    return quantities((obj.get("spec") or {}).get("hard"), "spec.hard")


def check_claim(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = _access_modes(spec)
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        errors.append(required("spec.resources[storage]"))
    elif quantity(storage).amount <= 0:
        errors.append(invalid_value("spec.resources[storage]", str(storage), "must be greater than zero"))
    return errors


_CLAIM_TEXT = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def check_claim_update(obj: Object, old: Object, subresource: str) -> Errors:
    if subresource == "status":
        return []
    spec, before = dict(obj.get("spec") or {}), dict(old.get("spec") or {})
    asked, had = (((s.pop("resources", None) or {}).get("requests") or {}).get("storage") for s in (spec, before))
    if not before.get("volumeName"):
        spec.pop("volumeName", None)
        before.pop("volumeName", None)
    if before.get("storageClassName") is None:
        spec.pop("storageClassName", None)
    errors: Errors = [field_forbidden("spec", _CLAIM_TEXT)] if spec != before else []
    if asked is not None and had is not None and quantity(asked) < quantity(had):
        detail = "field can not be less than status.capacity"
        errors.append(field_forbidden("spec.resources.requests.storage", detail))
    return errors


_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def _access_modes(spec: dict[str, Any]) -> Errors:
    modes = spec.get("accessModes")
    if not modes:
        return [required("spec.accessModes", "at least 1 access mode is required")]
    return [not_supported("spec.accessModes", mode, _MODES) for mode in modes if mode not in _MODES]


_NOT_SOURCES = frozenset(
    {
        "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
        "storageClassName", "volumeAttributesClassName", "volumeMode",
    }
)  # fmt: skip


def check_volume(obj: Object) -> Errors:
    """PersistentVolume."""
    spec = obj.get("spec") or {}
    errors = _access_modes(spec)
    capacity = spec.get("capacity") or {}
    if not capacity:
        errors.append(required("spec.capacity"))
    elif "storage" not in capacity or len(capacity) > 1:
        errors.append(not_supported("spec.capacity", ",".join(capacity), ("storage",)))
    errors += quantities(capacity, "spec.capacity")
    errors += one_of(spec, "persistentVolumeReclaimPolicy", "spec", ("Delete", "Recycle", "Retain"))
    sources = [field for field in spec if field not in _NOT_SOURCES]
    if not sources:
        errors.append(required("spec", "must specify a volume type"))
    errors += [field_forbidden(f"spec.{s}", "may not specify more than 1 volume type") for s in sources[1:]]
    if "hostPath" in sources:
        errors += filled(spec["hostPath"], "spec.hostPath", "path")
    if "nfs" in sources:
        errors += filled(spec["nfs"], "spec.nfs", "server", "path")
    return errors


def check_volume_update(obj: Object, old: Object, subresource: str) -> Errors:
    def source(volume: Object) -> dict[str, Any]:
        return {k: v for k, v in (volume.get("spec") or {}).items() if k not in _NOT_SOURCES}

    if subresource == "status" or source(obj) == source(old):
        return []
    detail = "spec.persistentvolumesource is immutable after creation"
    return [field_forbidden("spec.persistentvolumesource", detail)]
