"""Validation of the core kinds that make pods: ReplicationController and PodTemplate."""

from __future__ import annotations

from apiserver.resources.checks import Errors, go_map, not_negative
from apiserver.resources.pods.validation import check_template
from apiserver.types import Object
from common.api.selectors import selector_of_map
from common.api.status import field_forbidden, invalid_value, not_supported, required

_MISMATCH = "`selector` does not match template `labels`"


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


def check_pod_template(obj: Object) -> Errors:
    return check_template(obj.get("template") or {}, "template")
