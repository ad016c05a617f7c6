"""The reviews of authorization.k8s.io (upstream: pkg/apis/authorization/validation)."""

from __future__ import annotations

import json
from typing import Any

from apiserver.resources.checks import Errors, go_map
from apiserver.resources.validation.formats import go_struct
from apiserver.types import Object
from common.api.status import GoSyntax, invalid_value, required

Spec = dict[str, Any]


def check_subject_access_review(review: Object) -> Errors:
    return _subject(review) + _no_metadata(review, "must be empty")


def check_self_subject_access_review(review: Object) -> Errors:
    return _attributes(review.get("spec") or {}) + _no_metadata(review, "must be empty")


def check_local_subject_access_review(review: Object, namespace: str) -> Errors:
    spec = review.get("spec") or {}
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    errors = _subject(review) + _no_metadata(review, "must be empty except for namespace", "namespace")
    if resource is not None and (resource.get("namespace") or "") != namespace:
        value = resource.get("namespace") or ""
        errors.append(invalid_value("spec.resourceAttributes.namespace", value, "must match metadata.namespace"))
    if path is not None:
        shown = _go_path(path)
        errors.append(invalid_value("spec.nonResourceAttributes", shown, "disallowed on this kind of request"))
    return errors


def _subject(review: Object) -> Errors:
    spec = review.get("spec") or {}
    errors = _attributes(spec)
    if not spec.get("user") and not spec.get("groups"):
        errors.append(invalid_value("spec.user", "", "at least one of user or group must be specified"))
    return errors


def _attributes(spec: Spec) -> Errors:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    errors: Errors = []
    if resource is not None and path is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        errors.append(invalid_value("spec.nonResourceAttributes", _go_path(path), detail))
    if resource is None and path is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errors.append(invalid_value("spec.resourceAttributes", None, detail))
    for field in ("fieldSelector", "labelSelector"):
        if resource is not None and (selector := resource.get(field)) is not None:
            errors += _selector(selector, f"spec.resourceAttributes.{field}")
    return errors


def _selector(selector: Spec, path: str) -> Errors:
    raw, requirements = selector.get("rawSelector") or "", selector.get("requirements")
    if raw and requirements:
        detail = "may not specified at the same time as requirements"
        return [invalid_value(f"{path}.rawSelector", raw, detail)]
    if not raw and not requirements:
        detail = f"when {path} is specified, requirements or rawSelector is required"
        return [required(f"{path}.requirements", detail)]
    return []


def _go_path(path: Spec) -> GoSyntax:
    return go_struct("authorization.NonResourceAttributes", path, ("path", "verb"))


def _no_metadata(review: Object, detail: str, *allowed: str) -> Errors:
    metadata = {k: v for k, v in (review.get("metadata") or {}).items() if v and k != "managedFields"}
    if all(field in allowed for field in metadata):
        return []
    return [invalid_value("metadata", _go_metadata(metadata), detail)]


def _go_metadata(metadata: Spec) -> GoSyntax:
    """An ObjectMeta as Go prints it; of what a client may send, the names and labels."""

    def text(field: str) -> str:
        return json.dumps(metadata.get(field) or "")

    return GoSyntax(
        f"v1.ObjectMeta{{Name:{text('name')}, GenerateName:{text('generateName')}, Namespace:{text('namespace')}, "
        f'SelfLink:"", UID:{text("uid")}, ResourceVersion:{text("resourceVersion")}, '
        f"Generation:{metadata.get('generation') or 0}, "
        "CreationTimestamp:time.Date(1, time.January, 1, 0, 0, 0, 0, time.UTC), DeletionTimestamp:<nil>, "
        f"DeletionGracePeriodSeconds:(*int64)(nil), Labels:{go_map(metadata.get('labels'))}, "
        f"Annotations:{go_map(metadata.get('annotations'))}, OwnerReferences:[]v1.OwnerReference(nil), "
        "Finalizers:[]string(nil), ManagedFields:[]v1.ManagedFieldsEntry(nil)}"
    )
