"""What the status of a Job may say (upstream: ValidateJobStatusUpdate, and getStatusValidationOptions of its strategy).

Since spec.managedBy lets others than the Job controller write it, a status that says what cannot be is refused. Most
rules are asked only when what they are about has changed, so that an object of an earlier server stays writable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apiserver.resources.checks import IMMUTABLE, Errors, not_negative
from apiserver.resources.validation.formats import go_time
from apiserver.resources.validation.indexes import IndexesError, overlap, parse_indexes
from apiserver.types import Object
from common.api.status import OMITTED, GoSyntax, duplicate, invalid_value, required

Spec = dict[str, Any]
CONDITIONS = "status.conditions"


def _is(status: Spec, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def _condition(detail: str) -> Errors:
    return [invalid_value(CONDITIONS, OMITTED, detail)]


def check_job_status(obj: Object, old: Object) -> Errors:
    spec, status, before = obj.get("spec") or {}, obj.get("status") or {}, old.get("status") or {}
    errors = _counts(status)
    errors += _conditions(status, before)
    errors += _times(status, before)
    errors += _ends(status, before)
    errors += _indexes(spec, status, before)
    errors += _pods(status, before)
    errors += _criteria(spec, status)
    return errors + _changes(spec, status, before)


def _counts(status: Spec) -> Errors:
    errors: Errors = []
    for field in ("active", "succeeded", "failed", "ready", "terminating"):
        errors += not_negative(status, field, "status")
    uncounted, seen = status.get("uncountedTerminatedPods") or {}, set()
    for field in ("succeeded", "failed"):
        for i, uid in enumerate(uncounted.get(field) or ()):
            path = f"status.uncountedTerminatedPods.{field}[{i}]"
            if not uid:
                errors.append(invalid_value(path, uid, "must not be empty"))
            elif uid in seen:
                errors.append(duplicate(path, uid))
            seen.add(uid)
    return errors


def _changed(status: Spec, before: Spec, kind: str) -> bool:
    return _is(status, kind) != _is(before, kind)


def _finished(status: Spec) -> bool:
    return _is(status, "Complete") or _is(status, "Failed")


def _finish_changed(status: Spec, before: Spec) -> bool:
    return _changed(status, before, "Complete") or _changed(status, before, "Failed")


def _conditions(status: Spec, before: Spec) -> Errors:
    errors: Errors = []
    complete = _changed(status, before, "Complete")
    if (complete or _changed(status, before, "Failed")) and _is(status, "Complete") and _is(status, "Failed"):
        errors += _condition("cannot set Complete=True and Failed=true conditions")
    target = _changed(status, before, "FailureTarget")
    if (complete or target) and _is(status, "Complete") and _is(status, "FailureTarget"):
        errors += _condition("cannot set Complete=True and FailureTarget=true conditions")
    return errors


def _times(status: Spec, before: Spec) -> Errors:
    start, end, complete = status.get("startTime"), status.get("completionTime"), _is(status, "Complete")
    end_changed = end != before.get("completionTime")
    errors: Errors = []
    if _changed(status, before, "Complete") or end_changed:
        if end is not None and not complete:
            detail = "cannot set completionTime when there is no Complete=True condition"
            errors.append(invalid_value("status.completionTime", go_time(end), detail))
        if end is None and complete:
            errors.append(required("status.completionTime", "completionTime is required for Complete jobs"))
    if (end_changed or start != before.get("startTime")) and start is not None and end is not None and end < start:
        detail = "must be equal to or after `startTime`"
        errors.append(invalid_value("status.completionTime", go_time(end), detail))
    return errors


def _ends(status: Spec, before: Spec) -> Errors:
    errors: Errors = []
    target = _changed(status, before, "FailureTarget")
    if (target or _changed(status, before, "Failed")) and _is(status, "Failed") and not _is(status, "FailureTarget"):
        errors += _condition("cannot set Failed=True condition without the FailureTarget=true condition")
    criteria = _changed(status, before, "SuccessCriteriaMet")
    if (
        (criteria or _changed(status, before, "Complete"))
        and _is(status, "Complete")
        and not _is(status, "SuccessCriteriaMet")
    ):
        errors += _condition("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    finish = _finish_changed(status, before)
    if not _finished(status):
        return errors
    active = status.get("active") or 0
    if (finish or active != (before.get("active") or 0)) and active > 0:
        errors.append(invalid_value("status.active", active, "active>0 is invalid for finished job"))
    if (finish or status.get("startTime") != before.get("startTime")) and status.get("startTime") is None:
        errors.append(required("status.startTime", "startTime is required for finished job"))
    uncounted = status.get("uncountedTerminatedPods") or {}
    if (finish or uncounted != (before.get("uncountedTerminatedPods") or {})) and any(uncounted.values()):
        detail = "must be empty for finished job"
        errors.append(invalid_value("status.uncountedTerminatedPods", _go_uncounted(uncounted), detail))
    return errors


def _go_uncounted(uncounted: Mapping[str, list[str]]) -> GoSyntax:
    def uids(field: str) -> str:
        values = uncounted.get(field)
        if values is None:
            return "[]types.UID(nil)"
        return "[]types.UID{" + ", ".join(f'"{v}"' for v in values) + "}"

    return GoSyntax(f"batch.UncountedTerminatedPods{{Succeeded:{uids('succeeded')}, Failed:{uids('failed')}}}")


def _indexes(spec: Spec, status: Spec, before: Spec) -> Errors:
    completed, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    completed_changed = completed != (before.get("completedIndexes") or "")
    failed_changed = failed != before.get("failedIndexes")
    completions, per_index = spec.get("completions"), spec.get("backoffLimitPerIndex")
    errors: Errors = []
    if completed_changed and completions is not None:
        errors += _format("completedIndexes", completed, completions)
    if failed_changed and completions is not None and per_index is not None and failed is not None:
        errors += _format("failedIndexes", failed, completions)
    if completed_changed and completed and spec.get("completionMode") != "Indexed":
        detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
        errors.append(invalid_value("status.completedIndexes", completed, detail))
    if failed_changed and per_index is None and failed is not None:
        detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        errors.append(invalid_value("status.failedIndexes", failed, detail))
    if (completed_changed or failed_changed) and completions is not None and failed is not None:
        index = overlap(completed, failed, completions)
        if index is not None:
            detail = f"failedIndexes and completedIndexes overlap at index: {index}"
            errors.append(invalid_value("status.failedIndexes", failed, detail))
    return errors


def _format(field: str, text: str, completions: int) -> Errors:
    try:
        parse_indexes(text, completions)
    except IndexesError as error:
        return [invalid_value(f"status.{field}", text, f"error parsing {field}: {error}")]
    return []


def _pods(status: Spec, before: Spec) -> Errors:
    terminating, ready, active = status.get("terminating") or 0, status.get("ready"), status.get("active") or 0
    errors: Errors = []
    changed = _finish_changed(status, before) or terminating != (before.get("terminating") or 0)
    if changed and terminating > 0 and _finished(status):
        errors.append(invalid_value("status.terminating", terminating, "terminating>0 is invalid for finished job"))
    changed = ready != before.get("ready") or active != (before.get("active") or 0)
    if changed and ready is not None and ready > active:
        errors.append(invalid_value("status.ready", ready, "cannot set more ready pods than active"))
    return errors


def _criteria(spec: Spec, status: Spec) -> Errors:
    met = _is(status, "SuccessCriteriaMet")
    errors: Errors = []
    if met and _is(status, "Failed"):
        errors += _condition("cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if met and _is(status, "FailureTarget"):
        errors += _condition("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if spec.get("successPolicy") is not None and not met and _is(status, "Complete"):
        errors += _condition("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
    return errors


def _changes(spec: Spec, status: Spec, before: Spec) -> Errors:
    errors: Errors = []
    for kind in ("Failed", "Complete", "FailureTarget"):
        if _is(before, kind) and not _is(status, kind):
            errors += _condition(f"cannot disable the terminal {kind}=True condition")
    scalable = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for field in ("failed", "succeeded"):
        now = status.get(field) or 0
        if now < (before.get(field) or 0) and not (field == "succeeded" and scalable):
            errors.append(invalid_value(f"status.{field}", now, f"cannot decrease the {field} counter"))
    end, was = status.get("completionTime"), before.get("completionTime")
    if end is not None and was is not None and end != was:
        errors.append(invalid_value("status.completionTime", go_time(end), IMMUTABLE))
    start, was = status.get("startTime"), before.get("startTime")
    if was is not None and start != was and not spec.get("suspend"):
        errors.append(required("status.startTime", "startTime cannot be removed for unsuspended job"))
    if _is(before, "SuccessCriteriaMet") and not _is(status, "SuccessCriteriaMet"):
        errors += _condition("cannot disable the SuccessCriteriaMet=True condition")
    if _is(before, "Complete") and not _is(before, "SuccessCriteriaMet") and _is(status, "SuccessCriteriaMet"):
        errors += _condition("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
    return errors
