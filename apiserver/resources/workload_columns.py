"""Printer columns of the kinds that make pods."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apiserver.resources.columns import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    cell,
    containers_columns,
    dig,
    human_duration,
    map_text,
    number,
    seconds_since,
    selector_text,
    since,
    text,
)
from apiserver.types import Column, Object

UNSET = "<unset>"
_TEMPLATE = containers_columns("spec", "template", "spec", "containers")
_SELECTOR = cell("Selector", lambda o: selector_text(dig(o, "spec", "selector")), priority=1)


def _of_desired(ready: str) -> Column:
    return cell("Ready", lambda o: f"{dig(o, 'status', ready) or 0}/{dig(o, 'spec', 'replicas') or 0}")


DEPLOYMENT = (
    NAME,
    _of_desired("readyReplicas"),
    cell("Up-to-date", lambda o: dig(o, "status", "updatedReplicas") or 0),
    cell("Available", lambda o: dig(o, "status", "availableReplicas") or 0),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)
_REPLICAS = (
    NAME,
    number("Desired", "spec", "replicas"),
    number("Current", "status", "replicas"),
    number("Ready", "status", "readyReplicas"),
    AGE,
    *_TEMPLATE,
)
REPLICA_SET = (*_REPLICAS, _SELECTOR)
REPLICATION_CONTROLLER = (*_REPLICAS, cell("Selector", lambda o: map_text(dig(o, "spec", "selector")), priority=1))
STATEFUL_SET = (NAME, _of_desired("readyReplicas"), AGE, *_TEMPLATE)
DAEMON_SET = (
    NAME,
    number("Desired", "status", "desiredNumberScheduled"),
    number("Current", "status", "currentNumberScheduled"),
    number("Ready", "status", "numberReady"),
    number("Up-to-date", "status", "updatedNumberScheduled"),
    number("Available", "status", "numberAvailable"),
    cell("Node Selector", lambda o: map_text(dig(o, "spec", "template", "spec", "nodeSelector"))),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)


def _controller(obj: Object) -> str:
    owner: Mapping[str, Any] | None = next(
        (o for o in dig(obj, "metadata", "ownerReferences") or () if o.get("controller")), None
    )
    if owner is None:
        return NONE
    group = str(owner.get("apiVersion", "")).rpartition("/")[0]
    kind = str(owner.get("kind", "")).lower()
    return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"


CONTROLLER_REVISION = (
    NAME,
    cell("Controller", _controller),
    cell("Revision", lambda o: o.get("revision", 0)),
    AGE,
)


def _job_status(job: Object) -> str:
    met = {c.get("type") for c in dig(job, "status", "conditions") or () if c.get("status") == "True"}
    for kind in ("Complete", "Failed"):
        if kind in met:
            return kind
    if dig(job, "metadata", "deletionTimestamp"):
        return "Terminating"
    return next((kind for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if kind in met), "Running")


def _completions(job: Object) -> str:
    succeeded = dig(job, "status", "succeeded") or 0
    wanted = dig(job, "spec", "completions")
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    parallelism = dig(job, "spec", "parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(job: Object) -> str:
    start, end = dig(job, "status", "startTime"), dig(job, "status", "completionTime")
    if not start:
        return ""
    return human_duration(seconds_since(start, datetime.fromisoformat(end) if end else None))


JOB = (
    NAME,
    cell("Status", _job_status),
    cell("Completions", _completions),
    cell("Duration", _duration),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)


def _suspend(job: Object) -> str:
    suspend = dig(job, "spec", "suspend")
    return UNSET if suspend is None else str(suspend)


def _last_schedule(job: Object) -> str:
    time = dig(job, "status", "lastScheduleTime")
    return since(time) if time else NONE


_JOB_SPEC = ("spec", "jobTemplate", "spec")
CRON_JOB = (
    NAME,
    text("Schedule", "spec", "schedule"),
    text("Timezone", "spec", "timeZone", empty=NONE),
    cell("Suspend", _suspend),
    cell("Active", lambda o: len(dig(o, "status", "active") or ()), type="integer"),
    cell("Last Schedule", _last_schedule),
    AGE,
    *containers_columns(*_JOB_SPEC, "template", "spec", "containers"),
    cell("Selector", lambda o: selector_text(dig(o, *_JOB_SPEC, "selector")), priority=1),
)


def _metric(spec: Mapping[str, Any], current: Mapping[str, Any] | None) -> str:
    kind = str(spec.get("type", ""))
    source = spec.get(kind[:1].lower() + kind[1:]) or {}
    now = dig(current, kind[:1].lower() + kind[1:], "current") or {}
    target = source.get("target") or {}
    prefix = f"{source.get('name')}: " if kind in ("Resource", "ContainerResource") else ""
    if "averageUtilization" in target:
        share = now.get("averageUtilization")
        return f"{prefix}{UNKNOWN if share is None else f'{share}%'}/{target['averageUtilization']}%"
    if "averageValue" in target:
        average = " (avg)" if kind in ("External", "Object") else ""
        return f"{prefix}{now.get('averageValue', UNKNOWN)}/{target['averageValue']}{average}"
    return f"{prefix}{now.get('value', UNKNOWN)}/{target.get('value', UNKNOWN)}"


_MAX_METRICS = 2


def _targets(hpa: Object) -> str:
    specs = dig(hpa, "spec", "metrics") or ()
    statuses = dig(hpa, "status", "currentMetrics") or ()
    shown = [_metric(spec, statuses[i] if i < len(statuses) else None) for i, spec in enumerate(specs)]
    if not shown:
        return NONE
    more = f" + {len(shown) - _MAX_METRICS} more..." if len(shown) > _MAX_METRICS else ""
    return ", ".join(shown[:_MAX_METRICS]) + more


def _reference(hpa: Object) -> str:
    return f"{dig(hpa, 'spec', 'scaleTargetRef', 'kind')}/{dig(hpa, 'spec', 'scaleTargetRef', 'name')}"


def _min_pods(hpa: Object) -> str:
    least = dig(hpa, "spec", "minReplicas")
    return UNSET if least is None else str(least)


AUTOSCALER = (
    NAME,
    cell("Reference", _reference),
    cell("Targets", _targets),
    cell("MinPods", _min_pods),
    cell("MaxPods", lambda o: dig(o, "spec", "maxReplicas") or 0),
    cell("Replicas", lambda o: dig(o, "status", "currentReplicas") or 0),
    AGE,
)


def _or_not_available(*path: str) -> Any:
    def shown(obj: Object) -> str:
        value = dig(obj, *path)
        return "N/A" if value is None else str(value)

    return shown


DISRUPTION_BUDGET = (
    NAME,
    cell("Min Available", _or_not_available("spec", "minAvailable")),
    cell("Max Unavailable", _or_not_available("spec", "maxUnavailable")),
    number("Allowed Disruptions", "status", "disruptionsAllowed"),
    AGE,
)
POD_TEMPLATE = (
    NAME,
    *(Column(c.name, c.type, c.cell) for c in containers_columns("template", "spec", "containers")),
    cell("Pod Labels", lambda o: map_text(dig(o, "template", "metadata", "labels"))),
)
