"""What may change of a pod once it exists: hardly anything (upstream: ValidatePodUpdate)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors
from apiserver.resources.godiff import go_diff
from apiserver.resources.pods.annotations import check_annotation_update
from apiserver.resources.pods.placement import check_tolerations
from apiserver.resources.pods.validation import check_metadata_and_spec
from apiserver.types import Object
from common.api.status import GoSyntax, field_forbidden, invalid_value, required

Spec = dict[str, Any]

SPEC = "core.v1.PodSpec"
_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_MAX = 2**31 - 1


def check_pod_update(pod: Object, old: Object) -> Errors:
    errors: Errors = []
    spec, before = pod.get("spec") or {}, old.get("spec") or {}
    check_metadata_and_spec(errors, pod, spec)
    check_annotations_of_update(errors, pod, old, spec)
    if spec == before:
        return errors
    for kind in ("containers", "initContainers"):
        if _check_containers(errors, spec.get(kind) or [], before.get(kind) or [], f"spec.{kind}"):
            return errors
    if _check_deadline(errors, spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")):
        return errors
    _check_added_tolerations(errors, spec.get("tolerations") or [], before.get("tolerations") or [])
    _check_deleted_gates(errors, spec.get("schedulingGates") or [], before.get("schedulingGates") or [])
    same = _comparable(errors, spec, before)
    if same != before:
        errors.append(field_forbidden("spec", f"{_TEXT}\n{go_diff(SPEC, before, same)}"))
    return errors


def check_annotations_of_update(errors: Errors, pod: Object, old: Object, spec: Spec) -> None:
    new, was = ((o.get("metadata") or {}).get("annotations") or {} for o in (pod, old))
    if new or was:
        check_annotation_update(errors, new, was, spec, "metadata.annotations")


def _check_containers(errors: Errors, new: list[Spec], old: list[Spec], path: str) -> bool:
    """Whether there is no more to compare."""
    if len(new) != len(old):
        errors.append(field_forbidden(path, "pod updates may not add or remove containers"))
        return True
    for i, container in enumerate(new):
        image = container.get("image", "")
        if not image:
            errors.append(required(f"{path}[{i}].image"))
        if image.strip() != image:
            detail = "must not have leading or trailing whitespace"
            errors.append(invalid_value(f"{path}[{i}].image", image, detail))
    return False


def _check_deadline(errors: Errors, new: int | None, old: int | None) -> bool:
    path = "spec.activeDeadlineSeconds"
    if new is None:
        if old is not None:
            errors.append(invalid_value(path, None, "must not update from a positive integer to nil value"))
    elif not 0 <= new <= _MAX:
        errors.append(invalid_value(path, new, f"must be between 0 and {_MAX}, inclusive"))
        return True
    elif old is not None and old < new:
        errors.append(invalid_value(path, new, "must be less than or equal to previous value"))
        return True
    return False


def _check_added_tolerations(errors: Errors, new: list[Spec], old: list[Spec]) -> None:
    def identity(toleration: Spec) -> Spec:
        return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}

    now = [identity(t) for t in new]
    if not all(identity(t) in now for t in old):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        errors.append(field_forbidden("spec.tolerations", detail))
        return
    check_tolerations(errors, new, "spec.tolerations")


def _check_deleted_gates(errors: Errors, new: list[Spec], old: list[Spec]) -> None:
    had = {gate.get("name", "") for gate in old}
    for i, gate in enumerate(new):
        name = gate.get("name", "")
        if name not in had:
            detail = f"only deletion is allowed, but found new scheduling gate '{name}'"
            errors.append(field_forbidden(f"spec.schedulingGates[{i}].name", detail))


def put_back(spec: Spec, before: Spec, *fields: str) -> None:
    for field in fields:
        if field in before:
            spec[field] = before[field]
        else:
            spec.pop(field, None)


def _comparable(errors: Errors, spec: Spec, before: Spec) -> Spec:
    """The new spec with what may change put back."""
    same = dict(spec)
    for kind in ("containers", "initContainers"):
        if kind in spec:
            pairs = zip(spec[kind], before.get(kind) or (), strict=True)
            same[kind] = [{**new, "image": previous.get("image", "")} for new, previous in pairs]
    put_back(same, before, "activeDeadlineSeconds", "tolerations", "schedulingGates")
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        put_back(same, before, "terminationGracePeriodSeconds")
    if before.get("schedulingGates"):
        _compare_gated(errors, same, before)
    return same


def _compare_gated(errors: Errors, same: Spec, before: Spec) -> None:
    """A pod that waits at a gate may be directed to fewer nodes (KEP-3838)."""
    selector, had = same.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if selector != had:
        if any(selector.get(key) != value for key, value in had.items()):
            detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            errors.append(invalid_value("spec.nodeSelector", selector, detail))
        put_back(same, before, "nodeSelector")
    affinity, was = same.get("affinity"), before.get("affinity")
    node, old_node = (affinity or {}).get("nodeAffinity"), (was or {}).get("nodeAffinity")
    if node == old_node:
        return
    _check_node_affinity(errors, node, old_node)
    rest = {k: v for k, v in (affinity or {}).items() if k != "nodeAffinity"}
    if old_node is not None:
        same["affinity"] = {**rest, "nodeAffinity": old_node}
    elif was is None and not rest:
        same.pop("affinity", None)
    else:
        same["affinity"] = rest


def _check_node_affinity(errors: Errors, new: Spec | None, old: Spec | None) -> None:
    had = ((old or {}).get(_REQUIRED) or {}).get("nodeSelectorTerms") or []
    terms = ((new or {}).get(_REQUIRED) or {}).get("nodeSelectorTerms") or []
    path = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
    if had and len(had) != len(terms):
        detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        errors.append(invalid_value(path, GoSyntax(f"[]core.NodeSelectorTerm({len(terms)})"), detail))
        return
    for i, (was, term) in enumerate(zip(had, terms, strict=False)):
        if not _only_adds(term, was):
            detail = "only additions are allowed (no mutations or deletions)"
            errors.append(invalid_value(f"{path}[{i}]", term, detail))


def _only_adds(term: Spec, was: Spec) -> bool:
    if not was.get("matchExpressions") and not was.get("matchFields"):
        return not term.get("matchExpressions") and not term.get("matchFields")
    for field in ("matchExpressions", "matchFields"):
        had = was.get(field) or []
        if (term.get(field) or [])[: len(had)] != had:
            return False
    return True
