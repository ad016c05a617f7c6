"""Resources that are stored in another version's form: HPAs of autoscaling/v1 and events of events.k8s.io/v1.

Each conversion goes there and back without loss: what one form has no field for is kept where upstream keeps it
(https://kubernetes.io/docs/reference/using-api/deprecation-policy/, rule 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from apiserver.types import Object, Resource

METRICS_ANNOTATION = "autoscaling.alpha.kubernetes.io/metrics"
BEHAVIOR_ANNOTATION = "autoscaling.alpha.kubernetes.io/behavior"
CONDITIONS_ANNOTATION = "autoscaling.alpha.kubernetes.io/conditions"


@dataclass(frozen=True)
class Conversion:
    """Functions between the served and the stored form. They may change what they are given."""

    to_stored: Callable[[Object], Object]
    to_served: Callable[[Object], Object]


def conversion_of(resource: Resource) -> Conversion | None:
    """None for a resource that is stored as it is served."""
    return _CONVERSIONS.get((resource.group, resource.version, resource.plural)) if resource.stored_as else None


_TO_EVENTS_V1 = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_TO_CORE_EVENT = {new: old for old, new in _TO_EVENTS_V1.items()}


def _event_to_stored(obj: Object) -> Object:
    renamed = {_TO_CORE_EVENT.get(key, key): value for key, value in obj.items()} | {"apiVersion": "v1"}
    series = renamed.get("series")
    if isinstance(series, dict):
        renamed["series"] = {k: v for k, v in series.items() if k in ("count", "lastObservedTime")}
    return renamed


def _event_to_served(obj: Object) -> Object:
    return {_TO_EVENTS_V1.get(key, key): value for key, value in obj.items()} | {"apiVersion": "events.k8s.io/v1"}


def _is_cpu_utilization(metric: dict[str, Any]) -> bool:
    resource = metric.get("resource") or {}
    return resource.get("name") == "cpu" and (resource.get("target") or {}).get("type") == "Utilization"


def _hpa_to_stored(obj: Object) -> Object:
    obj["apiVersion"] = "autoscaling/v2"
    annotations = obj["metadata"].get("annotations") or {}
    spec, status = _part(obj, "spec"), _part(obj, "status")
    metrics: list[dict[str, Any]] = []
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}
        metrics.append({"type": "Resource", "resource": cpu})
    if kept := annotations.pop(METRICS_ANNOTATION, None):
        metrics += _loads(kept, list)
    if metrics:
        spec["metrics"] = metrics
    if kept := annotations.pop(BEHAVIOR_ANNOTATION, None):
        spec["behavior"] = _loads(kept, dict)
    current = status.pop("currentCPUUtilizationPercentage", None)
    if current is not None:
        cpu = {"name": "cpu", "current": {"averageUtilization": current}}
        status["currentMetrics"] = [{"type": "Resource", "resource": cpu}]
    if kept := annotations.pop(CONDITIONS_ANNOTATION, None):
        status["conditions"] = _loads(kept, list)
    if status:
        obj["status"] = status
    if not annotations:
        obj["metadata"].pop("annotations", None)
    return obj


def _hpa_to_served(obj: Object) -> Object:
    obj["apiVersion"] = "autoscaling/v1"
    spec, status = _part(obj, "spec"), _part(obj, "status")
    kept: dict[str, str] = {}
    others = []
    for metric in spec.pop("metrics", None) or []:
        if _is_cpu_utilization(metric) and "targetCPUUtilizationPercentage" not in spec:
            spec["targetCPUUtilizationPercentage"] = metric["resource"]["target"].get("averageUtilization")
        else:
            others.append(metric)
    if others:
        kept[METRICS_ANNOTATION] = orjson.dumps(others).decode()
    if behavior := spec.pop("behavior", None):
        kept[BEHAVIOR_ANNOTATION] = orjson.dumps(behavior).decode()
    for metric in status.pop("currentMetrics", None) or []:
        resource = metric.get("resource") or {}
        if resource.get("name") == "cpu" and "averageUtilization" in (resource.get("current") or {}):
            status["currentCPUUtilizationPercentage"] = resource["current"]["averageUtilization"]
    for name in ("currentReplicas", "desiredReplicas"):
        status.setdefault(name, 0)
    if conditions := status.pop("conditions", None):
        kept[CONDITIONS_ANNOTATION] = orjson.dumps(conditions).decode()
    if kept:
        obj["metadata"]["annotations"] = (obj["metadata"].get("annotations") or {}) | kept
    return obj


def _part(obj: Object, field: str) -> Object:
    """The field itself, to be changed in place; an empty one of its own when there is none."""
    part = obj.get(field)
    return part if isinstance(part, dict) else {}


def _loads(text: str, kind: type[Any]) -> Any:
    """What an annotation keeps; nothing when somebody else wrote it."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return kind()
    return value if isinstance(value, kind) else kind()


_CONVERSIONS = {
    ("events.k8s.io", "v1", "events"): Conversion(_event_to_stored, _event_to_served),
    ("autoscaling", "v1", "horizontalpodautoscalers"): Conversion(_hpa_to_stored, _hpa_to_served),
}
