"""What of a Job may change (upstream: ValidateJobUpdate in pkg/apis/batch/validation)."""

from __future__ import annotations

from copy import copy
from typing import Any

from apiserver.resources.checks import IMMUTABLE, Errors, go_selector
from apiserver.resources.validation.job import check_job_as, check_selected_job
from apiserver.types import Object
from common.api.status import invalid_value

Spec = dict[str, Any]

PREFIXED = ("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
_FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_DIRECTIVES = ("nodeSelector", "tolerations", "schedulingGates")


def check_job_update(obj: Object, old: Object) -> Errors:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    had = ((before.get("template") or {}).get("metadata") or {}).get("labels") or {}
    # Upstream checks the spec as that of a new Job and as that of an update: its causes come twice.
    errors = check_job_as(obj, prefixed=all(label in had for label in PREFIXED)) + check_selected_job(spec)
    errors += _completions_update(spec, before)
    if spec.get("selector") != before.get("selector"):
        errors.append(invalid_value("spec.selector", go_selector(spec.get("selector")), IMMUTABLE))
    errors += _template_update(spec, before, (old.get("status") or {}).get("startTime") is None)
    for field in _FIXED:
        if spec.get(field) != before.get(field):
            errors.append(invalid_value(f"spec.{field}", spec.get(field), IMMUTABLE))
    return errors


def _completions_update(spec: Spec, before: Spec) -> Errors:
    completions = spec.get("completions")
    if completions == before.get("completions"):
        return []
    if spec.get("completionMode") != "Indexed":
        return [invalid_value("spec.completions", completions, IMMUTABLE)]
    if completions is None or completions == spec.get("parallelism"):
        return []
    return [invalid_value("spec.completions", completions, "can only be modified in tandem with spec.parallelism")]


def _template_update(spec: Spec, before: Spec, not_started: bool) -> Errors:
    """The template stays; of a suspended Job that never ran, what says where its pods go may change."""
    template, was = spec.get("template") or {}, before.get("template") or {}
    if before.get("suspend") and not_started:
        was = _with_directives(was, template)
    return [] if template == was else [invalid_value("spec.template", template, IMMUTABLE)]


def _with_directives(was: Object, template: Object) -> Object:
    was = copy(was)
    metadata, wanted = copy(was.get("metadata") or {}), template.get("metadata") or {}
    spec, new = copy(was.get("spec") or {}), template.get("spec") or {}
    _take(metadata, wanted, "labels", "annotations")
    _take(spec, new, *_DIRECTIVES)
    affinity = copy(spec.get("affinity") or {})
    _take(affinity, new.get("affinity") or {}, "nodeAffinity")
    if affinity or (spec.get("affinity") is not None and new.get("affinity") is not None) or "affinity" in new:
        spec["affinity"] = affinity
    else:
        spec.pop("affinity", None)
    was["spec"] = spec
    if metadata or "metadata" in template:
        was["metadata"] = metadata
    else:
        was.pop("metadata", None)
    return was


def _take(target: Object, source: Object, *fields: str) -> None:
    for field in fields:
        if field in source:
            target[field] = source[field]
        else:
            target.pop(field, None)
