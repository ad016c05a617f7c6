"""The storage group (upstream: pkg/apis/storage/validation)."""

from __future__ import annotations

import json
from typing import Any

from apiserver.resources.checks import (
    IMMUTABLE,
    Errors,
    go_selector,
    label_selector,
    not_negative,
    quantity,
    texts,
)
from apiserver.resources.validation.formats import go_list
from apiserver.types import Object
from common.api.names import is_dns1123_subdomain, is_qualified_name
from common.api.quantity import canonical
from common.api.status import (
    GoSyntax,
    duplicate,
    field_forbidden,
    invalid_value,
    not_supported,
    required,
    too_long,
)

Spec = dict[str, Any]

MAX_PARAMETERS, MAX_PARAMETERS_SIZE = 512, 256 * 1024
MAX_ATTACHMENT_METADATA, MAX_ERROR_MESSAGE = 256 * 1024, 1024
MAX_NODE_ID = 192
MAX_DRIVER_NAME = 63
MIN_TOKEN_SECONDS = 600
_RECLAIM, _BINDING = ("Delete", "Retain"), ("Immediate", "WaitForFirstConsumer")
_FS_GROUP = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLE = ("Persistent", "Ephemeral")


def check_storage_class(obj: Object) -> Errors:
    provisioner = obj.get("provisioner") or ""
    errors = texts("provisioner", provisioner, is_qualified_name(provisioner.lower())) if provisioner else []
    if not provisioner:
        errors.append(required("provisioner"))
    errors += _parameters(obj.get("parameters") or {})
    reclaim, binding = obj.get("reclaimPolicy") or "", obj.get("volumeBindingMode")
    if reclaim and reclaim not in _RECLAIM:
        errors.append(not_supported("reclaimPolicy", reclaim, _RECLAIM))
    if binding is None:
        errors.append(required("volumeBindingMode"))
    elif binding not in _BINDING:
        errors.append(not_supported("volumeBindingMode", binding, _BINDING))
    return errors + _topologies(obj.get("allowedTopologies") or (), "allowedTopologies")


def _parameters(parameters: dict[str, str]) -> Errors:
    if len(parameters) > MAX_PARAMETERS:
        return [too_long("parameters", MAX_PARAMETERS)]
    errors: Errors = [invalid_value("parameters", "", "field can not be empty.") for key in parameters if not key]
    if sum(len(key) + len(value) for key, value in parameters.items()) > MAX_PARAMETERS_SIZE:
        errors.append(too_long("parameters", MAX_PARAMETERS_SIZE))
    return errors


def _topologies(terms: Any, path: str) -> Errors:
    errors: Errors = []
    seen: list[dict[str, frozenset[str]]] = []
    for i, term in enumerate(terms):
        at = f"{path}[{i}].matchLabelExpressions"
        chosen: dict[str, frozenset[str]] = {}
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            key, values = expression.get("key") or "", expression.get("values") or ()
            errors += _values(values, f"{at}[{j}].values")
            errors += texts(f"{at}[{j}].key", key, is_qualified_name(key))
            if key in chosen:
                errors.append(duplicate(f"{at}[{j}].key", key))
            chosen[key] = frozenset(values)
        if chosen in seen:
            errors.append(duplicate(at, ""))
        seen.append(chosen)
    return errors


def _values(values: Any, path: str) -> Errors:
    if not values:
        return [required(path)]
    return [duplicate(f"{path}[{i}]", value) for i, value in enumerate(values) if value in values[:i]]


def check_storage_class_update(obj: Object, old: Object, subresource: str) -> Errors:
    errors: Errors = []
    for field in ("parameters", "provisioner", "reclaimPolicy"):
        if (obj.get(field) or None) != (old.get(field) or None):
            errors.append(field_forbidden(field, f"updates to {field} are forbidden."))
    mode = obj.get("volumeBindingMode")
    if mode != old.get("volumeBindingMode"):
        errors.append(invalid_value("volumeBindingMode", mode, IMMUTABLE))
    return errors


# ---- VolumeAttachment ---------------------------------------------------------------------------------------------


def check_volume_attachment(obj: Object) -> Errors:
    """Of a new one; the last two checks are those of v1."""
    spec = obj.get("spec") or {}
    errors = _attachment(obj) + driver_name(spec.get("attacher") or "", "spec.attacher")
    if (name := (spec.get("source") or {}).get("persistentVolumeName")) is not None:
        errors += texts("spec.source.persistentVolumeName", name, is_dns1123_subdomain(name))
    return errors


def _attachment(obj: Object) -> Errors:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    errors: Errors = [] if spec.get("attacher") else [required("spec.attacher")]
    source = spec.get("source") or {}
    name, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    exactly_one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if name is None and inline is None:
        errors.append(required("spec.source", exactly_one))
    elif name is not None and inline is not None:
        errors.append(field_forbidden("spec.source", exactly_one))
    elif name == "":
        detail = "must specify non empty persistentVolumeName"
        errors.append(required("spec.source.persistentVolumeName", detail))
    node = spec.get("nodeName") or ""
    errors += texts("spec.nodeName", node, is_dns1123_subdomain(node))
    return errors + _attachment_status(status)


def _attachment_status(status: Spec) -> Errors:
    errors: Errors = []
    metadata = status.get("attachmentMetadata") or {}
    if sum(len(key) + len(value) for key, value in metadata.items()) > MAX_ATTACHMENT_METADATA:
        errors.append(too_long("status.attachmentMetadata", MAX_ATTACHMENT_METADATA))
    for field in ("attachError", "detachError"):
        if len((status.get(field) or {}).get("message") or "") > MAX_ERROR_MESSAGE:
            # The limit that is named is upstream's slip.
            errors.append(too_long(f"status.{field}.message", MAX_ATTACHMENT_METADATA))
    return errors


def check_volume_attachment_update(obj: Object, old: Object) -> Errors:
    errors = _attachment(obj) * 2  # upstream asks twice, and so answers twice
    if obj.get("spec") != old.get("spec"):
        errors.append(invalid_value("spec", _go_attachment(obj.get("spec") or {}), IMMUTABLE))
    return errors


def _go_attachment(spec: Spec) -> GoSyntax:
    source = spec.get("source") or {}
    name = "nil" if source.get("persistentVolumeName") is None else "0xc000000000"
    inline = "nil" if source.get("inlineVolumeSpec") is None else "0xc000000000"
    return GoSyntax(
        f"storage.VolumeAttachmentSpec{{Attacher:{json.dumps(spec.get('attacher') or '')}, "
        f"Source:storage.VolumeAttachmentSource{{PersistentVolumeName:(*string)({name}), "
        f"InlineVolumeSpec:(*core.PersistentVolumeSpec)({inline})}}, "
        f"NodeName:{json.dumps(spec.get('nodeName') or '')}}}"
    )


def driver_name(name: str, path: str) -> Errors:
    errors: Errors = [] if name else [required(path)]
    if len(name) > MAX_DRIVER_NAME:
        errors.append(too_long(path, MAX_DRIVER_NAME))
    return errors + texts(path, name, is_dns1123_subdomain(name.lower()))


# ---- CSINode ------------------------------------------------------------------------------------------------------


def check_csi_node(obj: Object) -> Errors:
    errors: Errors = []
    names: set[str] = set()
    for i, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
        path, name = f"spec.drivers[{i}]", driver.get("name") or ""
        errors += driver_name(name, f"{path}.name") + _node_id(driver.get("nodeID") or "", f"{path}.nodeID")
        errors += not_negative(driver.get("allocatable") or {}, "count", f"{path}.allocatable")
        if name in names:
            errors.append(duplicate(f"{path}.name", name))
        names.add(name)
        errors += _topology_keys(driver.get("topologyKeys") or (), path)
    return errors


def _node_id(value: str, path: str) -> Errors:
    if not value:
        return [required(path)]
    if len(value) > MAX_NODE_ID:
        return [invalid_value(path, value, f"must be {MAX_NODE_ID} characters or less")]
    return []


def _topology_keys(keys: Any, path: str) -> Errors:
    errors: Errors = []
    for i, key in enumerate(keys):
        if not key:
            errors.append(required(path))
        if key in keys[:i]:
            errors.append(duplicate(path, key))
        errors += texts(path, list(keys), is_qualified_name(key))
    return errors


def check_csi_node_update(obj: Object, old: Object) -> Errors:
    """What is said of a driver stays; drivers come and go."""
    errors = check_csi_node(obj)
    before = {d.get("name"): d for d in (old.get("spec") or {}).get("drivers") or ()}
    for driver in (obj.get("spec") or {}).get("drivers") or ():
        was = before.get(driver.get("name"))
        if was is not None and was != driver:
            errors.append(invalid_value("CSINodeDriver", _go_driver(driver), IMMUTABLE))
    return errors


def _go_driver(driver: Spec) -> GoSyntax:
    name, node = (json.dumps(driver.get(field) or "") for field in ("name", "nodeID"))
    allocatable = "nil" if driver.get("allocatable") is None else "0xc000000000"
    keys = go_list("string", driver.get("topologyKeys"))
    return GoSyntax(
        f"storage.CSINodeDriver{{Name:{name}, NodeID:{node}, TopologyKeys:{keys}, "
        f"Allocatable:(*storage.VolumeNodeResources)({allocatable})}}"
    )


# ---- CSIDriver ----------------------------------------------------------------------------------------------------


def check_csi_driver(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors: Errors = []
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in _FS_GROUP:
        errors.append(not_supported("spec.fsGroupPolicy", policy, _FS_GROUP))
    errors += _token_requests(spec.get("tokenRequests") or ())
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in _LIFECYCLE:
            errors.append(not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLE))
    return errors


def _token_requests(requests: Any) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for i, request in enumerate(requests):
        path, audience, seconds = (
            f"spec.tokenRequests[{i}]",
            request.get("audience") or "",
            request.get("expirationSeconds"),
        )
        if audience in seen:
            errors.append(duplicate(f"{path}.audience", audience))
            continue
        seen.add(audience)
        if seconds is not None and seconds < MIN_TOKEN_SECONDS:
            detail = "may not specify a duration less than 10 minutes"
            errors.append(invalid_value(f"{path}.expirationSeconds", seconds, detail))
        if seconds is not None and seconds > 1 << 32:
            detail = "may not specify a duration larger than 2^32 seconds"
            errors.append(invalid_value(f"{path}.expirationSeconds", seconds, detail))
    return errors


def check_csi_driver_update(obj: Object, old: Object) -> Errors:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    errors = check_csi_driver(obj)
    if spec.get("attachRequired") != before.get("attachRequired"):
        errors.append(invalid_value("spec.attachedRequired", spec.get("attachRequired"), IMMUTABLE))
    modes = spec.get("volumeLifecycleModes")
    if modes != before.get("volumeLifecycleModes"):
        shown = go_list("storage.VolumeLifecycleMode", modes)
        errors.append(invalid_value("spec.volumeLifecycleModes", shown, IMMUTABLE))
    return errors


# ---- CSIStorageCapacity -------------------------------------------------------------------------------------------


def check_storage_capacity(obj: Object) -> Errors:
    name = obj.get("storageClassName") or ""
    errors = label_selector(obj.get("nodeTopology"), "nodeTopology")
    errors += texts("storageClassName", name, is_dns1123_subdomain(name))
    for field in ("capacity", "maximumVolumeSize"):
        value = obj.get(field)
        if value is not None and quantity(value).amount < 0:
            errors.append(invalid_value(field, canonical(value), "must be greater than or equal to 0"))
    return errors


def check_storage_capacity_update(obj: Object, old: Object) -> Errors:
    errors: Errors = []
    topology, name = obj.get("nodeTopology"), obj.get("storageClassName") or ""
    if topology != old.get("nodeTopology"):
        shown = None if topology is None else go_selector(topology)
        errors.append(invalid_value("nodeTopology", shown, IMMUTABLE))
    if name != (old.get("storageClassName") or ""):
        errors.append(invalid_value("storageClassName", name, IMMUTABLE))
    return errors
