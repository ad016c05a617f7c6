"""The apps group (upstream: pkg/apis/apps/validation)."""

from __future__ import annotations

import json
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
    label_selector,
    labels,
    not_negative,
)
from apiserver.resources.pods.validation import check_template
from apiserver.types import Object
from common.api.selectors import label_selector_from
from common.api.status import GoSyntax, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

MISMATCH = "`selector` does not match template `labels`"
_RETENTION = ("Retain", "Delete")
_STATEFUL_SET_FIELDS = frozenset(
    {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
)
_STATEFUL_SET_TEXT = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def check_deployment(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = not_negative(spec, "replicas", "spec") + _selector(spec, "deployment", "invalid label selector")
    errors += _deployment_strategy(spec.get("strategy") or {})
    errors += not_negative(spec, "minReadySeconds", "spec") + not_negative(spec, "revisionHistoryLimit", "spec")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        errors += not_negative(spec, "progressDeadlineSeconds", "spec")
        if deadline <= spec.get("minReadySeconds", 0):
            detail = "must be greater than minReadySeconds"
            errors.append(invalid_value("spec.progressDeadlineSeconds", deadline, detail))
    return errors


def _deployment_strategy(strategy: Spec) -> Errors:
    path, rolling, kind = "spec.strategy", strategy.get("rollingUpdate"), strategy.get("type", "")
    if kind == "Recreate":
        detail = "may not be specified when strategy `type` is 'Recreate'"
        return [field_forbidden(f"{path}.rollingUpdate", detail)] if rolling is not None else []
    if kind == "RollingUpdate":
        if rolling is None:
            return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
        return _shares(rolling, f"{path}.rollingUpdate")
    return [not_supported(path, _go_strategy("Deployment", kind, rolling), ("Recreate", "RollingUpdate"))]


def _go_strategy(kind: str, type_: str, rolling: Spec | None) -> GoSyntax:
    # Go prints the address of what a pointer points at: that cannot be equal.
    pointee = f"RollingUpdate{kind}{'Strategy' if kind == 'StatefulSet' else ''}"
    shown = f"(*apps.{pointee})({'nil' if rolling is None else '0xc000000000'})"
    name = f"{kind}Strategy" if kind == "Deployment" else f"{kind}UpdateStrategy"
    return GoSyntax(f"apps.{name}{{Type:{json.dumps(type_)}, RollingUpdate:{shown}}}")


def _share(value: Any) -> int:
    """A count, or the number before the percent sign; 0 for what is neither."""
    if isinstance(value, str):
        number = value.removesuffix("%")
        return int(number) if number.isdecimal() else 0
    return int(value or 0)


def _shares(rolling: Spec, path: str) -> Errors:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    errors = int_or_percent(unavailable, f"{path}.maxUnavailable") + int_or_percent(surge, f"{path}.maxSurge")
    if _share(unavailable) == 0 and _share(surge) == 0:
        detail = "may not be 0 when `maxSurge` is 0"
        errors.append(invalid_value(f"{path}.maxUnavailable", go_int_or_string(unavailable), detail))
    return errors + at_most_100_percent(unavailable, f"{path}.maxUnavailable")


def check_replica_set(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = not_negative(spec, "replicas", "spec") + not_negative(spec, "minReadySeconds", "spec")
    # "deployment" is upstream's own slip.
    return errors + _selector(spec, "deployment", "invalid label selector")


def _selector(spec: Spec, kind: str, detail: str) -> Errors:
    """A selector that is there, is not empty and selects the template's pods; and the template itself."""
    selector = spec.get("selector")
    errors: Errors = []
    broken: Errors = []
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        broken = label_selector(selector, "spec.selector")
        errors += broken
        if is_empty_selector(selector):
            text = f"empty selector is invalid for {kind}"
            errors.append(invalid_value("spec.selector", go_selector(selector), text))
    if broken:
        return [*errors, invalid_value("spec.selector", go_selector(selector), detail)]
    template = spec.get("template") or {}
    if kind == "statefulset":
        return errors + _mismatch(selector, template) + _stateful_template(template)
    return (
        errors
        + _mismatch(selector, template)
        + check_template(template, "spec.template")
        + _always(template, "ReplicaSet")
    )


def _mismatch(selector: Spec | None, template: Object) -> Errors:
    """No selector selects nothing, an empty one everything."""
    found = (template.get("metadata") or {}).get("labels")
    if selector is not None and label_selector_from(selector).matches(found or {}):
        return []
    return [invalid_value("spec.template.metadata.labels", go_map(found), MISMATCH)]


def _stateful_template(template: Object) -> Errors:
    """Only the metadata is checked: the mounts may name claims that are still to be made."""
    return labels((template.get("metadata") or {}).get("labels"), "spec.template.labels")


def _always(template: Object, kind: str) -> Errors:
    spec = template.get("spec") or {}
    errors: Errors = []
    policy = spec.get("restartPolicy", "Always")
    if policy != "Always":
        errors.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        detail = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(field_forbidden("spec.template.spec.activeDeadlineSeconds", detail))
    return errors


def check_daemon_set(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    template, selector = spec.get("template") or {}, spec.get("selector")
    errors = label_selector(selector, "spec.selector")
    if not errors:
        errors = _mismatch(selector, template)
    if selector is not None and is_empty_selector(selector):
        errors.append(invalid_value("spec.selector", go_selector(selector), "empty selector is invalid for daemonset"))
    errors += check_template(template, "spec.template") + _always(template, "DaemonSet")
    errors += not_negative(spec, "minReadySeconds", "spec")
    errors += _daemon_set_strategy(spec.get("updateStrategy") or {})
    return errors + not_negative(spec, "revisionHistoryLimit", "spec")


def _daemon_set_strategy(strategy: Spec) -> Errors:
    path, kind, rolling = "spec.updateStrategy", strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [not_supported(path, _go_strategy("DaemonSet", kind, rolling), ("RollingUpdate", "OnDelete"))]
    path = f"{path}.rollingUpdate"
    if rolling is None:
        return [required(path)]
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    errors = int_or_percent(unavailable, f"{path}.maxUnavailable") + int_or_percent(surge, f"{path}.maxSurge")
    errors += at_most_100_percent(unavailable, f"{path}.maxUnavailable")
    errors += at_most_100_percent(surge, f"{path}.maxSurge")
    if _share(unavailable) and _share(surge):
        detail = "may not be set when maxUnavailable is non-zero"
        errors.append(invalid_value(f"{path}.maxSurge", go_int_or_string(surge), detail))
    elif not _share(unavailable) and not _share(surge):
        errors.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return errors


def check_stateful_set(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors: Errors = []
    policy = spec.get("podManagementPolicy")
    if policy not in ("OrderedReady", "Parallel"):
        detail = "must be 'OrderedReady' or 'Parallel'"
        errors.append(invalid_value("spec.podManagementPolicy", policy, detail))
    errors += _stateful_set_strategy(spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy")
    for when in ("whenDeleted", "whenScaled"):
        value = "Retain" if retention is None else retention.get(when, "")
        if value not in _RETENTION:
            errors.append(not_supported(f"spec.persistentVolumeClaimRetentionPolicy.{when}", value, _RETENTION))
    errors += not_negative(spec, "replicas", "spec") + not_negative(spec, "minReadySeconds", "spec")
    if (ordinals := spec.get("ordinals")) is not None:
        errors += not_negative(ordinals, "start", "spec.ordinals")
    return errors + _selector(spec, "statefulset", "") + _always(spec.get("template") or {}, "StatefulSet")


def _stateful_set_strategy(strategy: Spec) -> Errors:
    path, kind, rolling = "spec.updateStrategy", strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        if rolling is None:
            return []
        shown = GoSyntax(
            f"apps.RollingUpdateStatefulSetStrategy{{Partition:{rolling.get('partition', 0)}, "
            "MaxUnavailable:(*intstr.IntOrString)(nil)}"
        )
        return [invalid_value(f"{path}.rollingUpdate", shown, "only allowed for updateStrategy 'RollingUpdate'")]
    if kind == "RollingUpdate":
        return not_negative(rolling or {}, "partition", f"{path}.rollingUpdate")
    detail = "must be 'RollingUpdate' or 'OnDelete'"
    return [invalid_value(path, _go_strategy("StatefulSet", kind, rolling), detail)]


def check_stateful_set_update(obj: Object, old: Object) -> Errors:
    errors = check_stateful_set(obj)
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if any(spec.get(f) != before.get(f) for f in (spec.keys() | before.keys()) - _STATEFUL_SET_FIELDS):
        errors.append(field_forbidden("spec", _STATEFUL_SET_TEXT))
    return errors


def check_selector_update(obj: Object, old: Object, subresource: str) -> Errors:
    """apps/v1 selectors never change. For /status the spec is the old one anyway."""
    selector, before = (o.get("spec", {}).get("selector") for o in (obj, old))
    if subresource == "status" or selector == before:
        return []
    return [invalid_value("spec.selector", go_selector(selector), IMMUTABLE)]


def check_controller_revision(obj: Object) -> Errors:
    errors = not_negative(obj, "revision", "")
    return [required("data", "data is mandatory"), *errors] if obj.get("data") is None else errors


def check_controller_revision_update(obj: Object, old: Object) -> Errors:
    errors = check_controller_revision(obj)
    if obj.get("data") != old.get("data"):
        errors.append(invalid_value("data", obj.get("data"), IMMUTABLE))
    return errors


# ---- status -------------------------------------------------------------------------------------------------------

_MORE = "cannot be greater than status.replicas"
_MORE_THAN_READY = "cannot be greater than readyReplicas"


def _counts(status: Spec, *fields: str) -> Errors:
    return [error for field in fields for error in not_negative(status, field, "status")]


def _at_most(status: Spec, limit: str, detail: str, *fields: str) -> Errors:
    most = status.get(limit) or 0
    return [invalid_value(f"status.{f}", status.get(f) or 0, detail) for f in fields if (status.get(f) or 0) > most]


def _collisions(status: Spec, old: Object) -> Errors:
    before = (old.get("status") or {}).get("collisionCount")
    if before is None or (status.get("collisionCount") is not None and status["collisionCount"] >= before):
        return []
    return [invalid_value("status.collisionCount", status.get("collisionCount") or 0, "cannot be decremented")]


def check_deployment_status(obj: Object, old: Object) -> Errors:
    status = obj.get("status") or {}
    errors = _counts(
        status,
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    )
    errors += _at_most(status, "replicas", _MORE, "updatedReplicas", "readyReplicas", "availableReplicas")
    errors += _at_most(status, "readyReplicas", _MORE_THAN_READY, "availableReplicas")
    return errors + _collisions(status, old)


def check_replica_set_status(obj: Object, old: Object) -> Errors:
    """ReplicaSet; a ReplicationController's is the same."""
    status = obj.get("status") or {}
    errors = _counts(
        status, "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"
    )
    errors += _at_most(status, "replicas", _MORE, "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    return errors + _at_most(status, "readyReplicas", _MORE_THAN_READY, "availableReplicas")


def check_stateful_set_status(obj: Object, old: Object) -> Errors:
    status = obj.get("status") or {}
    errors = _counts(
        status,
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    )
    fields = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    errors += _at_most(status, "replicas", _MORE, *fields)
    errors += _at_most(status, "readyReplicas", "cannot be greater than status.readyReplicas", "availableReplicas")
    return errors + _collisions(status, old)


def check_daemon_set_status(obj: Object, old: Object) -> Errors:
    status = obj.get("status") or {}
    errors = _counts(
        status,
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    )
    return errors + _collisions(status, old)
