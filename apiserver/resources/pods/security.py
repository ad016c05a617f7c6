"""Security contexts of pods and containers (upstream: validatePodSpecSecurityContext, ValidateSecurityContext)."""

from __future__ import annotations

import re
from typing import Any

from apiserver.resources.checks import Errors
from apiserver.resources.pods.names import check_descending
from apiserver.resources.pods.windows import check_windows_options
from common.api.status import duplicate, invalid_value, not_supported, required, too_long

Spec = dict[str, Any]

MAX_ID = 2**31 - 1
_ID_TEXT = f"must be between 0 and {MAX_ID}, inclusive"
_SECCOMP_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_CHANGE_POLICIES = ("Always", "OnRootMismatch")
_PROC_MOUNTS = ("Default", "Unmasked")
MAX_PROFILE = 4095
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = f"({_SYSCTL_SEGMENT}[\\./])*{_SYSCTL_SEGMENT}"
_IS_SYSCTL = re.compile(_SYSCTL)
_MAX_SYSCTL = 253
_NETWORK = ("net.",)
_IPC = ("kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue.")


def check_id(errors: Errors, value: int | None, path: str) -> None:
    if value is not None and not 0 <= value <= MAX_ID:
        errors.append(invalid_value(path, value, _ID_TEXT))


def check_pod_context(errors: Errors, spec: Spec, context: Spec, path: str) -> None:
    for field in ("fsGroup", "runAsUser", "runAsGroup"):
        check_id(errors, context.get(field), f"{path}.{field}")
    for i, group in enumerate(context.get("supplementalGroups") or ()):
        check_id(errors, group, f"{path}.supplementalGroups[{i}]")
    for i, sysctl in enumerate(context.get("sysctls") or ()):
        _check_sysctl(errors, context["sysctls"], i, sysctl.get("name", ""), spec, f"{path}.sysctls[{i}].name")
    policy = context.get("fsGroupChangePolicy")
    if policy is not None and policy not in _CHANGE_POLICIES:
        errors.append(not_supported(f"{path}.fsGroupChangePolicy", policy, _CHANGE_POLICIES))
    _check_shared(errors, context, path)


def check_shared_processes(errors: Errors, spec: Spec, path: str) -> None:
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid_value(f"{path}.securityContext.shareProcessNamespace", True, detail))


def _check_sysctl(errors: Errors, sysctls: list[Spec], i: int, name: str, spec: Spec, path: str) -> None:
    if not name:
        errors.append(required(path))
    elif len(name) > _MAX_SYSCTL or not _IS_SYSCTL.fullmatch(name):
        detail = f"must have at most {_MAX_SYSCTL} characters and match regex ^{_SYSCTL}$"
        errors.append(invalid_value(path, name, detail))
    elif any(other.get("name") == name for other in sysctls[:i]):
        errors.append(duplicate(path, name))
    dotted = _dotted(name)
    if spec.get("hostNetwork") and dotted.startswith(_NETWORK):
        errors.append(invalid_value(path, name, "may not be specified when 'hostNetwork' is true"))
    elif spec.get("hostIPC") and (dotted in ("kernel.sem",) or dotted.startswith(_IPC[1:])):
        errors.append(invalid_value(path, name, "may not be specified when 'hostIPC' is true"))


def _dotted(name: str) -> str:
    """Either separator may be written; whichever comes first is the separator (sysctl.d(5))."""
    first = next((c for c in name if c in "./"), "")
    return name.translate({ord("/"): ".", ord("."): "/"}) if first == "/" else name


def check_context(errors: Errors, context: Spec, path: str) -> None:
    """Of a container."""
    for field in ("runAsUser", "runAsGroup"):
        check_id(errors, context.get(field), f"{path}.{field}")
    mount = context.get("procMount")
    if mount is not None and mount not in _PROC_MOUNTS:
        errors.append(not_supported(f"{path}.procMount", mount, _PROC_MOUNTS))
    check_seccomp(errors, context.get("seccompProfile"), f"{path}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        _check_escalation(errors, context, path)
    check_windows_options(errors, context.get("windowsOptions"), f"{path}.windowsOptions")
    check_app_armor(errors, context.get("appArmorProfile"), f"{path}.appArmorProfile")


def _check_escalation(errors: Errors, context: Spec, path: str) -> None:
    if context.get("privileged"):
        detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        errors.append(invalid_value(path, GO_CONTEXT, detail))
    for capability in (context.get("capabilities") or {}).get("add") or ():
        if capability == "CAP_SYS_ADMIN":
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid_value(path, GO_CONTEXT, detail))


GO_CONTEXT = None
"""Upstream prints the struct with the addresses of its pointers here: nothing that anybody could compare."""


def _check_shared(errors: Errors, context: Spec, path: str) -> None:
    check_seccomp(errors, context.get("seccompProfile"), f"{path}.seccompProfile")
    check_windows_options(errors, context.get("windowsOptions"), f"{path}.windowsOptions")
    check_app_armor(errors, context.get("appArmorProfile"), f"{path}.appArmorProfile")


def check_seccomp(errors: Errors, profile: Spec | None, path: str) -> None:
    if profile is None:
        return
    kind, file = profile.get("type", ""), profile.get("localhostProfile")
    if not kind:
        errors.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in _SECCOMP_TYPES:
        errors.append(not_supported(f"{path}.type", kind, _SECCOMP_TYPES))
    at = f"{path}.localhostProfile"
    if kind == "Localhost":
        if file is None:
            errors.append(required(at, "must be set when seccomp type is Localhost"))
        else:
            check_descending(errors, file, at)
    elif file is not None:
        errors.append(invalid_value(at, profile, "can only be set when seccomp type is Localhost"))


def check_app_armor(errors: Errors, profile: Spec | None, path: str) -> None:
    if profile is None:
        return
    kind, name = profile.get("type", ""), profile.get("localhostProfile")
    at, missing = f"{path}.localhostProfile", "must be set when AppArmor type is Localhost"
    if kind == "Localhost":
        if name is None:
            errors.append(required(at, missing))
            return
        if name.strip() != name:
            errors.append(invalid_value(at, name, "must not be padded with whitespace"))
        elif not name:
            errors.append(required(at, missing))
        if len(name.encode()) > MAX_PROFILE:
            errors.append(too_long(at, MAX_PROFILE))
    elif kind in ("RuntimeDefault", "Unconfined"):
        if name is not None:
            errors.append(invalid_value(at, name, "can only be set when AppArmor type is Localhost"))
    elif not kind:
        errors.append(required(f"{path}.type", "type is required when appArmorProfile is set"))
    else:
        errors.append(not_supported(f"{path}.type", kind, ("Localhost", "RuntimeDefault", "Unconfined")))
