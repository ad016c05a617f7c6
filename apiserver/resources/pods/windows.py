"""What is right for Windows pods alone, and what for Linux pods alone (upstream: validateOS and those below it)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from apiserver.resources.checks import Errors
from apiserver.resources.pods.names import check_names, subdomain_problems
from common.api.status import field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

SYSTEMS = ("linux", "windows")
CONTAINER_KINDS = ("initContainers", "containers", "ephemeralContainers")
_FORBIDDEN = "cannot be set for a windows pod"
_POD_FIELDS = (
    "securityContext.appArmorProfile", "securityContext.seLinuxOptions", "hostUsers", "hostPID", "hostIPC",
    "securityContext.seccompProfile", "securityContext.fsGroup", "securityContext.fsGroupChangePolicy",
    "securityContext.sysctls", "shareProcessNamespace", "securityContext.runAsUser", "securityContext.runAsGroup",
    "securityContext.supplementalGroups", "securityContext.supplementalGroupsPolicy",
)  # fmt: skip
_CONTAINER_FIELDS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip
_BY_VALUE = frozenset({"hostPID", "hostIPC", "securityContext.sysctls"})
"""Fields that say nothing when they are false or empty; of the others, being there is enough."""
_MAX_SPEC_KIB, _MAX_DOMAIN, _MAX_USER = 64, 256, 104
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_DNS = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*")
_BAD_USER = re.compile(r'["/\\:;|=,+*?<>@\[\]]')


def containers_of(spec: Spec, path: str) -> Iterator[tuple[Spec, str]]:
    """Every container with its path, in the order in which upstream visits them."""
    for kind in CONTAINER_KINDS:
        for i, container in enumerate(spec.get(kind) or ()):
            yield container, f"{path}.{kind}[{i}]"


def check_system(errors: Errors, spec: Spec, path: str) -> None:
    name = spec["os"].get("name", "")
    if not name:
        errors.append(required(f"{path}.os.name", "cannot be empty"))
    elif name not in SYSTEMS:
        errors.append(not_supported(f"{path}.os", name, SYSTEMS))
    elif name == "linux":
        _check_linux(errors, spec, path)
    else:
        _check_windows(errors, spec, path)


def _check_linux(errors: Errors, spec: Spec, path: str) -> None:
    detail = "windows options cannot be set for a linux pod"
    if (spec.get("securityContext") or {}).get("windowsOptions") is not None:
        errors.append(field_forbidden(f"{path}.securityContext.windowsOptions", detail))
    for container, at in containers_of(spec, path):
        if (container.get("securityContext") or {}).get("windowsOptions") is not None:
            errors.append(field_forbidden(f"{at}.securityContext.windowsOptions", detail))


def _check_windows(errors: Errors, spec: Spec, path: str) -> None:
    context = spec.get("securityContext") or {}
    for field in _POD_FIELDS:
        _, inner, name = field.rpartition("securityContext.")
        value = context.get(name) if inner else spec.get(field)
        if value if field in _BY_VALUE else value is not None:
            errors.append(field_forbidden(f"{path}.{field}", _FORBIDDEN))
    for container, at in containers_of(spec, path):
        for field in _CONTAINER_FIELDS:
            if (container.get("securityContext") or {}).get(field) is not None:
                errors.append(field_forbidden(f"{at}.securityContext.{field}", _FORBIDDEN))


def check_host_process(errors: Errors, spec: Spec, path: str) -> None:
    """All containers are host processes or none is."""
    of_pod = _host_process(spec)
    total = hosts = 0
    for container, at in containers_of(spec, path):
        total += 1
        own = _host_process(container)
        if of_pod is not None and own is not None and of_pod != own:
            shown = "true" if of_pod else "false"
            detail = f"pod hostProcess value must be identical if both are specified, was {shown}"
            errors.append(invalid_value(f"{at}.securityContext.windowsOptions.hostProcess", own, detail))
        hosts += bool(of_pod if own is None else own)
    if not hosts:
        return
    if hosts != total:
        detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        errors.append(invalid_value(path, "", detail))
    if not spec.get("hostNetwork"):
        detail = "hostNetwork must be true if pod contains any hostProcess containers"
        errors.append(invalid_value(f"{path}.hostNetwork", False, detail))


def _host_process(owner: Spec) -> bool | None:
    context = owner.get("securityContext")
    options = context.get("windowsOptions") if context else None
    return options.get("hostProcess") if options else None


def check_windows_options(errors: Errors, options: Spec | None, path: str) -> None:
    if options is None:
        return
    if (name := options.get("gmsaCredentialSpecName")) is not None:
        check_names(errors, f"{path}.gmsaCredentialSpecName", name, subdomain_problems(name))
    if (content := options.get("gmsaCredentialSpec")) is not None:
        at, size = f"{path}.gmsaCredentialSpec", len(content.encode())
        if not size:
            errors.append(invalid_value(at, content, "gmsaCredentialSpec cannot be an empty string"))
        elif size > _MAX_SPEC_KIB * 1024:
            errors.append(invalid_value(at, content, f"gmsaCredentialSpec size must be under {_MAX_SPEC_KIB} KiB"))
    if (user := options.get("runAsUserName")) is not None:
        for text in _user_problems(user):
            errors.append(invalid_value(f"{path}.runAsUserName", user, text))


def _user_problems(name: str) -> Iterator[str]:
    domain, backslash, user = name.rpartition("\\")
    if not name:
        yield "runAsUserName cannot be an empty string"
    elif _CONTROL.search(name):
        yield "runAsUserName cannot contain control characters"
    elif "\\" in domain:
        yield "runAsUserName cannot contain more than one backslash"
    else:
        if len(domain) >= _MAX_DOMAIN:
            yield f"runAsUserName's Domain length must be under {_MAX_DOMAIN} characters"
        if backslash and not (_NETBIOS.fullmatch(domain) or _DNS.fullmatch(domain)):
            yield "runAsUserName's Domain doesn't match the NetBios nor the DNS format"
        if not user:
            yield "runAsUserName's User cannot be empty"
        elif len(user) > _MAX_USER:
            yield f"runAsUserName's User length must not be longer than {_MAX_USER} characters"
        if user and not user.strip(". "):
            yield "runAsUserName's User cannot contain only periods or spaces"
        if _BAD_USER.search(user):
            yield "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"
