"""Validation of containers (upstream: validateContainers, validateInitContainers, validateEphemeralContainers)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apiserver.resources.checks import Errors, texts
from apiserver.resources.pods.env import check_env, check_env_from
from apiserver.resources.pods.mounts import Volumes, check_mounts
from apiserver.resources.pods.names import check_names, label_problems
from apiserver.resources.pods.probes import PROBES, check_lifecycle_and_probes
from apiserver.resources.pods.resources import check_requirements
from apiserver.resources.pods.security import check_context
from common.api.names import is_valid_port_name, is_valid_port_num
from common.api.status import duplicate, field_forbidden, field_not_found, invalid_value, not_supported, required

Container = dict[str, Any]

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
PROTOCOLS = ("SCTP", "TCP", "UDP")
_RESIZED = ("cpu", "memory")
_RESIZE_POLICIES = ("NotRequired", "RestartContainer")
_NOT_EPHEMERAL = (
    "ports", "resources", "resizePolicy", "restartPolicy", "livenessProbe", "readinessProbe", "startupProbe",
    "lifecycle",
)  # fmt: skip
"""In the order of Go's struct, in which upstream looks at them."""


def check_containers(errors: Errors, spec: Container, volumes: Volumes, path: str) -> None:
    containers = spec.get("containers")
    if not containers:
        errors.append(required(f"{path}.containers"))
        containers = ()
    restart, grace = spec.get("restartPolicy", ""), spec.get("terminationGracePeriodSeconds")
    names: set[str] = set()
    for i, container in enumerate(containers):
        at = f"{path}.containers[{i}]"
        _check_common(errors, container, volumes, restart, at)
        _check_unique(errors, container, names, at)
        check_lifecycle_and_probes(errors, container, grace, at)
        if container.get("restartPolicy") is not None:
            errors.append(field_forbidden(f"{at}.restartPolicy", "may not be set for non-init containers"))
    _check_host_ports(errors, containers, f"{path}.containers")
    if init := spec.get("initContainers"):
        _check_init(errors, init, names, volumes, restart, grace, f"{path}.initContainers")
    if ephemeral := spec.get("ephemeralContainers"):
        _check_ephemeral(errors, ephemeral, names, volumes, restart, f"{path}.ephemeralContainers")


def _check_unique(errors: Errors, container: Container, names: set[str], path: str) -> None:
    name = container.get("name", "")
    if name in names:
        errors.append(duplicate(f"{path}.name", name))
    names.add(name)


def _check_init(
    errors: Errors, init: list[Container], names: set[str], volumes: Volumes, restart: str, grace: int | None, path: str
) -> None:
    for i, container in enumerate(init):
        at = f"{path}[{i}]"
        _check_common(errors, container, volumes, restart, at)
        policy = container.get("restartPolicy")
        if policy is not None and policy != "Always":
            errors.append(not_supported(f"{at}.restartPolicy", policy, ("Always",)))
        if container.get("name"):
            _check_unique(errors, container, names, at)
        # One runs after the other: each has the ports for itself. The path lacks the index, upstream's too.
        _check_host_ports(errors, (container,), path)
        if policy == "Always":
            check_lifecycle_and_probes(errors, container, grace, at)
        else:
            for field in ("lifecycle", *PROBES):
                if container.get(field) is not None:
                    detail = "may not be set for init containers without restartPolicy=Always"
                    errors.append(field_forbidden(f"{at}.{field}", detail))
        if container.get("resizePolicy") and policy != "Always":
            detail = "must not be set for init containers"
            errors.append(invalid_value(f"{at}.resizePolicy", container["resizePolicy"], detail))


def _check_ephemeral(
    errors: Errors, ephemeral: list[Container], names: set[str], volumes: Volumes, restart: str, path: str
) -> None:
    targets = frozenset(names)
    for i, container in enumerate(ephemeral):
        at = f"{path}[{i}]"
        _check_common(errors, container, volumes, restart, at)
        check_image(errors, container, at)
        _check_unique(errors, container, names, at)
        target = container.get("targetContainerName")
        if target and target not in targets:
            errors.append(field_not_found(f"{at}.targetContainerName", target))
        for field in _NOT_EPHEMERAL:
            if container.get(field):
                errors.append(field_forbidden(f"{at}.{field}", "cannot be set for an Ephemeral Container"))
        for j, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    detail = "cannot be set for an Ephemeral Container"
                    errors.append(field_forbidden(f"{at}.volumeMounts[{j}].{field}", detail))


def check_image(errors: Errors, container: Container, path: str) -> None:
    """Of pods alone: a template may have what only a pod made of it will show to be wrong."""
    image = container.get("image", "")
    if image != image.strip():
        errors.append(invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace"))


def _check_common(errors: Errors, container: Container, volumes: Volumes, restart: str, path: str) -> None:
    get = container.get
    name = get("name")
    if not name:
        errors.append(required(f"{path}.name"))
    elif problems := label_problems(name):
        check_names(errors, f"{path}.name", name, problems)
    if not get("image"):
        errors.append(required(f"{path}.image"))
    if get("terminationMessagePolicy") not in MESSAGE_POLICIES:
        _check_choice(errors, get("terminationMessagePolicy"), f"{path}.terminationMessagePolicy", MESSAGE_POLICIES)
    if ports := get("ports"):
        _check_ports(errors, ports, f"{path}.ports")
    if variables := get("env"):
        check_env(errors, variables, f"{path}.env")
    if sources := get("envFrom"):
        check_env_from(errors, sources, f"{path}.envFrom")
    check_mounts(errors, container, volumes, path)
    if get("imagePullPolicy") not in PULL_POLICIES:
        _check_choice(errors, get("imagePullPolicy"), f"{path}.imagePullPolicy", PULL_POLICIES)
    if resources := get("resources"):
        check_requirements(errors, resources, f"{path}.resources")
    if policies := get("resizePolicy"):
        _check_resize_policy(errors, policies, restart, f"{path}.resizePolicy")
    if context := get("securityContext"):
        check_context(errors, context, f"{path}.securityContext")


def _check_choice(errors: Errors, value: str | None, path: str, allowed: tuple[str, ...]) -> None:
    errors.append(not_supported(path, value, allowed) if value else required(path))


def _check_ports(errors: Errors, ports: list[Container], path: str) -> None:
    names: set[str] = set()
    for i, port in enumerate(ports):
        if name := port.get("name"):
            problems = is_valid_port_name(name)
            if problems:
                errors += texts(f"{path}[{i}].name", name, problems)
            elif name in names:
                errors.append(duplicate(f"{path}[{i}].name", name))
            names.add(name)
        number, host, protocol = port.get("containerPort", 0), port.get("hostPort", 0), port.get("protocol")
        if not number:
            errors.append(required(f"{path}[{i}].containerPort"))
        elif not 0 < number < 65536:
            errors += texts(f"{path}[{i}].containerPort", number, is_valid_port_num(number))
        if host and not 0 < host < 65536:
            errors += texts(f"{path}[{i}].hostPort", host, is_valid_port_num(host))
        if protocol not in PROTOCOLS:
            _check_choice(errors, protocol, f"{path}[{i}].protocol", PROTOCOLS)


def _check_host_ports(errors: Errors, containers: Iterable[Container], path: str) -> None:
    taken: set[str] = set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or ()):
            number = port.get("hostPort")
            if not number:
                continue
            shown = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{number}"
            if shown in taken:
                errors.append(duplicate(f"{path}[{i}].ports[{j}].hostPort", shown))
            taken.add(shown)


def _check_resize_policy(errors: Errors, policies: list[Container], restart: str, path: str) -> None:
    seen: set[str] = set()
    for i, policy in enumerate(policies):
        name, action = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if name in seen:
            errors.append(duplicate(f"{path}[{i}]", name))
        seen.add(name)
        if name not in _RESIZED:
            _check_choice(errors, name, path, _RESIZED)
        if action not in _RESIZE_POLICIES:
            _check_choice(errors, action, path, _RESIZE_POLICIES)
        if restart == "Never" and action != "NotRequired":
            detail = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            errors.append(invalid_value(path, action, detail))
