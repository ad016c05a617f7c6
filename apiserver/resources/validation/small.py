"""Groups of one small kind: scheduling, coordination and node (upstream: pkg/apis/<group>/validation)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import IMMUTABLE, NOT_NEGATIVE, Errors, labels, quantity, texts
from apiserver.resources.pods.placement import check_tolerations
from apiserver.types import Object
from common.api.names import is_dns1123_label
from common.api.quantity import canonical
from common.api.status import GoSyntax, duplicate, field_forbidden, invalid_value, not_supported

Spec = dict[str, Any]

MAX_PRIORITY = 1_000_000_000
SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
PREEMPTION = ("PreemptLowerPriority", "Never")


def check_priority_class(obj: Object) -> Errors:
    name, value = (obj.get("metadata") or {}).get("name") or "", obj.get("value") or 0
    errors: Errors = []
    if name.startswith("system-"):
        if problem := _system_class(name, value, bool(obj.get("globalDefault"))):
            detail = f"priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
            errors.append(field_forbidden("metadata.name", detail))
    elif value > MAX_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {MAX_PRIORITY}"
        errors.append(field_forbidden("value", detail))
    policy = obj.get("preemptionPolicy")
    if policy is not None and policy not in PREEMPTION:
        errors.append(not_supported("preemptionPolicy", policy, PREEMPTION))
    return errors


def _system_class(name: str, value: int, default: bool) -> str:
    wanted = SYSTEM_CLASSES.get(name)
    if wanted is None:
        return f"{name} is not a known system priority class"
    if value != wanted:
        return f"value of {name} PriorityClass must be {wanted}"
    return f"globalDefault of {name} PriorityClass must be false" if default else ""


def check_priority_class_update(obj: Object, old: Object) -> Errors:
    errors: Errors = []
    if (obj.get("value") or 0) != (old.get("value") or 0):
        errors.append(field_forbidden("value", "may not be changed in an update."))
    if obj.get("preemptionPolicy") != old.get("preemptionPolicy"):
        errors.append(invalid_value("preemptionPolicy", obj.get("preemptionPolicy"), IMMUTABLE))
    return errors


def check_lease(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    errors: Errors = []
    if seconds is not None and seconds <= 0:
        errors.append(invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        errors.append(invalid_value("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return errors


def check_runtime_class(obj: Object) -> Errors:
    handler = obj.get("handler") or ""
    errors = texts("handler", handler, is_dns1123_label(handler))
    for name, amount in ((obj.get("overhead") or {}).get("podFixed") or {}).items():
        if quantity(amount).amount < 0:
            # Upstream asks by way of a container's limits.
            errors.append(invalid_value(f"overhead.limits[{name}]", canonical(amount), NOT_NEGATIVE))
    scheduling = obj.get("scheduling") or {}
    errors += labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector")
    return errors + _tolerations(scheduling.get("tolerations") or [], "scheduling.tolerations")


def _tolerations(tolerations: list[Spec], path: str) -> Errors:
    errors: Errors = []
    check_tolerations(errors, tolerations, f"{path}.tolerations")
    seen: set[tuple[str, ...]] = set()
    for i, toleration in enumerate(tolerations):
        key = tuple(toleration.get(field) or "" for field in ("key", "operator", "value", "effect"))
        if key in seen:
            errors.append(duplicate(f"{path}[{i}]", _go_toleration(toleration)))
        seen.add(key)
    return errors


def _go_toleration(toleration: Spec) -> GoSyntax:
    key, operator, value, effect = (toleration.get(f) or "" for f in ("key", "operator", "value", "effect"))
    seconds = "nil" if toleration.get("tolerationSeconds") is None else "0xc000000000"
    return GoSyntax(
        f'core.Toleration{{Key:"{key}", Operator:"{operator}", Value:"{value}", Effect:"{effect}", '
        f"TolerationSeconds:(*int64)({seconds})}}"
    )


def check_runtime_class_update(obj: Object, old: Object) -> Errors:
    handler = obj.get("handler") or ""
    return [] if handler == old.get("handler") else [invalid_value("handler", handler, IMMUTABLE)]
