"""Annotations of pods and templates that mean something to the server (upstream: ValidatePodSpecificAnnotations)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from apiserver.resources.checks import Errors
from apiserver.resources.pods.names import check_descending
from apiserver.resources.pods.placement import check_tolerations
from apiserver.resources.pods.windows import containers_of
from common.api.status import field_forbidden, invalid_value

Spec = dict[str, Any]
Annotations = Mapping[str, str]

MIRROR = "kubernetes.io/config.mirror"
TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
LOCALHOST = "localhost/"
_COST = re.compile(r"0|-?[1-9][0-9]*")
_SECCOMP_WORDS = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default", "docker/default")}
_APP_ARMOR_WORDS = {"Unconfined": "unconfined", "RuntimeDefault": "runtime/default"}


def check_annotations(errors: Errors, annotations: Annotations, spec: Spec, path: str) -> None:
    mirror = annotations.get(MIRROR)
    if mirror is not None and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(invalid_value(f"{path}[{MIRROR}]", mirror, detail))
    if text := annotations.get(TOLERATIONS):
        _check_tolerations(errors, text, path)
    cost = annotations.get(DELETION_COST)
    if cost is not None and not _is_cost(cost):
        errors.append(invalid_value(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer"))
    for key, value in annotations.items():
        if key == SECCOMP_POD or key.startswith(SECCOMP):
            _check_seccomp(errors, value, f"{path}.{key}")
    for key, value in annotations.items():
        if key.startswith(APP_ARMOR):
            _check_app_armor(errors, key, value, spec, f"{path}[{key}]")


def _is_cost(text: str) -> bool:
    return bool(_COST.fullmatch(text)) and -(2**31) <= int(text) < 2**31


def _check_tolerations(errors: Errors, text: str, path: str) -> None:
    try:
        tolerations = json.loads(text)
    except ValueError as error:
        errors.append(invalid_value(path, TOLERATIONS, str(error)))
        return
    if isinstance(tolerations, list) and all(isinstance(t, dict) for t in tolerations):
        check_tolerations(errors, tolerations, f"{path}.{TOLERATIONS}")


def _check_seccomp(errors: Errors, profile: str, path: str) -> None:
    if profile in ("runtime/default", "docker/default", "unconfined"):
        return
    if profile.startswith(LOCALHOST):
        check_descending(errors, profile.removeprefix(LOCALHOST), path)
    else:
        errors.append(invalid_value(path, profile, "must be a valid seccomp profile"))


def _check_app_armor(errors: Errors, key: str, profile: str, spec: Spec, path: str) -> None:
    name = key.removeprefix(APP_ARMOR)
    if not any(container.get("name") == name for container, _ in containers_of(spec, "")):
        errors.append(invalid_value(path, name, "container not found"))
    if profile not in ("", "runtime/default", "unconfined") and not profile.startswith(LOCALHOST):
        errors.append(invalid_value(path, profile, f'invalid AppArmor profile name: "{profile}"'))


def check_annotation_update(errors: Errors, new: Annotations, old: Annotations, spec: Spec, path: str) -> None:
    for key, value in old.items():
        if new.get(key) == value:
            continue
        if key.startswith(APP_ARMOR):
            errors.append(field_forbidden(f"{path}[{key}]", "may not remove or update AppArmor annotations"))
        if key == MIRROR:
            errors.append(field_forbidden(f"{path}[{key}]", "may not remove or update mirror pod annotation"))
    for key in new:
        if key not in old:
            if key.startswith(APP_ARMOR):
                errors.append(field_forbidden(f"{path}[{key}]", "may not add AppArmor annotations"))
            if key == MIRROR:
                errors.append(field_forbidden(f"{path}[{key}]", "may not add mirror pod annotation"))
    if new:
        check_annotations(errors, new, spec, path)


def check_profiles_match(errors: Errors, annotations: Annotations, spec: Spec, path: str) -> None:
    """Annotation and field, where both say something of the same profile, must say the same."""
    context = spec.get("securityContext") or {}
    text, profile = annotations.get(SECCOMP_POD), context.get("seccompProfile")
    if text is not None and profile is not None:
        _match_seccomp(errors, text, profile, f"{path}.securityContext.seccompProfile")
    for container, at in containers_of(spec, path):
        text = annotations.get(SECCOMP + container.get("name", ""))
        profile = (container.get("securityContext") or {}).get("seccompProfile")
        if text is not None and profile is not None:
            _match_seccomp(errors, text, profile, f"{at}.securityContext.seccompProfile")
    if (spec.get("os") or {}).get("name") == "windows":
        return
    for container, at in containers_of(spec, path):
        text = annotations.get(APP_ARMOR + container.get("name", ""))
        profile = (container.get("securityContext") or {}).get("appArmorProfile") or context.get("appArmorProfile")
        if text is not None and profile is not None:
            _match_app_armor(errors, text, profile, f"{at}.securityContext.appArmorProfile")


def _match_seccomp(errors: Errors, text: str, profile: Spec, path: str) -> None:
    kind, file = profile.get("type"), profile.get("localhostProfile")
    if kind == "Localhost":
        if not text.startswith(LOCALHOST):
            errors.append(field_forbidden(f"{path}.type", "seccomp type in annotation and field must match"))
        elif text.removeprefix(LOCALHOST) != file:
            detail = "seccomp profile in annotation and field must match"
            errors.append(field_forbidden(f"{path}.localhostProfile", detail))
    elif kind in _SECCOMP_WORDS and text not in _SECCOMP_WORDS[kind]:
        errors.append(field_forbidden(f"{path}.type", "seccomp type in annotation and field must match"))


def _match_app_armor(errors: Errors, text: str, profile: Spec, path: str) -> None:
    kind, name = profile.get("type"), profile.get("localhostProfile")
    if kind == "Localhost":
        if not text.startswith(LOCALHOST):
            errors.append(field_forbidden(f"{path}.type", "apparmor type in annotation and field must match"))
        elif text.removeprefix(LOCALHOST) != name:
            detail = "apparmor profile in annotation and field must match"
            errors.append(field_forbidden(f"{path}.localhostProfile", detail))
    elif kind in _APP_ARMOR_WORDS and text != _APP_ARMOR_WORDS[kind]:
        errors.append(field_forbidden(f"{path}.type", "apparmor type in annotation and field must match"))


def app_armor_text(profile: Spec) -> str:
    """The annotation that says what a field says."""
    kind = profile.get("type")
    if kind == "Localhost":
        return LOCALHOST + profile["localhostProfile"] if profile.get("localhostProfile") else ""
    return _APP_ARMOR_WORDS.get(str(kind), "")


def app_armor_profile(text: str) -> Spec | None:
    """The field that says what an annotation says; None when that is nothing valid."""
    for kind, word in _APP_ARMOR_WORDS.items():
        if text == word:
            return {"type": kind}
    name = text.removeprefix(LOCALHOST)
    valid = text.startswith(LOCALHOST) and name and name == name.strip()
    return {"type": "Localhost", "localhostProfile": name} if valid else None
