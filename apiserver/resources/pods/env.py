"""Environment variables and the fields they may show (upstream: ValidateEnv, ValidateEnvFrom)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors
from apiserver.resources.pods.names import (
    check_names,
    env_name_problems,
    prefix_problems,
    qualified_problems,
    subdomain_problems,
)
from common.api.names import is_config_map_key
from common.api.quantity import parse_quantity
from common.api.status import invalid_value, not_supported, required

Spec = dict[str, Any]

_ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_KNOWN_FIELDS = frozenset(_ENV_FIELDS) | {
    "metadata.annotations", "metadata.labels", "spec.host", "spec.restartPolicy", "spec.schedulerName", "status.phase",
}  # fmt: skip
_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
_HUGE = ("limits.hugepages-", "requests.hugepages-")
_UNITS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_UNITS_TEXT = "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the"


def check_env(errors: Errors, variables: list[Spec], path: str) -> None:
    for i, variable in enumerate(variables):
        name = variable.get("name")
        if not name:
            errors.append(required(f"{path}[{i}].name"))
        elif problems := env_name_problems(name):
            check_names(errors, f"{path}[{i}].name", name, problems)
        source = variable.get("valueFrom")
        if source is not None:
            _check_source(errors, source, variable.get("value"), f"{path}[{i}].valueFrom")


def _check_source(errors: Errors, source: Spec, value: str | None, path: str) -> None:
    given = 0
    if (ref := source.get("fieldRef")) is not None:
        given += 1
        check_field_ref(errors, ref, f"{path}.fieldRef", _ENV_FIELDS)
    if (ref := source.get("resourceFieldRef")) is not None:
        given += 1
        check_resource_ref(errors, ref, f"{path}.resourceFieldRef", in_volume=False)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if (ref := source.get(kind)) is not None:
            given += 1
            _check_key_ref(errors, ref, f"{path}.{kind}")
    if not given:
        detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        errors.append(invalid_value(path, "", detail))
    elif value:
        errors.append(invalid_value(path, "", "may not be specified when `value` is not empty"))
    elif given > 1:
        errors.append(invalid_value(path, "", "may not have more than one field specified at a time"))


def _check_key_ref(errors: Errors, ref: Spec, path: str) -> None:
    name, key = ref.get("name", ""), ref.get("key")
    check_names(errors, f"{path}.name", name, subdomain_problems(name))
    if not key:
        errors.append(required(f"{path}.key"))
    else:
        check_names(errors, f"{path}.key", key, tuple(is_config_map_key(key)))


def split_subscript(path: str) -> tuple[str, str] | None:
    """``metadata.labels['a']`` -> its two parts; None for a path without a subscript."""
    base, bracket, rest = path.partition("['")
    return (base, rest[:-2]) if bracket and base and rest.endswith("']") else None


def check_field_ref(errors: Errors, ref: Spec, path: str, allowed: tuple[str, ...]) -> None:
    version, field = ref.get("apiVersion", ""), ref.get("fieldPath", "")
    if not version:
        errors.append(required(f"{path}.apiVersion"))
        return
    if not field:
        errors.append(required(f"{path}.fieldPath"))
        return
    parts = split_subscript(field)
    problem = _field_problem(version, field, parts)
    if problem:
        errors.append(invalid_value(f"{path}.fieldPath", field, f"error converting fieldPath: {problem}"))
    elif parts is not None:
        base, key = parts
        key = key.lower() if base == "metadata.annotations" else key
        check_names(errors, path, key, qualified_problems(key))
    else:
        field = "spec.nodeName" if field == "spec.host" else field
        if field not in allowed:
            errors.append(not_supported(f"{path}.fieldPath", field, allowed))


def _field_problem(version: str, field: str, parts: tuple[str, str] | None) -> str:
    """Upstream: ConvertDownwardAPIFieldLabel."""
    if version != "v1":
        return f"unsupported pod version: {version}"
    if parts is not None:
        known = parts[0] in ("metadata.annotations", "metadata.labels")
        return "" if known else f"field label does not support subscript: {field}"
    return "" if field in _KNOWN_FIELDS else f"field label not supported: {field}"


def check_resource_ref(errors: Errors, ref: Spec, path: str, *, in_volume: bool) -> None:
    resource = ref.get("resource", "")
    if in_volume and not ref.get("containerName"):
        errors.append(required(f"{path}.containerName"))
    elif not resource:
        errors.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE):
        errors.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    divisor = ref.get("divisor", "0")
    if parse_quantity(divisor).amount:
        _check_divisor(errors, resource, divisor, f"{path}.divisor")


def _check_divisor(errors: Errors, resource: str, divisor: str, path: str) -> None:
    kind = resource.partition(".")[2]
    if kind == "cpu":
        if divisor not in ("1m", "1"):
            detail = "only divisor's values 1m and 1 are supported with the cpu resource"
            errors.append(invalid_value(path, resource, detail))
        return
    words = {"memory": "memory resource", "ephemeral-storage": "local ephemeral storage resource"}.get(kind)
    if resource.startswith(_HUGE):
        words = "hugepages resource"
    if words and divisor not in _UNITS:
        errors.append(invalid_value(path, resource, f"{_UNITS_TEXT} {words}"))


def check_env_from(errors: Errors, sources: list[Spec], path: str) -> None:
    for i, source in enumerate(sources):
        if prefix := source.get("prefix"):
            check_names(errors, f"{path}[{i}].prefix", prefix, env_name_problems(prefix))
        given = 0
        for kind in ("configMapRef", "secretRef"):
            if (ref := source.get(kind)) is not None:
                given += 1
                name = ref.get("name", "")
                if not name:
                    errors.append(required(f"{path}[{i}].{kind}.name"))
                else:
                    check_names(errors, f"{path}[{i}].{kind}.name", name, prefix_problems(name))
        if not given:
            errors.append(invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif given > 1:
            errors.append(invalid_value(path, "", "may not have more than one field specified at a time"))
