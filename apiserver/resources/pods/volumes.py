"""Validation of a pod's volumes (upstream: ValidateVolumes)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, filled, one_of, quantity, texts
from apiserver.resources.pods.containers import check_field_ref
from apiserver.resources.pods.names import label_problems, path_problems
from common.api.status import duplicate, field_forbidden, invalid_value, required

Volume = dict[str, Any]

HOST_PATH_TYPES = (
    "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
_DOWNWARD = frozenset(
    {"metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid"}
)


def check_volumes(volumes: list[Volume], path: str) -> tuple[Errors, frozenset[str]]:
    """The errors, and the names that mounts may use."""
    errors: Errors = []
    names: set[str] = set()
    for i, volume in enumerate(volumes):
        at = f"{path}[{i}]"
        name = volume.get("name", "")
        problems = _source(volume, at)
        if not name:
            problems.append(required(f"{at}.name"))
        else:
            problems += texts(f"{at}.name", name, label_problems(name))
        if name in names:
            problems.append(duplicate(f"{at}.name", name))
        names.add(name)
        errors += problems
    return errors, frozenset(names)


def _source(volume: Volume, path: str) -> Errors:
    kinds = [k for k in volume if k != "name"]
    if not kinds:
        return [required(path, "must specify a volume type")]
    errors = [field_forbidden(f"{path}.{k}", "may not specify more than 1 volume type") for k in kinds[1:]]
    kind = kinds[0]
    source, at = volume[kind], f"{path}.{kind}"
    match kind:
        case "hostPath":
            errors += filled(source, at, "path")
            if ".." in str(source.get("path", "")).split("/"):
                errors.append(invalid_value(f"{at}.path", source["path"], "must not contain '..'"))
            errors += one_of(source, "type", at, HOST_PATH_TYPES)
        case "emptyDir":
            limit = source.get("sizeLimit")
            if limit is not None and quantity(limit).amount < 0:
                errors.append(field_forbidden(f"{at}.sizeLimit", "SizeLimit field must be a valid resource quantity"))
        case "secret":
            errors += filled(source, at, "secretName") + _files(source, at)
        case "configMap":
            errors += filled(source, at, "name") + _files(source, at)
        case "persistentVolumeClaim":
            errors += filled(source, at, "claimName")
        case "nfs":
            errors += filled(source, at, "server", "path")
            if source.get("path") and not source["path"].startswith("/"):
                errors.append(invalid_value(f"{at}.path", source["path"], "must be an absolute path"))
        case "downwardAPI":
            errors += _mode(source.get("defaultMode"), f"{at}.defaultMode") + _downward(source, at)
        case "projected":
            errors += _projected(source, at)
    return errors


def _mode(mode: int | None, path: str) -> Errors:
    return [invalid_value(path, mode, _MODE_TEXT)] if mode is not None and not 0 <= mode <= 0o777 else []


def _files(source: Volume, path: str) -> Errors:
    errors = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for i, item in enumerate(source.get("items") or ()):
        at = f"{path}.items[{i}]"
        errors += filled(item, at, "key", "path") + _mode(item.get("mode"), f"{at}.mode")
        if item.get("path"):
            errors += path_problems(item["path"], f"{at}.path")
    return errors


def _downward(source: Volume, path: str) -> Errors:
    errors: Errors = []
    for i, item in enumerate(source.get("items") or ()):
        at = f"{path}.items[{i}]"
        errors += filled(item, at, "path") + _mode(item.get("mode"), f"{at}.mode")
        if item.get("path"):
            errors += path_problems(item["path"], f"{at}.path")
        if (ref := item.get("fieldRef")) is not None:
            errors += check_field_ref(ref, f"{at}.fieldRef", _DOWNWARD)
        elif item.get("resourceFieldRef") is None:
            errors.append(required(f"{at}", "one of fieldRef and resourceFieldRef is required"))
    return errors


def _projected(source: Volume, path: str) -> Errors:
    errors = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for i, part in enumerate(source.get("sources") or ()):
        at = f"{path}.sources[{i}]"
        kinds = list(part)
        errors += [field_forbidden(f"{at}.{k}", "may not specify more than 1 volume type") for k in kinds[1:]]
        for kind in kinds[:1]:
            if kind in ("secret", "configMap"):
                errors += filled(part[kind], f"{at}.{kind}", "name") + _files(part[kind], f"{at}.{kind}")
            elif kind == "downwardAPI":
                errors += _downward(part[kind], f"{at}.{kind}")
            elif kind == "serviceAccountToken":
                errors += _token(part[kind], f"{at}.{kind}")
    return errors


def _token(token: Volume, path: str) -> Errors:
    errors = filled(token, path, "path")
    seconds = token.get("expirationSeconds", 3600)
    if seconds < 600:
        errors.append(
            invalid_value(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        )
    elif seconds > 2**32:
        errors.append(
            invalid_value(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        )
    return errors
