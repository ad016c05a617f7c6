"""CronJobs (upstream: pkg/apis/batch/validation)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, go_selector, not_negative, texts
from apiserver.resources.validation.cron import ScheduleError, check_schedule, check_zone
from apiserver.resources.validation.job import check_job_spec
from apiserver.types import Object
from common.api.status import invalid_value, not_supported, required

Spec = dict[str, Any]

MAX_CRON_JOB_NAME = 52
"""A Job's name is its CronJob's and 11 characters."""
_CONCURRENCY = ("Allow", "Forbid", "Replace")


def check_cron_job(obj: Object) -> Errors:
    errors = _cron_job_spec(obj.get("spec") or {}, None)
    name = (obj.get("metadata") or {}).get("name", "")
    if len(name) > MAX_CRON_JOB_NAME:
        detail = f"must be no more than {MAX_CRON_JOB_NAME} characters"
        errors.append(invalid_value("metadata.name", name, detail))
    return errors


def check_cron_job_update(obj: Object, old: Object) -> Errors:
    return _cron_job_spec(obj.get("spec") or {}, old.get("spec") or {})


def _cron_job_spec(spec: Spec, before: Spec | None) -> Errors:
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    errors: Errors = []
    if not schedule:
        errors.append(required("spec.schedule"))
    else:
        errors += _schedule(schedule, zone, before is not None and "TZ" in (before.get("schedule") or ""))
    errors += not_negative(spec, "startingDeadlineSeconds", "spec")
    if zone is not None and (before is None or before.get("timeZone") != zone):
        errors += texts("spec.timeZone", zone, check_zone(zone))
    policy = spec.get("concurrencyPolicy")
    if not policy:
        errors.append(required("spec.concurrencyPolicy"))
    elif policy not in _CONCURRENCY:
        errors.append(not_supported("spec.concurrencyPolicy", policy, _CONCURRENCY))
    errors += _job_template((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")
    errors += not_negative(spec, "successfulJobsHistoryLimit", "spec")
    return errors + not_negative(spec, "failedJobsHistoryLimit", "spec")


def _schedule(schedule: str, zone: str | None, had_zone: bool) -> Errors:
    errors: Errors = []
    try:
        check_schedule(schedule)
    except ScheduleError as error:
        errors.append(invalid_value("spec.schedule", schedule, str(error)))
    detail = ""
    if "TZ" in schedule and not had_zone:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    elif "TZ" in schedule and zone is not None:
        detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
    return [*errors, invalid_value("spec.schedule", schedule, detail)] if detail else errors


def _job_template(spec: Spec, path: str) -> Errors:
    errors = check_job_spec(spec, path)
    if (selector := spec.get("selector")) is not None:
        detail = "`selector` will be auto-generated"
        errors.append(invalid_value(f"{path}.selector", go_selector(selector), detail))
    if spec.get("manualSelector"):
        errors.append(not_supported(f"{path}.manualSelector", True, ("nil", "false")))
    return errors
