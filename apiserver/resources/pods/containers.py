"""Validation of containers (upstream: validateContainers in pkg/apis/core/validation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apiserver.resources.checks import (
    PROTOCOLS,
    Errors,
    filled,
    not_negative,
    one_of,
    port_or_name,
    quantity,
    texts,
)
from apiserver.resources.pods.names import env_name_problems, label_problems, path_problems, qualified_problems
from common.api.names import is_valid_port_name, is_valid_port_num
from common.api.status import duplicate, field_forbidden, field_not_found, invalid_value, not_supported, required

Container = dict[str, Any]

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
SCHEMES = ("HTTP", "HTTPS")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")
FIELD_PATHS = frozenset(
    {
        "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
        "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
    }
)  # fmt: skip


def check_containers(spec: Mapping[str, Any], path: str, volumes: frozenset[str]) -> Errors:
    containers = spec.get("containers")
    if not containers:
        return [required(f"{path}.containers")]
    errors: Errors = []
    names: set[str] = set()
    host_ports: set[str] = set()
    for i, container in enumerate(containers):
        at = f"{path}.containers[{i}]"
        errors += _check(container, at, volumes, names, host_ports)
        errors += _lifecycle_and_probes(container, at)
        if container.get("restartPolicy"):
            errors.append(field_forbidden(f"{at}.restartPolicy", "may not be set for non-init containers"))
    for i, container in enumerate(spec.get("initContainers") or ()):
        at = f"{path}.initContainers[{i}]"
        # Ports of init containers are free again when the pod's own containers start.
        errors += _check(container, at, volumes, names, set())
        errors += one_of(container, "restartPolicy", at, ("Always",))
        if container.get("restartPolicy") == "Always":
            errors += _lifecycle_and_probes(container, at)
            continue
        for field in ("lifecycle", *_PROBES):
            if container.get(field) is not None:
                detail = "may not be set for init containers without restartPolicy=Always"
                errors.append(field_forbidden(f"{at}.{field}", detail))
    return errors


def _check(container: Container, path: str, volumes: frozenset[str], names: set[str], host_ports: set[str]) -> Errors:
    errors: Errors = []
    name = container.get("name", "")
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        errors += texts(f"{path}.name", name, label_problems(name))
        if name in names:
            errors.append(duplicate(f"{path}.name", name))
        names.add(name)
    image = container.get("image", "")
    if not image:
        errors.append(required(f"{path}.image"))
    elif image != image.strip():
        errors.append(invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace"))
    errors += one_of(container, "imagePullPolicy", path, PULL_POLICIES)
    errors += one_of(container, "terminationMessagePolicy", path, MESSAGE_POLICIES)
    if ports := container.get("ports"):
        errors += _ports(ports, f"{path}.ports", host_ports)
    for i, variable in enumerate(container.get("env") or ()):
        errors += _env(variable, f"{path}.env[{i}]")
    for i, source in enumerate(container.get("envFrom") or ()):
        errors += _env_from(source, f"{path}.envFrom[{i}]")
    if mounts := container.get("volumeMounts"):
        errors += _mounts(mounts, f"{path}.volumeMounts", volumes)
    if resources := container.get("resources"):
        errors += check_resources(resources, f"{path}.resources")
    if context := container.get("securityContext"):
        errors += _security_context(context, f"{path}.securityContext")
    return errors


def _ports(ports: list[Container], path: str, host_ports: set[str]) -> Errors:
    errors: Errors = []
    names: set[str] = set()
    for i, port in enumerate(ports):
        at = f"{path}[{i}]"
        if name := port.get("name"):
            problems = is_valid_port_name(name)
            errors += texts(f"{at}.name", name, problems)
            if not problems and name in names:
                errors.append(duplicate(f"{at}.name", name))
            names.add(name)
        number, host = port.get("containerPort", 0), port.get("hostPort", 0)
        if not number:
            errors.append(required(f"{at}.containerPort"))
        elif not 0 < number < 65536:
            errors += texts(f"{at}.containerPort", number, is_valid_port_num(number))
        if host:
            if not 0 < host < 65536:
                errors += texts(f"{at}.hostPort", host, is_valid_port_num(host))
            taken = f"{port.get('protocol')}/{port.get('hostIP', '')}/{host}"
            if taken in host_ports:
                errors.append(duplicate(f"{at}.hostPort", taken))
            host_ports.add(taken)
        errors += one_of(port, "protocol", at, PROTOCOLS)
    return errors


def _env(variable: Container, path: str) -> Errors:
    name = variable.get("name", "")
    errors = texts(f"{path}.name", name, env_name_problems(name)) if name else [required(f"{path}.name")]
    source = variable.get("valueFrom")
    if source is None:
        return errors
    given = [s for s in _SOURCES if source.get(s) is not None]
    at = f"{path}.valueFrom"
    if not given:
        detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        errors.append(invalid_value(at, "", detail))
    elif variable.get("value"):
        errors.append(invalid_value(at, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        errors.append(invalid_value(at, "", "may not have more than one field specified at a time"))
    for kind in given:
        errors += _env_source(kind, source[kind], f"{at}.{kind}")
    return errors


def _env_source(kind: str, ref: Container, path: str) -> Errors:
    if kind in ("configMapKeyRef", "secretKeyRef"):
        return filled(ref, path, "name", "key")
    if kind == "resourceFieldRef":
        return filled(ref, path, "resource")
    return check_field_ref(ref, path, FIELD_PATHS)


def check_field_ref(ref: Container, path: str, allowed: frozenset[str]) -> Errors:
    field = ref.get("fieldPath", "")
    if not field:
        return [required(f"{path}.fieldPath")]
    base, bracket, key = field.partition("['")
    if bracket and base in ("metadata.labels", "metadata.annotations") and key.endswith("']"):
        return texts(path, key[:-2], qualified_problems(key[:-2].lower() if base.endswith("annotations") else key[:-2]))
    if field in allowed:
        return []
    if field in FIELD_PATHS or field in ("metadata.labels", "metadata.annotations"):
        return [not_supported(f"{path}.fieldPath", field, allowed)]
    detail = f"error converting fieldPath: field label not supported: {field}"
    return [invalid_value(f"{path}.fieldPath", field, detail)]


def _env_from(source: Container, path: str) -> Errors:
    given = [s for s in ("configMapRef", "secretRef") if source.get(s) is not None]
    if not given:
        return [invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`")]
    if len(given) > 1:
        return [invalid_value(path, "", "may not have more than one field specified at a time")]
    errors = filled(source[given[0]], f"{path}.{given[0]}", "name")
    prefix = source.get("prefix")
    return errors + (texts(f"{path}.prefix", prefix, env_name_problems(prefix)) if prefix else [])


def _mounts(mounts: list[Container], path: str, volumes: frozenset[str]) -> Errors:
    errors: Errors = []
    paths: set[str] = set()
    for i, mount in enumerate(mounts):
        at = f"{path}[{i}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(f"{at}.name"))
        if name not in volumes:
            errors.append(field_not_found(f"{at}.name", name))
        if not target:
            errors.append(required(f"{at}.mountPath"))
        elif target in paths:
            errors.append(invalid_value(f"{at}.mountPath", target, "must be unique"))
        paths.add(target)
        for field in ("subPath", "subPathExpr"):
            if mount.get(field):
                errors += path_problems(mount[field], f"{at}.{field}")
        if mount.get("subPath") and mount.get("subPathExpr"):
            errors.append(
                invalid_value(
                    f"{at}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"
                )
            )
    return errors


def check_resources(resources: Container, path: str) -> Errors:
    """Requests must not exceed limits."""
    errors: Errors = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            if name not in _STANDARD:
                errors += _resource_name(name, f"{path}.{kind}[{name}]")
            if quantity(amount).amount < 0:
                errors.append(
                    invalid_value(f"{path}.{kind}[{name}]", str(amount), "must be greater than or equal to 0")
                )
    for name, amount in requests.items():
        limit = limits.get(name)
        extended = name not in _STANDARD
        if limit is None:
            if extended:
                errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif extended and quantity(amount) != quantity(limit):
            errors.append(invalid_value(f"{path}.requests", str(amount), f"must be equal to {name} limit of {limit}"))
        elif amount != limit and quantity(amount) > quantity(limit):
            detail = f"must be less than or equal to {name} limit of {limit}"
            errors.append(invalid_value(f"{path}.requests", str(amount), detail))
    return errors


def _resource_name(name: str, path: str) -> Errors:
    errors = texts(path, name, qualified_problems(name))
    if not errors and "/" not in name and not name.startswith("hugepages-"):
        errors.append(invalid_value(path, name, "must be a standard resource type or fully qualified"))
        errors.append(invalid_value(path, name, "must be a standard resource for containers"))
    return errors


def _security_context(context: Container, path: str) -> Errors:
    errors: Errors = []
    for field in ("runAsUser", "runAsGroup"):
        value = context.get(field)
        if value is not None and not 0 <= value < 2**31:
            errors.append(invalid_value(f"{path}.{field}", value, "must be between 0 and 2147483647, inclusive"))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid_value(path, None, detail))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid_value(path, None, detail))
    return errors


def _lifecycle_and_probes(container: Container, path: str) -> Errors:
    errors: Errors = []
    if lifecycle := container.get("lifecycle"):
        for event in ("postStart", "preStop"):
            if (handler := lifecycle.get(event)) is not None:
                errors += _handler(handler, f"{path}.lifecycle.{event}")
    for name in _PROBES:
        if (probe := container.get(name)) is not None:
            errors += _probe(probe, f"{path}.{name}", name)
    return errors


def _probe(probe: Container, path: str, kind: str) -> Errors:
    errors = _handler(probe, path)
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        errors += not_negative(probe, field, path)
    if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        errors.append(invalid_value(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None:
        if kind == "readinessProbe":
            errors.append(
                invalid_value(f"{path}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")
            )
        elif grace <= 0:
            errors.append(invalid_value(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return errors


def _handler(handler: Container, path: str) -> Errors:
    given = [h for h in HANDLERS if handler.get(h) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    errors = [field_forbidden(f"{path}.{h}", "may not specify more than 1 handler type") for h in given[1:]]
    kind = given[0]
    action, at = handler[kind], f"{path}.{kind}"
    if kind == "exec":
        errors += filled(action, at, "command")
    elif kind == "httpGet":
        errors += filled(action, at, "path")
        errors += port_or_name(action.get("port", 0), f"{at}.port", is_valid_port_name)
        errors += one_of(action, "scheme", at, SCHEMES)
    elif kind == "tcpSocket":
        errors += port_or_name(action.get("port", 0), f"{at}.port", is_valid_port_name)
    elif kind == "grpc":
        errors += texts(f"{at}.port", action.get("port", 0), is_valid_port_num(action.get("port", 0)))
    return errors
