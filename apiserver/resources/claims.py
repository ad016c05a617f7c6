"""PersistentVolumeClaims: validation and preparation (upstream: ValidatePersistentVolumeClaimSpec and its strategy)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import (
    IMMUTABLE,
    Errors,
    annotation_keys,
    label_selector,
    labels,
    quantity,
    texts,
)
from apiserver.resources.godiff import go_diff
from apiserver.types import Object
from common.api.names import is_dns1123_label, is_dns1123_subdomain, is_qualified_name
from common.api.status import GoSyntax, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_SPEC_TEXT = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
_ATTRIBUTES_TEXT = "update is forbidden when the VolumeAttributesClass feature gate is disabled"
_RESIZE = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
    "NodeResizePending",
)  # fmt: skip
_SNAPSHOTS = "snapshot.storage.k8s.io"
_TEMPLATE_FIELDS = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields",
)  # fmt: skip


def default_claim(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


def prepare_claim_spec(spec: Spec, old: Spec | None = None) -> None:
    """What v1.32 drops with its default gates, and the two fields that are one: dataSource and dataSourceRef."""
    old = old or {}
    if old.get("volumeAttributesClassName") is None:
        spec.pop("volumeAttributesClassName", None)
    ref = spec.get("dataSourceRef")
    if ref is not None and ref.get("namespace") and old.get("dataSourceRef") is None:
        del spec["dataSourceRef"]
    in_use = old.get("dataSource") is not None or old.get("dataSourceRef") is not None
    if not in_use and spec.get("dataSourceRef") is None and not _is_old_source(spec.get("dataSource")):
        spec.pop("dataSource", None)


def unite_sources(spec: Spec) -> None:
    """Of a new claim (KEP-1495)."""
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and ref is None:
        spec["dataSourceRef"] = dict(source)
    elif ref is not None and source is None and not ref.get("namespace"):
        spec["dataSource"] = {k: v for k, v in ref.items() if k != "namespace"}


def _is_old_source(source: Spec | None) -> bool:
    kind, group = (source or {}).get("kind"), (source or {}).get("apiGroup") or ""
    return (kind, group) in (("PersistentVolumeClaim", ""), ("VolumeSnapshot", _SNAPSHOTS))


def prepare_claim(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    prepare_claim_spec(spec)
    unite_sources(spec)


def keep_claim(obj: Object, old: Object, subresource: str) -> None:
    if subresource == "":
        spec, before = obj.setdefault("spec", {}), old.get("spec") or {}
        prepare_claim_spec(spec, before)
    elif subresource == "status":
        status, had = obj.get("status") or {}, old.get("status") or {}
        for field in ("currentVolumeAttributesClassName", "modifyVolumeStatus"):
            if had.get(field) is None:
                status.pop(field, None)


def check_claim(obj: Object) -> Errors:
    return check_claim_spec(obj.get("spec") or {}, "spec")


def check_claim_template(template: Object, path: str) -> Errors:
    """Of a generic ephemeral volume: metadata may say labels and annotations."""
    metadata = template.get("metadata") or {}
    errors = annotation_keys(metadata.get("annotations"), f"{path}.metadata.annotations")
    errors += labels(metadata.get("labels"), f"{path}.metadata.labels")
    for field in _TEMPLATE_FIELDS:
        if metadata.get(field):
            errors.append(field_forbidden(f"{path}.metadata.{field}", "cannot be set"))
    return errors + check_claim_spec(template.get("spec") or {}, f"{path}.spec")


def access_modes(spec: Spec, path: str, detail: str = "") -> Errors:
    modes = spec.get("accessModes") or ()
    errors: Errors = [] if modes else [required(f"{path}.accessModes", detail)]
    return errors


def mode_errors(spec: Spec, path: str) -> Errors:
    modes = spec.get("accessModes") or ()
    errors = [not_supported(f"{path}.accessModes", mode, MODES) for mode in modes if mode not in MODES]
    known = {mode for mode in modes if mode in MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        errors.append(field_forbidden(f"{path}.accessModes", "may not use ReadWriteOncePod with other access modes"))
    return errors


def check_claim_spec(spec: Spec, path: str) -> Errors:
    errors = access_modes(spec, path, "at least 1 access mode is required")
    errors += label_selector(spec.get("selector"), f"{path}.selector") + mode_errors(spec, path)
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        errors.append(required(f"{path}.resources[storage]"))
    elif quantity(storage).amount <= 0:
        errors.append(invalid_value(f"{path}.resources[storage]", storage, "must be greater than zero"))
    if name := spec.get("storageClassName"):
        errors += texts(f"{path}.storageClassName", name, is_dns1123_subdomain(name))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        errors.append(not_supported(f"{path}.volumeMode", mode, VOLUME_MODES))
    return errors + _sources(spec, path)


def _sources(spec: Spec, path: str) -> Errors:
    errors: Errors = []
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    for field, value in (("dataSource", source), ("dataSourceRef", ref)):
        if value is not None:
            errors += _source(value, f"{path}.{field}")
    if source is None or ref is None:
        return errors
    shown = GoSyntax(f"{path}.dataSource")
    if ref.get("namespace"):
        errors.append(invalid_value(path, shown, "may not be specified when dataSourceRef.namespace is specified"))
    elif any(source.get(f) != ref.get(f) for f in ("apiGroup", "kind", "name")):
        errors.append(invalid_value(path, shown, "must match dataSourceRef"))
    return errors


def _source(source: Spec, path: str) -> Errors:
    errors = [required(f"{path}.{field}") for field in ("name", "kind") if not source.get(field)]
    group, kind = source.get("apiGroup") or "", source.get("kind", "")
    if not group and kind != "PersistentVolumeClaim":
        detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(invalid_value(path, kind, detail))
    if group:
        errors += texts(f"{path}.apiGroup", group, is_dns1123_subdomain(group))
    if namespace := source.get("namespace"):
        errors += texts(f"{path}.namespace", namespace, is_dns1123_label(namespace))
    return errors


def _requested(spec: Spec) -> str:
    storage: str = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
    return storage


def check_claim_update(obj: Object, old: Object) -> Errors:
    errors = check_claim(obj)
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    errors += _class_annotation(obj, old)
    munged, was = _comparable(obj, old)
    if munged != was:
        shown = go_diff("core.v1.PersistentVolumeClaimSpec", was, munged)
        errors.append(field_forbidden("spec", f"{_SPEC_TEXT}\n{shown}"))
    asked, had = quantity(_requested(spec)), quantity(_requested(before))
    capacity = quantity(((old.get("status") or {}).get("capacity") or {}).get("storage", "0"))
    if asked < had and asked <= capacity:
        detail = "field can not be less than status.capacity"
        errors.append(field_forbidden("spec.resources.requests.storage", detail))
    if spec.get("volumeMode") != before.get("volumeMode"):
        errors.append(invalid_value("volumeMode", spec.get("volumeMode"), IMMUTABLE))
    if spec.get("volumeAttributesClassName") != before.get("volumeAttributesClassName"):
        errors.append(field_forbidden("spec.volumeAttributesClassName", _ATTRIBUTES_TEXT))
    return errors


def _annotation(obj: Object) -> str | None:
    return ((obj.get("metadata") or {}).get("annotations") or {}).get(BETA_CLASS)


def _is_upgrade(obj: Object, old: Object) -> bool:
    """The class moves from the beta annotation to the field."""
    was, name = _annotation(old), (obj.get("spec") or {}).get("storageClassName")
    unset = (old.get("spec") or {}).get("storageClassName") is None
    return was is not None and unset and name == was and _annotation(obj) in (None, was)


def _class_annotation(obj: Object, old: Object) -> Errors:
    new, was = _annotation(obj) or "", _annotation(old) or ""
    if new == was or _is_upgrade(obj, old):
        return []
    return [invalid_value(f"metadata.annotations.{BETA_CLASS}", new, IMMUTABLE)]


def _comparable(obj: Object, old: Object) -> tuple[Spec, Spec]:
    """The two specs with what may change made equal."""
    spec, before = dict(obj.get("spec") or {}), dict(old.get("spec") or {})
    if not before.get("volumeName") and "volumeName" in spec:
        before["volumeName"] = spec["volumeName"]
    beta = _annotation(old)
    unset = before.get("storageClassName") is None and beta in (None, spec.get("storageClassName"))
    if unset or _is_upgrade(obj, old):
        spec.pop("storageClassName", None)
    bound = (obj.get("status") or {}).get("phase") == "Bound"
    resources = spec.get("resources")
    if bound and resources and resources.get("requests"):
        requests = {**resources["requests"], "storage": _requested(before)}
        spec["resources"] = {**resources, "requests": requests}
    if bound and spec.get("volumeAttributesClassName") is not None:
        spec["volumeAttributesClassName"] = before.get("volumeAttributesClassName")
    return spec, before


def check_claim_status(obj: Object, old: Object) -> Errors:
    status = obj.get("status") or {}
    errors: Errors = []
    if not (obj.get("spec") or {}).get("accessModes"):
        errors.append(required("Spec.accessModes"))
    for name, amount in (status.get("capacity") or {}).items():
        errors += basic_amount(amount, f"status.capacity[{name}]")
    path = "status.allocatedResourceStatus"
    for name, state in (status.get("allocatedResourceStatuses") or {}).items():
        errors += _resource_key(name, path)
        if state not in _RESIZE:
            errors.append(not_supported(path, name, _RESIZE))
    for name, amount in (status.get("allocatedResources") or {}).items():
        if bad := _resource_key(name, "status.allocatedResources"):
            errors += bad
        else:
            errors += basic_amount(amount, f"status.allocatedResources[{name}]")
    return errors


def _resource_key(name: str, path: str) -> Errors:
    if problems := is_qualified_name(name):
        return texts(path, name, problems)
    native = "/" not in name or "kubernetes.io/" in name
    return [not_supported(path, name, ("storage",))] if native and name != "storage" else []


def basic_amount(amount: str, path: str) -> Errors:
    value = quantity(amount).value()
    return [invalid_value(path, value, "must be a valid resource quantity")] if value < 0 else []


def claim_warnings(obj: Object) -> list[str]:
    found = []
    if _annotation(obj) is not None:
        text = 'deprecated since v1.8; use "storageClassName" attribute instead'
        found.append(f"metadata.annotations[{BETA_CLASS}]: {text}")
    return found + claim_spec_warnings(obj.get("spec") or {}, "spec")


def claim_spec_warnings(spec: Spec, path: str) -> list[str]:
    found = []
    for kind in ("requests", "limits"):
        amount = ((spec.get("resources") or {}).get(kind) or {}).get("storage")
        if amount is not None and not quantity(amount).is_whole():
            text = f'fractional byte value "{amount}" is invalid, must be an integer'
            found.append(f"{path}.resources.{kind}[storage]: {text}")
    return found
