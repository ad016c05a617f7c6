"""Resources that are stored in another version's form: HPAs of autoscaling/v1 and events of events.k8s.io/v1.

Each conversion goes there and back without loss: what one form has no field for is kept where upstream keeps it
(https://kubernetes.io/docs/reference/using-api/deprecation-policy/, rule 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from apiserver.endpoints import autoscalers
from apiserver.types import Object, Resource


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


_CONVERSIONS = {
    ("events.k8s.io", "v1", "events"): Conversion(_event_to_stored, _event_to_served),
    ("autoscaling", "v1", "horizontalpodautoscalers"): Conversion(autoscalers.to_stored, autoscalers.to_served),
}
