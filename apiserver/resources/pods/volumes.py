"""Validation of a pod's volumes (upstream: ValidateVolumes)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from apiserver.resources.checks import Errors
from apiserver.resources.claims import check_claim_template
from apiserver.resources.pods.env import VOLUME_FIELDS, check_field_ref, check_resource_ref
from apiserver.resources.pods.names import check_local_path, check_names, label_problems, subdomain_problems
from apiserver.resources.pods.volume_sources import SHARED, Check, Place, check_csi_driver, check_one_of, git_repo, need
from common.api.status import duplicate, field_forbidden, invalid_value, required

Volume = dict[str, Any]

_MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
_MIN_TOKEN, _MAX_TOKEN = 600, 2**32


def check_volumes(errors: Errors, volumes: list[Volume], path: str, pod: str = "") -> Mapping[str, Volume]:
    """The volumes that mounts may use: those without an error. ``pod`` is the pod's name, "" in a template."""
    right: dict[str, Volume] = {}
    created = {f"{pod}-{v.get('name')}" for v in volumes if pod and v.get("ephemeral") is not None}
    for i, volume in enumerate(volumes):
        at, name = f"{path}[{i}]", volume.get("name", "")
        before = len(errors)
        check_one_of(errors, volume, _ORDER, _CHECKS, at, name)
        if pod and name and volume.get("ephemeral") is not None:
            _check_created(errors, pod, name, at)
        if not name:
            errors.append(required(f"{at}.name"))
        elif problems := label_problems(name):
            check_names(errors, f"{at}.name", name, problems)
        if name in right:
            errors.append(duplicate(f"{at}.name", name))
        if len(errors) == before:
            right[name] = volume
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if created and claim in created:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            errors.append(invalid_value(f"{at}.persistentVolumeClaim.claimName", claim, detail))
    return right


def _check_created(errors: Errors, pod: str, name: str, path: str) -> None:
    claim = f"{pod}-{name}"
    for text in subdomain_problems(claim):
        errors.append(invalid_value(f"{path}.name", name, f'PVC name "{claim}": {text}'))


def _empty_dir(errors: Errors, source: Volume, place: Place) -> None:
    if source.get("sizeLimit", "")[:1] == "-":
        errors.append(field_forbidden(f"{place.path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def _check_mode(errors: Errors, mode: int | None, path: str) -> None:
    if mode is not None and not 0 <= mode <= 0o777:
        errors.append(invalid_value(path, mode, _MODE_TEXT))


def _files(field: str, errors: Errors, source: Volume, place: Place) -> None:
    """A secret or config map."""
    need(errors, source, place.path, field)
    _check_mode(errors, source.get("defaultMode"), f"{place.path}.defaultMode")
    for i, item in enumerate(source.get("items") or ()):
        _check_item(errors, item, f"{place.path}.items[{i}]")


def _check_item(errors: Errors, item: Volume, path: str) -> None:
    need(errors, item, path, "key", "path")
    check_local_path(errors, item.get("path", ""), f"{path}.path")
    _check_mode(errors, item.get("mode"), f"{path}.mode")


def _claim(errors: Errors, source: Volume, place: Place) -> None:
    need(errors, source, place.path, "claimName")


def _downward(errors: Errors, source: Volume, place: Place) -> None:
    _check_mode(errors, source.get("defaultMode"), f"{place.path}.defaultMode")
    for item in source.get("items") or ():
        _check_downward_file(errors, item, place.path)


def _check_downward_file(errors: Errors, item: Volume, path: str) -> None:
    """The path lacks the index, upstream's too."""
    need(errors, item, path, "path")
    check_local_path(errors, item.get("path", ""), f"{path}.path")
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        check_field_ref(errors, field, f"{path}.fieldRef", VOLUME_FIELDS)
        if resource is not None:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(invalid_value(path, "resource", detail))
    elif resource is not None:
        check_resource_ref(errors, resource, f"{path}.resourceFieldRef", in_volume=True)
    else:
        errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    _check_mode(errors, item.get("mode"), f"{path}.mode")


def _projected(errors: Errors, source: Volume, place: Place) -> None:
    path = place.path
    _check_mode(errors, source.get("defaultMode"), f"{path}.defaultMode")
    paths: set[str] = set()
    for i, part in enumerate(source.get("sources") or ()):
        at = f"{path}.sources[{i}]"
        given = 0
        for kind in ("secret", "configMap"):
            if (files := part.get(kind)) is not None:
                given += 1
                need(errors, files, f"{at}.{kind}", "name")
                for j, item in enumerate(files.get("items") or ()):
                    _check_item(errors, item, f"{at}.{kind}.items[{j}]")
                    _check_path_once(errors, item.get("path", ""), files.get("name", ""), paths, path)
        if (downward := part.get("downwardAPI")) is not None:
            given += 1
            for item in downward.get("items") or ():
                _check_downward_file(errors, item, f"{at}.downwardAPI")
                _check_path_once(errors, item.get("path", ""), item.get("path", ""), paths, path)
        if (token := part.get("serviceAccountToken")) is not None:
            given += 1
            _check_token(errors, token, path, f"{at}.serviceAccountToken")
        if given > 1:
            errors.append(field_forbidden(at, "may not specify more than 1 volume type per source"))


def _check_path_once(errors: Errors, target: str, shown: str, paths: set[str], path: str) -> None:
    if target and target in paths:
        errors.append(invalid_value(path, shown, "conflicting duplicate paths"))
    paths.add(target)


def _check_token(errors: Errors, token: Volume, volume: str, path: str) -> None:
    seconds, target = token.get("expirationSeconds", 0), token.get("path", "")
    if seconds < _MIN_TOKEN:
        detail = "may not specify a duration less than 10 minutes"
        errors.append(invalid_value(f"{path}.expirationSeconds", seconds, detail))
    if seconds > _MAX_TOKEN:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.append(invalid_value(f"{path}.expirationSeconds", seconds, detail))
    if not target:
        errors.append(required(f"{volume}.path"))
    else:
        check_local_path(errors, target, f"{volume}.path")


def _csi(errors: Errors, source: Volume, place: Place) -> None:
    check_csi_driver(errors, source.get("driver", ""), f"{place.path}.driver")
    if (ref := source.get("nodePublishSecretRef")) is not None:
        name = ref.get("name", "")
        if not name:
            errors.append(required(f"{place.path}.nodePublishSecretRef.name"))
        else:
            check_names(errors, f"{place.path}.name", name, subdomain_problems(name))


def _ephemeral(errors: Errors, source: Volume, place: Place) -> None:
    template = source.get("volumeClaimTemplate")
    if template is None:
        errors.append(required(f"{place.path}.volumeClaimTemplate"))
    else:
        errors += check_claim_template(template, f"{place.path}.volumeClaimTemplate")


_CHECKS: Mapping[str, Check] = {
    **SHARED,
    "emptyDir": _empty_dir,
    "gitRepo": git_repo,
    "secret": partial(_files, "secretName"),
    "configMap": partial(_files, "name"),
    "persistentVolumeClaim": _claim,
    "downwardAPI": _downward,
    "projected": _projected,
    "csi": _csi,
    "ephemeral": _ephemeral,
}
_ORDER = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi",
    "glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc",
    "flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk",
    "storageos", "projected", "scaleIO", "csi", "ephemeral",
)  # fmt: skip
