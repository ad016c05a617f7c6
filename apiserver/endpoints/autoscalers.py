"""HorizontalPodAutoscalers of autoscaling/v1 and v2, there and back (upstream: pkg/apis/autoscaling/v1/conversion.go).

v1 has a field for one thing only, the share of CPU. The rest is kept in annotations: metrics in v1's older form, the
behaviour with the names of Go's own fields, as clients of v1 find them with upstream.
"""

from __future__ import annotations

from typing import Any

import orjson

from apiserver.schema import decode, sent_kind
from apiserver.types import Object
from common.api.status import BadRequest

METRICS = "autoscaling.alpha.kubernetes.io/metrics"
CURRENT_METRICS = "autoscaling.alpha.kubernetes.io/current-metrics"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
ANNOTATIONS = (METRICS, CURRENT_METRICS, BEHAVIOR, CONDITIONS)
ZERO = "0"
_V2 = sent_kind("HorizontalPodAutoscaler", "autoscaling/v2")

Fields = tuple[tuple[str, str, str | None], ...]
"""(name in v1, path in v2, what v1 says when there is nothing), in the order in which Go writes them."""

_METRIC = ("metricName", "metric.name", "")
_SELECTOR = ("selector", "metric.selector", None)
_SOURCES: dict[str, Fields] = {
    "object": (
        ("target", "describedObject", None),
        _METRIC,
        ("targetValue", "target.value", ZERO),
        _SELECTOR,
        ("averageValue", "target.averageValue", None),
    ),
    "pods": (_METRIC, ("targetAverageValue", "target.averageValue", ZERO), _SELECTOR),
    "resource": (
        ("name", "name", ""),
        ("targetAverageUtilization", "target.averageUtilization", None),
        ("targetAverageValue", "target.averageValue", None),
    ),
    "containerResource": (
        ("name", "name", ""),
        ("targetAverageUtilization", "target.averageUtilization", None),
        ("targetAverageValue", "target.averageValue", None),
        ("container", "container", ""),
    ),
    "external": (
        _METRIC,
        ("metricSelector", "metric.selector", None),
        ("targetValue", "target.value", None),
        ("targetAverageValue", "target.averageValue", None),
    ),
}
_CURRENT: dict[str, Fields] = {
    "object": (
        ("target", "describedObject", None),
        _METRIC,
        ("currentValue", "current.value", ZERO),
        _SELECTOR,
        ("averageValue", "current.averageValue", None),
    ),
    "pods": (_METRIC, ("currentAverageValue", "current.averageValue", ZERO), _SELECTOR),
    "resource": (
        ("name", "name", ""),
        ("currentAverageUtilization", "current.averageUtilization", None),
        ("currentAverageValue", "current.averageValue", ZERO),
    ),
    "containerResource": (
        ("name", "name", ""),
        ("currentAverageUtilization", "current.averageUtilization", None),
        ("currentAverageValue", "current.averageValue", ZERO),
        ("container", "container", ""),
    ),
    "external": (
        _METRIC,
        ("metricSelector", "metric.selector", None),
        ("currentValue", "current.value", ZERO),
        ("currentAverageValue", "current.averageValue", None),
    ),
}


def _dig(obj: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj


def _older(metric: Object, tables: dict[str, Fields]) -> Object:
    """A metric in v1's form."""
    result: Object = {"type": metric.get("type", "")}
    for kind, fields in tables.items():
        if (source := metric.get(kind)) is not None:
            found = ((name, _dig(source, path), zero) for name, path, zero in fields)
            result[kind] = {
                name: zero if value is None else value for name, value, zero in found if (value, zero) != (None, None)
            }
    return result


def _newer(metric: Object, tables: dict[str, Fields]) -> Object:
    """A metric in v2's form."""
    result: Object = {"type": metric.get("type", "")}
    for kind, fields in tables.items():
        source = metric.get(kind)
        if not isinstance(source, dict):
            continue
        converted: Object = {}
        for name, path, zero in fields:
            value = source.get(name)
            if value is None or (value == zero == ZERO and tables is _SOURCES):
                continue  # a target of nothing is v1's way to say that there is none
            *parents, last = path.split(".")
            at = converted
            for part in parents:
                at = at.setdefault(part, {})
            at[last] = value
        if tables is _SOURCES:
            target = converted.setdefault("target", {})
            converted["target"] = {"type": _target_type(target), **target}
        result[kind] = converted
    return result


def _target_type(target: Object) -> str:
    if "averageUtilization" in target:
        return "Utilization"
    return "AverageValue" if "averageValue" in target else "Value"


def _renamed(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {change(key): _renamed(item, change) for key, item in value.items()}
    return [_renamed(item, change) for item in value] if isinstance(value, list) else value


def _go_name(name: str) -> str:
    return name[:1].upper() + name[1:]


def _json_name(name: str) -> str:
    return name[:1].lower() + name[1:]


def _is_cpu_share(metric: Object) -> bool:
    resource = metric.get("resource") or {}
    is_cpu = metric.get("type") == "Resource" and resource.get("name") == "cpu"
    return is_cpu and _dig(resource, "target.averageUtilization") is not None


def _part(obj: Object, field: str) -> Object:
    """The field itself, to be changed in place; an empty one of its own when there is none."""
    part = obj.get(field)
    return part if isinstance(part, dict) else {}


def _loads(text: Any, kind: type[Any]) -> Any:
    """What an annotation keeps; nothing when somebody else wrote it."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return kind()
    return value if isinstance(value, kind) else kind()


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def _kept(annotations: Object) -> Object:
    """What the annotations keep, in v2's form. Anybody may have written them: what v2 cannot hold is nothing."""
    kept = {name: annotations.pop(name) for name in ANNOTATIONS if name in annotations}
    if not kept:
        return {"spec": {}, "status": {}}
    spec: Object = {"metrics": [_newer(m, _SOURCES) for m in _loads(kept.get(METRICS, "[]"), list) if _is_object(m)]}
    if behavior := _loads(kept.get(BEHAVIOR, "{}"), dict):
        spec["behavior"] = _renamed(behavior, _json_name)
    status: Object = {"conditions": _loads(kept.get(CONDITIONS, "[]"), list)}
    if CURRENT_METRICS in kept:
        status["currentMetrics"] = [_newer(m, _CURRENT) for m in _loads(kept[CURRENT_METRICS], list) if _is_object(m)]
    identity = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    body = orjson.dumps({**identity, "spec": spec, "status": status})
    try:
        obj: Object = decode(body, "application/json", _V2, "Ignore").object
    except BadRequest:
        return {"spec": {}, "status": {}}
    return obj


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def to_stored(obj: Object) -> Object:
    obj["apiVersion"] = "autoscaling/v2"
    annotations = obj["metadata"].get("annotations") or {}
    spec, status = _part(obj, "spec"), _part(obj, "status")
    kept = _kept(annotations)
    metrics = kept["spec"].get("metrics") or []
    share = spec.pop("targetCPUUtilizationPercentage", None)
    if share is not None:
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": share}}
        metrics.append({"type": "Resource", "resource": cpu})
    if metrics:
        spec["metrics"] = metrics
    if behavior := kept["spec"].get("behavior"):
        spec["behavior"] = behavior
    current = status.pop("currentCPUUtilizationPercentage", None)
    if found := kept["status"].get("currentMetrics"):
        status["currentMetrics"] = found
    elif current is not None:
        cpu = {"name": "cpu", "current": {"averageUtilization": current}}
        status["currentMetrics"] = [{"type": "Resource", "resource": cpu}]
    if conditions := kept["status"].get("conditions"):
        status["conditions"] = conditions
    if status:
        obj["status"] = status
    if not annotations:
        obj["metadata"].pop("annotations", None)
    return obj


def to_served(obj: Object) -> Object:
    obj["apiVersion"] = "autoscaling/v1"
    spec, status = _part(obj, "spec"), _part(obj, "status")
    metrics, current = spec.pop("metrics", None) or [], status.pop("currentMetrics", None) or []
    kept: dict[str, str] = {}
    shares = [metric for metric in metrics if _is_cpu_share(metric)]
    if shares:
        spec["targetCPUUtilizationPercentage"] = shares[0]["resource"]["target"]["averageUtilization"]
    if others := [_older(metric, _SOURCES) for metric in metrics if not _is_cpu_share(metric)]:
        kept[METRICS] = _dumps(others)
    if current:
        kept[CURRENT_METRICS] = _dumps([_older(metric, _CURRENT) for metric in current])
    if behavior := spec.pop("behavior", None):
        kept[BEHAVIOR] = _dumps(_renamed(behavior, _go_name))
    for metric in current:
        share = _dig(metric, "resource.current.averageUtilization")
        if _dig(metric, "resource.name") == "cpu" and share is not None:
            status["currentCPUUtilizationPercentage"] = share
    for name in ("currentReplicas", "desiredReplicas"):
        status.setdefault(name, 0)
    if conditions := status.pop("conditions", None):
        kept[CONDITIONS] = _dumps(conditions)
    if kept:
        obj["metadata"]["annotations"] = (obj["metadata"].get("annotations") or {}) | kept
    return obj
