"""What is true of the metadata of every object: what the server fills in, what may not change, what is valid.

Upstream: apimachinery/pkg/api/validation/objectmeta.go and apiserver/pkg/registry/rest. Texts are upstream's.
"""

from __future__ import annotations

import random
from typing import Any

from apiserver.types import Object, Resource
from common.api.names import is_dns1123_label, is_dns1123_subdomain, is_label_value, is_qualified_name
from common.api.status import (
    BadRequest,
    FieldError,
    field_forbidden,
    invalid_value,
    required,
)
from common.api.time import now_text
from common.api.uid import new_uid

MAX_ANNOTATIONS = 256 * 1024
MAX_ERRORS = 1000
"""Of one map: a body holds a hundred thousand wrong keys, and nobody reads what is wrong with each."""
SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
MAX_GENERATED = 63
STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def check_namespace(obj: Object, resource: Resource, namespace: str) -> None:
    """The object's namespace must be the URL's; it is filled in when the object names none."""
    metadata = obj.setdefault("metadata", {})
    if not resource.namespaced:
        namespace = ""
    given = metadata.get("namespace") or ""
    if not given:
        if namespace:
            metadata["namespace"] = namespace
        else:
            metadata.pop("namespace", None)
    elif given != namespace:
        if not resource.namespaced:
            raise BadRequest("namespace: Forbidden: not allowed on this type")
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")


def generate_name(base: str) -> str:
    suffix = "".join(random.choices(SUFFIX_LETTERS, k=5))
    return base[: MAX_GENERATED - len(suffix)] + suffix


def fill_for_create(obj: Object, resource: Resource) -> None:
    """The fields that only the server sets."""
    metadata = obj["metadata"]
    for field in ("resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(field, None)
    if metadata.get("generateName") and not metadata.get("name"):
        metadata["name"] = generate_name(metadata["generateName"])
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = now_text()
    if resource.has_generation:
        metadata["generation"] = 1


def carry_over(obj: Object, old: Object, resource: Resource, subresource: str) -> None:
    """What a client cannot change is as it was, whatever the client sent. (Upstream: rest.BeforeUpdate. That an object
    which is not being deleted says it is, is for validation to refuse.)"""
    metadata, before = obj["metadata"], old["metadata"]
    fixed = ["uid", "creationTimestamp", "generation"]
    if "deletionTimestamp" in before:
        fixed.append("deletionTimestamp")
    if "deletionGracePeriodSeconds" not in metadata:
        fixed.append("deletionGracePeriodSeconds")
    if subresource == "status":
        fixed.append("ownerReferences")
    for field in fixed:
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    metadata.pop("selfLink", None)
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        if field in metadata and not metadata[field]:
            del metadata[field]


def raise_generation(obj: Object, old: Object, resource: Resource) -> None:
    """metadata.generation counts the changes of what is wanted, not of what is."""
    if not resource.has_generation:
        return
    ignored = ("metadata", "status")
    wanted = {k: v for k, v in obj.items() if k not in ignored}
    before = {k: v for k, v in old.items() if k not in ignored}
    if wanted != before:
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def validate(obj: Object, resource: Resource) -> list[FieldError]:
    """Of an object to be created."""
    metadata = obj["metadata"]
    errors: list[FieldError] = []
    name = metadata.get("name") or ""
    check = resource.name_validation or is_dns1123_subdomain
    if base := metadata.get("generateName"):
        errors += [invalid_value("metadata.generateName", base, text) for text in check(_completed(base))]
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [invalid_value("metadata.name", name, text) for text in check(name)]
    if resource.namespaced:
        namespace = metadata.get("namespace") or ""
        if not namespace:
            errors.append(required("metadata.namespace"))
        else:
            errors += [invalid_value("metadata.namespace", namespace, text) for text in is_dns1123_label(namespace)]
    return errors + validate_common(metadata)


def _completed(base: str) -> str:
    """A prefix as what it may become: what is to be completed may end with a dash."""
    return f"{base[:-2]}a" if len(base) > 1 and base.endswith("-") else base


def validate_update(obj: Object, old: Object) -> list[FieldError]:
    metadata, before = obj["metadata"], old["metadata"]
    base = metadata.get("generateName") or ""
    errors = [
        invalid_value("metadata.generateName", base, f"may not contain '{sign}'") for sign in ("/", "%") if sign in base
    ]
    for field in ("name", "namespace", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if metadata.get(field) != before.get(field):
            errors.append(invalid_value(f"metadata.{field}", metadata.get(field), "field is immutable"))
    if "deletionTimestamp" in before:
        kept = set(before.get("finalizers") or ())
        added = [f for f in metadata.get("finalizers") or () if f not in kept]
        if added:
            shown = ", ".join(f'"{f}"' for f in added)
            errors.append(
                field_forbidden(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, "
                    f"found new finalizers []string{{{shown}}}",
                )
            )
    return errors + validate_common(metadata)


def validate_common(metadata: dict[str, Any]) -> list[FieldError]:
    """Labels, annotations, owner references and finalizers."""
    errors: list[FieldError] = []
    if labels := metadata.get("labels"):
        for key, value in labels.items():
            errors += [invalid_value("metadata.labels", key, text) for text in is_qualified_name(key)]
            errors += [invalid_value("metadata.labels", value, text) for text in is_label_value(value)]
            if len(errors) > MAX_ERRORS:
                break
    if annotations := metadata.get("annotations"):
        errors += _annotations(annotations)
    if owners := metadata.get("ownerReferences"):
        errors += _owners(owners)
    if finalizers := metadata.get("finalizers"):
        errors += _finalizers(finalizers)
    return errors


def _annotations(annotations: dict[str, str]) -> list[FieldError]:
    errors = []
    size = 0
    for key, value in annotations.items():
        errors += [invalid_value("metadata.annotations", key, text) for text in is_qualified_name(key.lower())]
        if len(errors) > MAX_ERRORS:
            break
        size += len(key.encode()) + (len(value) if value.isascii() else len(value.encode()))
    if size > MAX_ANNOTATIONS:
        errors.append(
            FieldError("FieldValueTooLong", "metadata.annotations", f"may not be more than {MAX_ANNOTATIONS} bytes")
        )
    return errors


def _owners(owners: list[dict[str, Any]]) -> list[FieldError]:
    errors = []
    controllers = []
    for owner in owners:
        for field, called in (("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")):
            value = owner.get(field) or ""
            if not value or (field == "apiVersion" and (value.count("/") > 1 or value.endswith("/"))):
                errors.append(invalid_value(f"metadata.ownerReferences.{field}", value, f"{called} must not be empty"))
        if (owner.get("apiVersion"), owner.get("kind")) == ("v1", "Event"):
            text = "/v1, Kind=Event is disallowed from being an owner"
            errors.append(invalid_value("metadata.ownerReferences", owner, text))
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        first, second = (f"{c.get('kind')}/{c.get('name')}" for c in controllers[:2])
        errors.append(
            invalid_value(
                "metadata.ownerReferences",
                owners,
                'Only one reference can have Controller set to true. Found "true" in references for '
                f"{first} and {second}",
            )
        )
    return errors


def _finalizers(finalizers: list[str]) -> list[FieldError]:
    errors = []
    for index, finalizer in enumerate(finalizers):
        texts = is_qualified_name(finalizer)
        errors += [invalid_value("metadata.finalizers", finalizer, text) for text in texts]
        if not texts and "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            errors.append(
                invalid_value(
                    f"metadata.finalizers[{index}]",
                    finalizer,
                    "name is neither a standard finalizer name nor is it fully qualified",
                )
            )
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(invalid_value("metadata.finalizers", finalizers, text))
    return errors
