"""Jobs (upstream: pkg/apis/batch/validation). What pods' ends mean is in ``job_policy``, updates in ``job_update``."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, go_map, go_selector, label_selector, not_negative
from apiserver.resources.pods.validation import check_template
from apiserver.resources.validation.apps import MISMATCH
from apiserver.resources.validation.formats import domain_prefixed_path
from apiserver.resources.validation.job_policy import check_failure_policy, check_success_policy
from apiserver.types import Object
from common.api.names import is_dns1123_label
from common.api.selectors import label_selector_from
from common.api.status import invalid_value, not_supported, required, too_long

Spec = dict[str, Any]

MAX_PARALLELISM = MAX_FAILED_INDEXES = COMPLETIONS_SOFT_LIMIT = 100_000
LIMIT_FOR_MANY_COMPLETIONS = 10_000
MAX_MANAGED_BY = 63
MODES = ("NonIndexed", "Indexed")
_REPLACEMENT = ("Failed", "TerminatingOrFailed")


def check_job(obj: Object) -> Errors:
    return check_job_as(obj, prefixed=True)


def check_job_as(obj: Object, *, prefixed: bool) -> Errors:
    spec, name = obj.get("spec") or {}, (obj.get("metadata") or {}).get("name") or ""
    errors = _generated_selector(obj, spec, prefixed) + check_selected_job(spec)
    completions = spec.get("completions") or 0
    if spec.get("completionMode") == "Indexed" and completions > 0:
        hostname = f"{name}-{completions - 1}"
        if is_dns1123_label(hostname):
            detail = f"will not able to create pod with invalid DNS label: {hostname}"
            errors.append(invalid_value("metadata.name", name, detail))
    return errors


def _generated_selector(obj: Object, spec: Spec, prefixed: bool) -> Errors:
    selector = spec.get("selector")
    if spec.get("manualSelector") or selector is None:
        return []
    metadata = obj.get("metadata") or {}
    uid, name = metadata.get("uid") or "", metadata.get("name") or ""
    expected = {"controller-uid": uid, "job-name": name}
    if prefixed:
        expected |= {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    errors: Errors = []
    for key, value in expected.items():
        path = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            errors.append(required(path, f"must be '{value}'"))
        elif labels[key] != value:
            errors.append(invalid_value(path, go_map(labels), f"must be '{value}'"))
    if not label_selector(selector, "") and not label_selector_from(selector).matches(expected):
        errors.append(invalid_value("spec.selector", go_selector(selector), "`selector` not auto-generated"))
    return errors


def check_selected_job(spec: Spec) -> Errors:
    errors, selector = check_job_spec(spec, "spec"), spec.get("selector")
    broken = label_selector(selector, "spec.selector") if selector is not None else []
    errors += [required("spec.selector")] if selector is None else broken
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not broken and (selector is None or not label_selector_from(selector).matches(labels or {})):
        errors.append(invalid_value("spec.template.metadata.labels", go_map(labels), MISMATCH))
    return errors


def check_job_spec(spec: Spec, path: str) -> Errors:
    errors: Errors = []
    for field in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        errors += not_negative(spec, field, path)
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errors.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if (manager := spec.get("managedBy")) is not None:
        errors += domain_prefixed_path(manager, f"{path}.managedBy")
        if len(manager) > MAX_MANAGED_BY:
            errors.append(too_long(f"{path}.managedBy", MAX_MANAGED_BY))
    errors += _completion_mode(spec, path)
    if (policy := spec.get("podFailurePolicy")) is not None:
        errors += check_failure_policy(spec, policy, f"{path}.podFailurePolicy")
    if (policy := spec.get("successPolicy")) is not None:
        errors += check_success_policy(spec, policy, f"{path}.successPolicy")
    errors += _replacement(spec, f"{path}.podReplacementPolicy")
    template = spec.get("template") or {}
    return errors + check_template(template, f"{path}.template") + _restart_policy(spec, template, path)


def _completion_mode(spec: Spec, path: str) -> Errors:
    mode, completions, parallelism = (spec.get(f) for f in ("completionMode", "completions", "parallelism"))
    per_index, max_failed = spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes")
    errors: Errors = []
    if mode is not None and mode not in MODES:
        errors.append(not_supported(f"{path}.completionMode", mode, MODES))
    if mode == "Indexed":
        return errors + _indexed(path, completions, parallelism, per_index, max_failed)
    if mode in (None, "NonIndexed"):
        for field, value in (("backoffLimitPerIndex", per_index), ("maxFailedIndexes", max_failed)):
            if value is not None:
                errors.append(invalid_value(f"{path}.{field}", value, "requires indexed completion mode"))
    return errors


def _indexed(
    path: str, completions: int | None, parallelism: int | None, per_index: int | None, max_failed: int | None
) -> Errors:
    errors: Errors = []

    def at_most(field: str, value: int | None, limit: int, suffix: str = "") -> None:
        if value is not None and value > limit:
            detail = f"must be less than or equal to {limit}{suffix}"
            errors.append(invalid_value(f"{path}.{field}", value, detail))

    if completions is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    at_most("parallelism", parallelism, MAX_PARALLELISM, " when completion mode is Indexed")
    if completions is not None and max_failed is not None and max_failed > completions:
        detail = "must be less than or equal to completions"
        errors.append(invalid_value(f"{path}.maxFailedIndexes", max_failed, detail))
    at_most("maxFailedIndexes", max_failed, MAX_FAILED_INDEXES)
    if completions is not None and completions > COMPLETIONS_SOFT_LIMIT and per_index is not None:
        if max_failed is None:
            detail = f"must be specified when completions is above {COMPLETIONS_SOFT_LIMIT}"
            errors.append(required(f"{path}.maxFailedIndexes", detail))
        suffix = f" when completions are above {COMPLETIONS_SOFT_LIMIT} and used with backoff limit per index"
        at_most("parallelism", parallelism, LIMIT_FOR_MANY_COMPLETIONS, suffix)
        at_most("maxFailedIndexes", max_failed, LIMIT_FOR_MANY_COMPLETIONS, suffix)
    return errors


def _restart_policy(spec: Spec, template: Object, path: str) -> Errors:
    at, policy = f"{path}.template.spec.restartPolicy", (template.get("spec") or {}).get("restartPolicy")
    if policy in (None, "", "Always"):
        return [required(at, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [not_supported(at, policy, ("OnFailure", "Never"))]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        return [invalid_value(at, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []


def _replacement(spec: Spec, path: str) -> Errors:
    value = spec.get("podReplacementPolicy")
    allowed = ("Failed",) if spec.get("podFailurePolicy") is not None else _REPLACEMENT
    return [] if value is None or value in allowed else [not_supported(path, value, allowed)]
