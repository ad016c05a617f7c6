"""HorizontalPodAutoscalers, as of autoscaling/v2 (upstream: pkg/apis/autoscaling/validation)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apiserver.resources.checks import Errors, not_negative, quantity, texts
from apiserver.resources.validation.formats import path_segment
from apiserver.types import Object
from common.api.names import is_dns1123_label, is_qualified_name
from common.api.quantity import canonical
from common.api.status import GoSyntax, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

MAX_PERIOD, MAX_STABILIZATION = 1800, 3600
_SELECT = ("Disabled", "Max", "Min")
_POLICIES = ("Percent", "Pods")
_TARGETS = ("Utilization", "Value", "AverageValue")
_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})


def check_autoscaler(obj: Object) -> Errors:
    return _spec(obj.get("spec") or {}, 1)


def check_autoscaler_update(obj: Object, old: Object) -> Errors:
    """Zero replicas need a feature that is off; what has them already may keep them."""
    was_zero = (old.get("spec") or {}).get("minReplicas") == 0
    return _spec(obj.get("spec") or {}, 0 if was_zero else 1)


def check_autoscaler_status(obj: Object, old: Object) -> Errors:
    status = obj.get("status") or {}
    return not_negative(status, "currentReplicas", "status") + not_negative(status, "desiredReplicas", "status")


def _spec(spec: Spec, bound: int) -> Errors:
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    errors: Errors = []
    if least is not None and least < bound:
        errors.append(invalid_value("spec.minReplicas", least, f"must be greater than or equal to {bound}"))
    if most < 1:
        errors.append(invalid_value("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        detail = "must be greater than or equal to `minReplicas`"
        errors.append(invalid_value("spec.maxReplicas", most, detail))
    errors += _reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    metrics = spec.get("metrics") or ()
    for i, metric in enumerate(metrics):
        errors += _metric(metric, f"spec.metrics[{i}]")
    if least == 0 and not any(m.get("type") in ("Object", "External") for m in metrics):
        detail = "must specify at least one Object or External metric to support scaling to zero replicas"
        errors.append(field_forbidden("spec.metrics", detail))
    behavior = spec.get("behavior") or {}
    for direction in ("scaleUp", "scaleDown"):
        if (rules := behavior.get(direction)) is not None:
            errors += _rules(rules, f"spec.behavior.{direction}")
    return errors


def _segment(obj: Spec, field: str, path: str, detail: str = "") -> Errors:
    value = obj.get(field) or ""
    if not value:
        return [required(f"{path}.{field}", detail)]
    return texts(f"{path}.{field}", value, path_segment(value))


def _reference(ref: Spec, path: str) -> Errors:
    return _segment(ref, "kind", path) + _segment(ref, "name", path)


def _rules(rules: Spec, path: str) -> Errors:
    window, select, policies = (rules.get(f) for f in ("stabilizationWindowSeconds", "selectPolicy", "policies"))
    errors: Errors = []
    at = f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        errors.append(invalid_value(at, window, "must be greater than or equal to zero"))
    if window is not None and window > MAX_STABILIZATION:
        errors.append(invalid_value(at, window, f"must be less than or equal to {MAX_STABILIZATION}"))
    if select is not None and select not in _SELECT:
        errors.append(not_supported(f"{path}.selectPolicy", select, _SELECT))
    if not policies:
        errors.append(required(f"{path}.policies", "must specify at least one Policy"))
    for i, policy in enumerate(policies or ()):
        errors += _policy(policy, f"{path}.policies[{i}]")
    return errors


def _policy(policy: Spec, path: str) -> Errors:
    kind, value, period = policy.get("type") or "", policy.get("value") or 0, policy.get("periodSeconds") or 0
    errors: Errors = []
    if kind not in _POLICIES:
        errors.append(not_supported(f"{path}.type", kind, _POLICIES))
    if value <= 0:
        errors.append(invalid_value(f"{path}.value", value, "must be greater than zero"))
    if period <= 0:
        errors.append(invalid_value(f"{path}.periodSeconds", period, "must be greater than zero"))
    if period > MAX_PERIOD:
        errors.append(invalid_value(f"{path}.periodSeconds", period, f"must be less than or equal to {MAX_PERIOD}"))
    return errors


def _metric(metric: Spec, path: str) -> Errors:
    kind = metric.get("type") or ""
    errors: Errors = []
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in _SOURCES:
        errors.append(not_supported(f"{path}.type", kind, _TYPES))
    present = [field for field in _CHECKS if metric.get(field) is not None]
    if present:
        errors += _CHECKS[present[0]](metric[present[0]], f"{path}.{present[0]}")
    expected = _SOURCES.get(kind)
    if expected is None:
        errors.append(not_supported(f"{path}.type", kind, _TYPES))
    elif expected not in present:
        errors.append(required(f"{path}.{expected}", "must populate information for the given metric source"))
    if len(present) != 1:
        others = [field for field in present if field != expected]
        errors += [field_forbidden(f"{path}.{f}", "must populate the given metric source only") for f in others]
    return errors


def _object(source: Spec, path: str) -> Errors:
    errors = _reference(source.get("describedObject") or {}, f"{path}.describedObject")
    target = source.get("target") or {}
    errors += _identifier(source, path) + _target(target, f"{path}.target")
    if target.get("value") is None and target.get("averageValue") is None:
        detail = "must set either a target value or averageValue"
        errors.append(required(f"{path}.target.averageValue", detail))
    return errors


def _external(source: Spec, path: str) -> Errors:
    target = source.get("target") or {}
    errors = _identifier(source, path) + _target(target, f"{path}.target")
    value, average = target.get("value"), target.get("averageValue")
    if value is None and average is None:
        detail = "must set either a target value for metric or a per-pod target"
        errors.append(required(f"{path}.target.averageValue", detail))
    if value is not None and average is not None:
        detail = "may not set both a target value for metric and a per-pod target"
        errors.append(field_forbidden(f"{path}.target.value", detail))
    return errors


def _pods(source: Spec, path: str) -> Errors:
    target = source.get("target") or {}
    errors = _identifier(source, path) + _target(target, f"{path}.target")
    if target.get("averageValue") is None:
        errors.append(required(f"{path}.target.averageValue", "must specify a positive target averageValue"))
    return errors


def _resource(source: Spec, path: str) -> Errors:
    errors: Errors = []
    if not source.get("name"):
        errors.append(required(f"{path}.name", "must specify a resource name"))
    return errors + _share(source, path)


def _container_resource(source: Spec, path: str) -> Errors:
    name, container = source.get("name") or "", source.get("container") or ""
    errors = _container_resource_name(name, f"{path}.name")
    if not container:
        errors.append(required(f"{path}.container", "must specify a container"))
    else:
        errors += texts(f"{path}.container", container, is_dns1123_label(container))
    return errors + _share(source, path)


def _container_resource_name(name: str, path: str) -> Errors:
    if not name:
        return [required(path, "must specify a resource name")]
    errors = texts(path, name, is_qualified_name(name))
    if not errors and "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
        errors.append(invalid_value(path, name, "must be a standard resource for containers"))
    return errors


def _share(source: Spec, path: str) -> Errors:
    target = source.get("target") or {}
    errors = _target(target, f"{path}.target")
    utilization, average = target.get("averageUtilization"), target.get("averageValue")
    if utilization is None and average is None:
        detail = "must set either a target raw value or a target utilization"
        errors.append(required(f"{path}.target.averageUtilization", detail))
    if utilization is not None and average is not None:
        detail = "may not set both a target raw value and a target utilization"
        errors.append(field_forbidden(f"{path}.target.averageValue", detail))
    return errors


def _target(target: Spec, path: str) -> Errors:
    kind = target.get("type") or ""
    errors: Errors = []
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in _TARGETS:
        errors.append(invalid_value(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for field in ("value", "averageValue"):
        value = target.get(field)
        if value is not None and quantity(value).amount <= 0:
            errors.append(invalid_value(f"{path}.{field}", _go_quantity(value), "must be positive"))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        errors.append(invalid_value(f"{path}.averageUtilization", utilization, "must be greater than 0"))
    return errors


def _go_quantity(value: Any) -> GoSyntax:
    """A quantity as %#v prints it; exact for whole numbers without a suffix."""
    return GoSyntax(
        f"resource.Quantity{{i:resource.int64Amount{{value:{quantity(value).value()}, scale:0}}, "
        f'd:resource.infDecAmount{{Dec:(*inf.Dec)(nil)}}, s:"{canonical(value)}", Format:"DecimalSI"}}'
    )


def _identifier(source: Spec, path: str) -> Errors:
    return _segment(source.get("metric") or {}, "name", f"{path}.metric", "must specify a metric name")


_CHECKS: dict[str, Callable[[Spec, str], Errors]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _container_resource,
}
"""In upstream's order: only the first source that is there is looked at."""
_SOURCES = {field[0].upper() + field[1:]: field for field in _CHECKS}
_TYPES = tuple(sorted(_SOURCES))
