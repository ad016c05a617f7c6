"""Events, in the form of the core group, in which both groups' are stored (upstream: ValidateEventCreate)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import IMMUTABLE, Errors, texts
from apiserver.types import Object
from common.api.names import is_dns1123_subdomain, is_qualified_name
from common.api.status import invalid_value, required

_LIMITS = {"reportingInstance": 128, "action": 128, "reason": 128}
MAX_NOTE = 1024
_MISMATCH = "does not match event.namespace"
_FIXED = (
    "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "reason", "type",
    "eventTime", "action", "related", "reportingController", "reportingInstance",
)  # fmt: skip


def default_event(obj: Object) -> None:
    obj.setdefault("source", {})
    obj.setdefault("reportingComponent", "")
    obj.setdefault("reportingInstance", "")


def check_event(obj: Object) -> Errors:
    """What holds for every event. One with an eventTime is of the new kind, and says more."""
    about = (obj.get("involvedObject") or {}).get("namespace", "")
    namespace = (obj.get("metadata") or {}).get("namespace", "")
    path = "involvedObject.namespace"
    errors: Errors = []
    if not obj.get("eventTime"):
        if namespace != about if about else namespace not in ("", "default"):
            errors.append(invalid_value(path, about, _MISMATCH))
    else:
        if not about and namespace not in ("default", "kube-system"):
            errors.append(invalid_value(path, about, _MISMATCH))
        errors += _new_kind(obj)
    return errors + texts("namespace", namespace, is_dns1123_subdomain(namespace))


def _new_kind(obj: Object) -> Errors:
    controller = obj.get("reportingComponent", "")
    errors = [] if controller else [required("reportingController")]
    errors += texts("reportingController", controller, is_qualified_name(controller))
    for field, limit in _LIMITS.items():
        value = obj.get(field, "")
        if not value:
            errors.append(required(field))
        elif len(value.encode()) > limit:
            errors.append(invalid_value(field, "", f"can have at most {limit} characters"))
    if len((obj.get("message") or "").encode()) > MAX_NOTE:
        errors.append(invalid_value("message", "", f"can have at most {MAX_NOTE} characters"))
    return errors


def check_event_v1(obj: Object) -> Errors:
    """Of an event that is created by way of events.k8s.io/v1."""
    errors = check_event(obj) + _series(obj)
    if not obj.get("eventTime"):
        errors.append(required("eventTime"))
    kind = obj.get("type", "")
    if kind not in ("Normal", "Warning"):
        errors.append(invalid_value("type", "", f"has invalid value: {kind}"))
    for field in ("firstTimestamp", "lastTimestamp", "count", "source"):
        if obj.get(field):
            errors.append(invalid_value(field, "", "needs to be unset"))
    return errors


def _series(obj: Object) -> Errors:
    series = obj.get("series")
    if series is None:
        return []
    errors: Errors = []
    if series.get("count", 0) < 2:
        errors.append(invalid_value("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(required("series.lastObservedTime"))
    return errors


def check_event_update_v1(obj: Object, old: Object) -> Errors:
    """Nothing but the series changes."""
    errors = check_event(obj)
    if obj.get("series") != old.get("series"):
        errors += _series(obj)
    for field in _FIXED:
        stored = "reportingComponent" if field == "reportingController" else field
        new: Any = obj.get(stored)
        if new != old.get(stored):
            errors.append(invalid_value(field, new, IMMUTABLE))
    return errors
