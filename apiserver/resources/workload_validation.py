"""Validation of the kinds that make pods (upstream: pkg/apis/{apps,batch}/validation)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import (
    IMMUTABLE,
    Errors,
    at_most_100_percent,
    go_int_or_string,
    go_map,
    go_selector,
    int_or_percent,
    is_empty_selector,
    is_zero_share,
    label_selector,
    not_negative,
)
from apiserver.resources.pods.validation import check_template
from apiserver.types import Object
from common.api.selectors import label_selector_from, selector_of_map
from common.api.status import field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

_MISMATCH = "`selector` does not match template `labels`"
_STATEFUL_SET_FIELDS = (
    "replicas", "ordinals", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
_STATEFUL_SET_TEXT = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def check_deployment(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = not_negative(spec, "replicas", "spec") + _selected_template(spec, "deployment")
    errors += _deployment_strategy(spec.get("strategy") or {})
    for field in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        errors += not_negative(spec, field, "spec")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        errors.append(invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors


def _deployment_strategy(strategy: Spec) -> Errors:
    path, rolling = "spec.strategy", strategy.get("rollingUpdate")
    match strategy.get("type"):
        case "Recreate":
            detail = "may not be specified when strategy `type` is 'Recreate'"
            return [field_forbidden(f"{path}.rollingUpdate", detail)] if rolling is not None else []
        case "RollingUpdate":
            if rolling is None:
                return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
            return _shares(rolling, f"{path}.rollingUpdate")
    return [not_supported(f"{path}.type", strategy.get("type", ""), ("Recreate", "RollingUpdate"))]


def _shares(rolling: Spec, path: str) -> Errors:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    errors = int_or_percent(unavailable, f"{path}.maxUnavailable") + int_or_percent(surge, f"{path}.maxSurge")
    if is_zero_share(unavailable) and is_zero_share(surge):
        detail = "may not be 0 when `maxSurge` is 0"
        errors.append(invalid_value(f"{path}.maxUnavailable", go_int_or_string(unavailable), detail))
    return errors + at_most_100_percent(unavailable, f"{path}.maxUnavailable")


def check_replica_set(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = not_negative(spec, "replicas", "spec") + not_negative(spec, "minReadySeconds", "spec")
    return errors + _selected_template(spec, "replicaset")


def check_replication_controller(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = not_negative(spec, "minReadySeconds", "spec")
    selector, template = spec.get("selector"), spec.get("template")
    if not selector:
        errors.append(required("spec.selector"))
    errors += not_negative(spec, "replicas", "spec")
    if template is None:
        return [*errors, required("spec.template")]
    if selector:
        labels = (template.get("metadata") or {}).get("labels")
        if not selector_of_map(selector).matches(labels or {}):
            errors.append(invalid_value("spec.template.metadata.labels", go_map(labels), _MISMATCH))
    return errors + check_template(template, "spec.template") + _always_restarts(template)


def check_daemon_set(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = _selected_template(spec, "daemonset")
    errors += not_negative(spec, "minReadySeconds", "spec") + not_negative(spec, "revisionHistoryLimit", "spec")
    strategy = spec.get("updateStrategy") or {}
    path = "spec.updateStrategy"
    if strategy.get("type") not in ("RollingUpdate", "OnDelete"):
        errors.append(not_supported(f"{path}.type", strategy.get("type", ""), ("RollingUpdate", "OnDelete")))
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "RollingUpdate" and rolling is not None:
        unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        at = f"{path}.rollingUpdate"
        errors += int_or_percent(unavailable, f"{at}.maxUnavailable") + int_or_percent(surge, f"{at}.maxSurge")
        if is_zero_share(unavailable) and is_zero_share(surge):
            detail = "cannot be 0 when maxSurge is 0"
            errors.append(invalid_value(f"{at}.maxUnavailable", go_int_or_string(unavailable), detail))
    return errors


def check_stateful_set(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors: Errors = []
    policy = spec.get("podManagementPolicy")
    if policy not in ("OrderedReady", "Parallel"):
        detail = "must be 'OrderedReady' or 'Parallel'"
        errors.append(invalid_value("spec.podManagementPolicy", policy, detail))
    kind = (spec.get("updateStrategy") or {}).get("type")
    if kind not in ("OnDelete", "RollingUpdate"):
        errors.append(invalid_value("spec.updateStrategy", kind, "must be 'RollingUpdate' or 'OnDelete'"))
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    errors += not_negative(rolling, "partition", "spec.updateStrategy.rollingUpdate")
    errors += not_negative(spec, "replicas", "spec") + not_negative(spec, "minReadySeconds", "spec")
    return errors + _selected_template(spec, "statefulset")


def check_stateful_set_update(obj: Object, old: Object, subresource: str) -> Errors:
    if subresource == "status":
        return []
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    changed = [f for f in spec.keys() | before.keys() if spec.get(f) != before.get(f)]
    if any(field not in _STATEFUL_SET_FIELDS for field in changed):
        return [field_forbidden("spec", _STATEFUL_SET_TEXT)]
    return []


def _selected_template(spec: Spec, kind: str) -> Errors:
    """A selector that is there, is not empty and selects the template's pods; and the template itself."""
    selector, template = spec.get("selector"), spec.get("template") or {}
    errors: Errors = []
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        problems = label_selector(selector, "spec.selector")
        if is_empty_selector(selector):
            problems.append(
                invalid_value("spec.selector", go_selector(selector), f"empty selector is invalid for {kind}")
            )
        errors += problems
        if problems:
            selector = None
    if "template" not in spec and kind == "replicaset":
        return [*errors, required("spec.template")]
    labels = (template.get("metadata") or {}).get("labels")
    if selector is not None and not label_selector_from(selector).matches(labels or {}):
        errors.append(invalid_value("spec.template.metadata.labels", go_map(labels), _MISMATCH))
    return errors + check_template(template, "spec.template") + _always_restarts(template)


def _always_restarts(template: Object) -> Errors:
    spec = template.get("spec") or {}
    errors: Errors = []
    policy = spec.get("restartPolicy", "Always")
    if policy != "Always":
        errors.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        detail = "activeDeadlineSeconds in ReplicaSet is not Supported"
        errors.append(field_forbidden("spec.template.spec.activeDeadlineSeconds", detail))
    return errors


def check_selector_update(obj: Object, old: Object, subresource: str) -> Errors:
    """apps/v1 selectors never change."""
    selector, before = (o.get("spec", {}).get("selector") for o in (obj, old))
    if subresource == "status" or selector == before:
        return []
    return [invalid_value("spec.selector", go_selector(selector), IMMUTABLE)]


def check_pod_template(obj: Object) -> Errors:
    return check_template(obj.get("template") or {}, "template")


def check_controller_revision(obj: Object) -> Errors:
    errors = not_negative(obj, "revision", "")
    return [required("data", "data is mandatory"), *errors] if obj.get("data") is None else errors


def check_controller_revision_update(obj: Object, old: Object, subresource: str) -> Errors:
    return [] if obj.get("data") == old.get("data") else [invalid_value("data", obj.get("data"), IMMUTABLE)]


def check_job(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = _job_spec(spec, "spec")
    if spec.get("selector") is None:
        return [required("spec.selector"), *errors]
    if problems := label_selector(spec["selector"], "spec.selector"):
        return [*problems, *errors]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not label_selector_from(spec["selector"]).matches(labels or {}):
        errors.append(invalid_value("spec.template.metadata.labels", go_map(labels), _MISMATCH))
    return errors


def _job_spec(spec: Spec, path: str) -> Errors:
    errors: Errors = []
    for field in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        errors += not_negative(spec, field, path)
    mode = spec.get("completionMode")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        errors.append(not_supported(f"{path}.completionMode", mode, ("Indexed", "NonIndexed")))
    if mode == "Indexed" and spec.get("completions") is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    template = spec.get("template") or {}
    errors += check_template(template, f"{path}.template")
    policy = (template.get("spec") or {}).get("restartPolicy")
    at = f"{path}.template.spec.restartPolicy"
    if policy in (None, "", "Always"):
        errors.append(required(at, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        errors.append(not_supported(at, policy, ("OnFailure", "Never")))
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        errors.append(invalid_value(at, policy, detail))
    return errors


def check_job_update(obj: Object, old: Object, subresource: str) -> Errors:
    if subresource == "status":
        return []
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    errors = [
        invalid_value(f"spec.{field}", _shown(field, spec.get(field)), IMMUTABLE)
        for field in ("selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex")
        if spec.get(field) != before.get(field) and not (field == "template" and before.get("suspend"))
    ]
    if spec.get("completions") != before.get("completions") and spec.get("completionMode") != "Indexed":
        errors.append(invalid_value("spec.completions", spec.get("completions"), IMMUTABLE))
    return errors


def _shown(field: str, value: Any) -> Any:
    return go_selector(value) if field == "selector" else value


def check_cron_job(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors: Errors = []
    schedule = spec.get("schedule", "")
    if not schedule:
        errors.append(required("spec.schedule"))
    elif len(schedule.split()) != 5 and not schedule.startswith("@"):
        detail = f"expected exactly 5 fields, found {len(schedule.split())}: {schedule.split()}".replace("'", "")
        errors.append(invalid_value("spec.schedule", schedule, detail))
    policy = spec.get("concurrencyPolicy")
    if policy not in ("Allow", "Forbid", "Replace"):
        errors.append(not_supported("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace")))
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        errors += not_negative(spec, field, "spec")
    name = (obj.get("metadata") or {}).get("name", "")
    if len(name) > 52:
        errors.append(invalid_value("metadata.name", name, "must be no more than 52 characters"))
    return errors + _job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")
