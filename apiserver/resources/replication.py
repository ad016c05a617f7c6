"""ReplicationControllers and PodTemplates: defaults, preparation and validation.

Upstream: pkg/apis/core/v1/defaults.go, pkg/registry/core/{replicationcontroller,podtemplate}/strategy.go.
"""

from __future__ import annotations

from apiserver.resources.checks import Errors, go_map, not_negative
from apiserver.resources.pods.defaults import default_template
from apiserver.resources.pods.prepare import drop_disabled
from apiserver.resources.pods.validation import check_template
from apiserver.resources.pods.warnings import template_warnings
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Object
from common.api.names import is_dns1123_label
from common.api.selectors import selector_of_map
from common.api.status import field_forbidden, invalid_value, not_supported, required

_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")


def _template(obj: Object) -> Object:
    template: Object = (obj.get("spec") or {}).get("template") or {}
    return template


def default_controller(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    template = spec.get("template")
    labels = ((template or {}).get("metadata") or {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        metadata = obj.setdefault("metadata", {})
        if not metadata.get("labels"):
            metadata["labels"] = dict(labels)
    default_template(template)


def _prepare_controller(obj: Object) -> None:
    drop_disabled(_template(obj).get("spec") or {})


def _keep_controller(obj: Object, old: Object, subresource: str) -> None:
    if subresource == "":
        drop_disabled(_template(obj).get("spec") or {}, _template(old).get("spec"))


def check_controller(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = not_negative(spec, "minReadySeconds", "spec")
    selector, template = spec.get("selector"), spec.get("template")
    if not selector:
        errors.append(required("spec.selector"))
    errors += not_negative(spec, "replicas", "spec")
    if template is None:
        return [*errors, required("spec.template")]
    labels = (template.get("metadata") or {}).get("labels")
    if selector and not selector_of_map(selector).matches(labels or {}):
        detail = "`selector` does not match template `labels`"
        errors.append(invalid_value("spec.template.metadata.labels", go_map(labels), detail))
    errors += check_template(template, "spec.template")
    pod = template.get("spec") or {}
    if pod.get("restartPolicy") != "Always":
        errors.append(not_supported("spec.template.spec.restartPolicy", pod.get("restartPolicy", ""), ("Always",)))
    if pod.get("activeDeadlineSeconds") is not None:
        detail = "activeDeadlineSeconds in ReplicationController is not Supported"
        errors.append(field_forbidden("spec.template.spec.activeDeadlineSeconds", detail))
    return errors


def check_controller_status(obj: Object, old: Object) -> Errors:
    status = obj.get("status") or {}
    errors = [e for field in _COUNTS for e in not_negative(status, field, "status")]
    counts = {field: status.get(field, 0) for field in _COUNTS}
    for field in _COUNTS[1:4]:
        if counts[field] > counts["replicas"]:
            errors.append(invalid_value(f"status.{field}", counts[field], "cannot be greater than status.replicas"))
    if counts["availableReplicas"] > counts["readyReplicas"]:
        detail = "cannot be greater than readyReplicas"
        errors.append(invalid_value("status.availableReplicas", counts["availableReplicas"], detail))
    return errors


def controller_warnings(obj: Object) -> list[str]:
    found = []
    if problems := is_dns1123_label((obj.get("metadata") or {}).get("name") or ""):
        text = (
            "this is used in Pod names and hostnames, which can result in surprising behavior; "
            "a DNS label is recommended"
        )
        found.append(f"metadata.name: {text}: [{' '.join(problems)}]")
    return found + template_warnings(_template(obj), "spec.template")


REPLICATION_CONTROLLER = KindStrategy(
    status=True,
    zero_status={"replicas": 0},
    defaults=default_controller,
    on_create=_prepare_controller,
    on_update=_keep_controller,
    checks=check_controller,
    status_update=check_controller_status,
    warn=controller_warnings,
)


def _default_pod_template(obj: Object) -> None:
    default_template(obj.setdefault("template", {}))


def _prepare_pod_template(obj: Object) -> None:
    drop_disabled((obj.get("template") or {}).get("spec") or {})


def _keep_pod_template(obj: Object, old: Object, subresource: str) -> None:
    drop_disabled((obj.get("template") or {}).get("spec") or {}, (old.get("template") or {}).get("spec"))


POD_TEMPLATE = KindStrategy(
    defaults=_default_pod_template,
    on_create=_prepare_pod_template,
    on_update=_keep_pod_template,
    checks=lambda obj: check_template(obj.get("template") or {}, "template"),
    warn=lambda obj: template_warnings(obj.get("template"), "template"),
)
