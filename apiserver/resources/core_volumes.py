"""PersistentVolumes: defaults, preparation and validation (upstream: ValidatePersistentVolumeSpec and its strategy)."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from apiserver.resources.checks import IMMUTABLE, Errors, quantity, texts
from apiserver.resources.claims import BETA_CLASS, VOLUME_MODES, access_modes, basic_amount, mode_errors
from apiserver.resources.godiff import go_diff
from apiserver.resources.node_labels import node_term_warnings
from apiserver.resources.pods.defaults import default_source
from apiserver.resources.pods.placement import check_node_selector
from apiserver.resources.pods.volume_sources import SHARED, Check, Place, check_csi_driver, check_one_of, local
from apiserver.types import Object
from common.api.names import is_dns1123_label, is_dns1123_subdomain
from common.api.quantity import go_quantity
from common.api.status import GoSyntax, field_forbidden, invalid_value, not_supported, required
from common.api.time import now, to_rfc3339

Spec = dict[str, Any]

RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
_SECRETS = ("controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef")
_ATTRIBUTES_TEXT = "update is forbidden when the VolumeAttributesClass feature gate is disabled"
_GA_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


def default_volume(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    spec.setdefault("volumeMode", "Filesystem")
    default_source(spec)
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


def prepare_volume(obj: Object) -> None:
    obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": to_rfc3339(now())}
    obj.setdefault("spec", {}).pop("volumeAttributesClassName", None)


def keep_volume(obj: Object, old: Object, subresource: str) -> None:
    if subresource == "":
        if (old.get("spec") or {}).get("volumeAttributesClassName") is None:
            (obj.get("spec") or {}).pop("volumeAttributesClassName", None)
        return
    status, before = obj.setdefault("status", {}), old.get("status") or {}
    time = "lastPhaseTransitionTime"
    if status.get("phase") == before.get("phase"):
        if before.get(time) and not status.get(time):
            status[time] = before[time]
    elif not status.get(time) or status[time] == before.get(time):
        status[time] = to_rfc3339(now())


def _csi(errors: Errors, source: Spec, place: Place) -> None:
    check_csi_driver(errors, source.get("driver", ""), f"{place.path}.driver")
    if not source.get("volumeHandle"):
        errors.append(required(f"{place.path}.volumeHandle"))
    for field in _SECRETS:
        ref = source.get(field)
        if ref is None:
            continue
        for part, check in (("name", is_dns1123_subdomain), ("namespace", is_dns1123_label)):
            value, at = ref.get(part), f"{place.path}.{field}.{part}"
            errors += texts(at, value, check(value)) if value else [required(at)]


_CHECKS: Mapping[str, Check] = {**SHARED, "local": local, "csi": _csi}
_ORDER = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs",
    "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume",
    "azureDisk", "scaleIO", "local", "storageos", "csi",
)  # fmt: skip


def check_volume(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = access_modes(spec, "spec") + mode_errors(spec, "spec") + _capacity(spec.get("capacity") or {})
    policy = spec.get("persistentVolumeReclaimPolicy", "")
    if policy and policy not in RECLAIM_POLICIES:
        errors.append(not_supported("spec.persistentVolumeReclaimPolicy", policy, RECLAIM_POLICIES))
    if (affinity := spec.get("nodeAffinity")) is not None:
        if affinity.get("required") is None:
            errors.append(required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            check_node_selector(errors, affinity["required"], "spec.nodeAffinity.required")
    name = (obj.get("metadata") or {}).get("name", "")
    check_one_of(errors, spec, _ORDER, _CHECKS, "spec", name, persistent=True)
    if spec.get("local") is not None and spec.get("nodeAffinity") is None and _first(spec) == "local":
        errors.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    path = (spec.get("hostPath") or {}).get("path", "")
    if spec.get("hostPath") is not None and posixpath.normpath(path) in ("/", "//") and policy == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(field_forbidden("spec.persistentVolumeReclaimPolicy", detail))
    if storage_class := spec.get("storageClassName"):
        errors += texts("spec.storageClassName", storage_class, is_dns1123_subdomain(storage_class))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        errors.append(not_supported("spec.volumeMode", mode, VOLUME_MODES))
    return errors


def _first(spec: Spec) -> str:
    return next((kind for kind in _ORDER if spec.get(kind) is not None), "")


def _capacity(capacity: dict[str, str]) -> Errors:
    errors: Errors = [] if capacity else [required("spec.capacity")]
    if "storage" not in capacity or len(capacity) > 1:
        amounts = ", ".join(f'"{name}":{go_quantity(capacity[name])}' for name in sorted(capacity))
        shown = GoSyntax(f"core.ResourceList{{{amounts}}}" if capacity else "core.ResourceList(nil)")
        errors.append(not_supported("spec.capacity", shown, ("storage",)))
    for name, amount in capacity.items():
        path = f"spec.capacity[{name}]"
        errors += basic_amount(amount, path)
        if quantity(amount).amount <= 0:
            errors.append(invalid_value(path, amount, "must be greater than zero"))
    return errors


def _source(spec: Spec) -> Spec:
    return {kind: spec[kind] for kind in _ORDER if spec.get(kind) is not None}


def check_volume_update(obj: Object, old: Object) -> Errors:
    errors = check_volume(obj)
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    source, had = _source(spec), _source(before)
    added = "controllerExpandSecretRef"
    if added in source.get("csi", {}) and "csi" in had and added not in had["csi"]:
        source["csi"] = {k: v for k, v in source["csi"].items() if k != added}
    if source != had:
        shown = go_diff("core.v1.PersistentVolumeSpec", had, source).replace(
            "PersistentVolumeSpec", "PersistentVolumeSource", 1
        )
        detail = f"spec.persistentvolumesource is immutable after creation\n{shown}"
        errors.append(field_forbidden("spec.persistentvolumesource", detail))
    if spec.get("volumeMode") != before.get("volumeMode"):
        errors.append(invalid_value("volumeMode", spec.get("volumeMode"), IMMUTABLE))
    affinity = before.get("nodeAffinity")
    if affinity is not None and not _same_affinity(spec.get("nodeAffinity"), affinity):
        detail = f"{IMMUTABLE}, except for updating from beta label to GA"
        errors.append(invalid_value("nodeAffinity", spec.get("nodeAffinity"), detail))
    if spec.get("volumeAttributesClassName") != before.get("volumeAttributesClassName"):
        errors.append(field_forbidden("spec.volumeAttributesClassName", _ATTRIBUTES_TEXT))
    return errors


def _same_affinity(new: Any, old: Any) -> bool:
    """Equal, but a label of old may have its new name."""
    if isinstance(new, dict) and isinstance(old, dict):
        if (
            "operator" in old
            and old.get("key") != new.get("key")
            and _GA_LABELS.get(old.get("key", "")) == new.get("key")
        ):
            old = {**old, "key": new["key"]}
        return new.keys() == old.keys() and all(_same_affinity(new[k], old[k]) for k in new)
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(map(_same_affinity, new, old))
    return bool(new == old)


def volume_warnings(obj: Object) -> list[str]:
    metadata, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    found = []
    if BETA_CLASS in annotations:
        text = 'deprecated since v1.8; use "storageClassName" attribute instead'
        found.append(f"metadata.annotations[{BETA_CLASS}]: {text}")
    mount = "volume.beta.kubernetes.io/mount-options"
    if mount in annotations:
        found.append(f'metadata.annotations[{mount}]: deprecated since v1.31; use "mountOptions" attribute instead')
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        text = (
            "The Recycle reclaim policy is deprecated. "
            "Instead, the recommended approach is to use dynamic provisioning."
        )
        found.append(f"spec.persistentVolumeReclaimPolicy: {text}")
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    for i, term in enumerate(terms):
        found += node_term_warnings(term, f"spec.nodeAffinity.required.nodeSelectorTerms[{i}]")
    for kind, text in _DEPRECATED.items():
        if spec.get(kind) is not None:
            found.append(f"spec.{text}")
    amount = (spec.get("capacity") or {}).get("storage")
    if amount is not None and not quantity(amount).is_whole():
        found.append(f'spec.capacity[storage]: fractional byte value "{amount}" is invalid, must be an integer')
    return found


_DEPRECATED = {
    "cephfs": "cephfs: deprecated in v1.28, non-functional in v1.31+",
    "photonPersistentDisk": "photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
    "scaleIO": "scaleIO: deprecated in v1.16, non-functional in v1.22+",
    "storageos": "storageOS: deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "glusterfs: deprecated in v1.25, non-functional in v1.26+",
    "rbd": "rbd: deprecated in v1.28, non-functional in v1.31+",
}
