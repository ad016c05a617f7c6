"""Where volumes appear in containers (upstream: ValidateVolumeMounts, ValidateVolumeDevices)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apiserver.resources.checks import Errors
from apiserver.resources.pods.names import check_descending
from common.api.status import field_forbidden, field_not_found, invalid_value, not_supported, required

Spec = dict[str, Any]
Volumes = Mapping[str, Spec]
"""The pod's volumes that are right, by name."""

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")


def check_mounts(errors: Errors, container: Spec, volumes: Volumes, path: str) -> None:
    mounts, devices = container.get("volumeMounts"), container.get("volumeDevices")
    if mounts:
        _check_mounts(errors, mounts, devices or [], volumes, container, f"{path}.volumeMounts")
    if devices:
        _check_devices(errors, devices, mounts or [], volumes, f"{path}.volumeDevices")


def _check_mounts(
    errors: Errors, mounts: list[Spec], devices: list[Spec], volumes: Volumes, container: Spec, path: str
) -> None:
    taken: set[str] = set()
    device_names, device_paths = _names_and_paths(devices, "devicePath") if devices else (set(), set())
    for i, mount in enumerate(mounts):
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(f"{path}[{i}].name"))
        if name not in volumes:
            errors.append(field_not_found(f"{path}[{i}].name", name))
        if not target:
            errors.append(required(f"{path}[{i}].mountPath"))
        if target in taken:
            errors.append(invalid_value(f"{path}[{i}].mountPath", target, "must be unique"))
        taken.add(target)
        if name in device_names:
            errors.append(invalid_value(f"{path}[{i}].name", name, "must not already exist in volumeDevices"))
        if target in device_paths:
            detail = "must not already exist as a path in volumeDevices"
            errors.append(invalid_value(f"{path}[{i}].mountPath", target, detail))
        if len(mount) > 2:
            _check_options(errors, mount, container, path, i)


def _check_options(errors: Errors, mount: Spec, container: Spec, path: str, i: int) -> None:
    """The rarer fields. Most paths lack the index, upstream's too."""
    sub_path, expression = mount.get("subPath"), mount.get("subPathExpr")
    if sub_path:
        check_descending(errors, sub_path, f"{path}.subPath")
    if expression:
        if sub_path:
            detail = "subPathExpr and subPath are mutually exclusive"
            errors.append(invalid_value(f"{path}[{i}].subPathExpr", expression, detail))
        check_descending(errors, expression, f"{path}.subPathExpr")
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        if propagation not in _PROPAGATIONS:
            errors.append(not_supported(f"{path}.mountPropagation", propagation, _PROPAGATIONS))
        privileged = (container.get("securityContext") or {}).get("privileged")
        if propagation == "Bidirectional" and not privileged:
            detail = "Bidirectional mount propagation is available only to privileged containers"
            errors.append(field_forbidden(f"{path}.mountPropagation", detail))
    recursive = mount.get("recursiveReadOnly")
    if recursive is not None:
        _check_recursive(errors, mount, recursive, f"{path}.recursiveReadOnly")


def _check_recursive(errors: Errors, mount: Spec, value: str, path: str) -> None:
    if value not in _RECURSIVE:
        errors.append(not_supported(path, value, _RECURSIVE))
    elif value != "Disabled":
        if not mount.get("readOnly"):
            errors.append(field_forbidden(path, "may only be specified when readOnly is true"))
        if mount.get("mountPropagation", "None") != "None":
            detail = "may only be specified when mountPropagation is None or not specified"
            errors.append(field_forbidden(path, detail))


def _check_devices(errors: Errors, devices: list[Spec], mounts: list[Spec], volumes: Volumes, path: str) -> None:
    names: set[str] = set()
    paths: set[str] = set()
    mount_names, mount_paths = _names_and_paths(mounts, "mountPath")
    for i, device in enumerate(devices):
        name, target = device.get("name", ""), device.get("devicePath", "")
        volume = volumes.get(name)
        if not name:
            errors.append(required(f"{path}[{i}].name"))
        if name in names:
            errors.append(invalid_value(f"{path}[{i}].name", name, "must be unique"))
        if volume is None:
            errors.append(field_not_found(f"{path}[{i}].name", name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(invalid_value(f"{path}[{i}].name", name, detail))
        if not target:
            errors.append(required(f"{path}[{i}].devicePath"))
        if target in paths:
            errors.append(invalid_value(f"{path}[{i}].devicePath", target, "must be unique"))
        if ".." in target.split("/"):
            errors.append(invalid_value(f"{path}[{i}].devicePath", target, "can not contain backsteps ('..')"))
        else:
            paths.add(target)
        if name in mount_names:
            errors.append(invalid_value(f"{path}[{i}].name", name, "must not already exist in volumeMounts"))
        if target in mount_paths:
            detail = "must not already exist as a path in volumeMounts"
            errors.append(invalid_value(f"{path}[{i}].devicePath", target, detail))
        if name:
            names.add(name)


def _names_and_paths(entries: list[Spec], field: str) -> tuple[set[str], set[str]]:
    last = {entry.get("name", ""): entry.get(field, "") for entry in entries}
    return set(last), set(last.values())
