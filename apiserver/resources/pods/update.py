"""What may change of a pod once it exists: hardly anything (upstream: ValidatePodUpdate)."""

from __future__ import annotations

import difflib
import json
from typing import Any

from apiserver.resources.checks import Errors
from apiserver.types import Object
from common.api.status import field_forbidden, invalid_value

_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_pod_update(pod: Object, old: Object, subresource: str) -> Errors:
    if subresource == "status" or pod.get("spec") == old.get("spec"):
        return []
    spec, before = pod.get("spec") or {}, old.get("spec") or {}
    for kind in ("containers", "initContainers"):
        if len(spec.get(kind) or ()) != len(before.get(kind) or ()):
            return [field_forbidden(f"spec.{kind}", "pod updates may not add or remove containers")]
    errors = _deadline(spec, before) + _tolerations(spec, before) + _gates(spec, before)
    if not errors and (diff := _difference(_comparable(spec, before), before)):
        errors.append(field_forbidden("spec", f"{_TEXT}\n{diff}"))
    return errors


def _comparable(spec: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The new spec with what may change put back."""
    same = dict(spec)
    for kind in ("containers", "initContainers"):
        if kind in spec:
            pairs = zip(spec[kind], before.get(kind) or (), strict=False)
            same[kind] = [{**new, "image": previous.get("image", "")} for new, previous in pairs]
    for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _put_back(same, before, field)
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        _put_back(same, before, "terminationGracePeriodSeconds")
    if before.get("schedulingGates"):
        for field in ("nodeSelector", "affinity"):
            _put_back(same, before, field)
    return same


def _put_back(spec: dict[str, Any], before: dict[str, Any], field: str) -> None:
    if field in before:
        spec[field] = before[field]
    else:
        spec.pop(field, None)


def _difference(spec: dict[str, Any], before: dict[str, Any]) -> str:
    if spec == before:
        return ""
    old, new = (json.dumps(s, indent=2, sort_keys=True).splitlines() for s in (before, spec))
    return "\n".join(
        line for line in difflib.unified_diff(old, new, n=1, lineterm="") if not line.startswith(("---", "+++"))
    )


def _deadline(spec: dict[str, Any], before: dict[str, Any]) -> Errors:
    old, new = before.get("activeDeadlineSeconds"), spec.get("activeDeadlineSeconds")
    if old is None or new == old:
        return []
    path = "spec.activeDeadlineSeconds"
    if new is None:
        return [invalid_value(path, None, "must not update from a positive integer to nil value")]
    return [invalid_value(path, new, "must be less than or equal to previous value")] if new > old else []


def _tolerations(spec: dict[str, Any], before: dict[str, Any]) -> Errors:
    def identity(toleration: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}

    now = [identity(t) for t in spec.get("tolerations") or ()]
    if all(identity(t) in now for t in before.get("tolerations") or ()):
        return []
    return [field_forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _gates(spec: dict[str, Any], before: dict[str, Any]) -> Errors:
    old = [g.get("name") for g in before.get("schedulingGates") or ()]
    return [
        field_forbidden(
            f"spec.schedulingGates[{i}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
        )
        for i, gate in enumerate(spec.get("schedulingGates") or ())
        if gate.get("name") not in old
    ]
