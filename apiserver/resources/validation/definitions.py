"""CustomResourceDefinitions (upstream: apiextensions-apiserver, pkg/apis/apiextensions/validation).

The schemas of a definition are asked for, and looked into as far as its root: what they say beyond that is for the room
that serves custom resources.
"""

from __future__ import annotations

import re
from typing import Any

from apiserver.resources.checks import IMMUTABLE, Errors, go_strings, texts
from apiserver.resources.validation.webhooks import client_config
from apiserver.types import Object
from common.api.names import is_dns1035_label, is_dns1123_subdomain
from common.api.status import OMITTED, GoSyntax, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

APPROVED = "api-approved.kubernetes.io"
REVIEW_VERSIONS = ("v1", "v1beta1")
SCOPES, STRATEGIES = ("Cluster", "Namespaced"), ("None", "Webhook")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = (
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
    "binary",
    "bsonobjectid",
)
_JSON_PATH = re.compile(r"(\.[a-zA-Z_][a-zA-Z0-9_-]*|\['[^']+'\]|\[[0-9]+\]|\\.)+")


def check_definition(obj: Object) -> Errors:
    spec, name = obj.get("spec") or {}, (obj.get("metadata") or {}).get("name") or ""
    plural = (spec.get("names") or {}).get("plural") or ""
    errors: Errors = []
    if name != f"{plural}.{spec.get('group') or ''}":
        errors.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    return errors + _spec(spec) + _stored(obj) + _approval(obj, None)


def check_definition_update(obj: Object, old: Object) -> Errors:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    names, old_names = spec.get("names") or {}, before.get("names") or {}
    errors = _spec(spec)
    established = any(
        c.get("type") == "Established" and c.get("status") == "True"
        for c in (old.get("status") or {}).get("conditions") or ()
    )
    if established and spec.get("scope") != before.get("scope"):
        errors.append(invalid_value("spec.scope", spec.get("scope"), IMMUTABLE))
    if established and names.get("kind") != old_names.get("kind"):
        errors.append(invalid_value("spec.names.kind", names.get("kind"), IMMUTABLE))
    if spec.get("group") != before.get("group"):
        errors.append(invalid_value("spec.group", spec.get("group"), IMMUTABLE))
    if names.get("plural") != old_names.get("plural"):
        errors.append(invalid_value("spec.names.plural", names.get("plural"), IMMUTABLE))
    return errors + _stored(obj) + _approval(obj, old)


def check_definition_status(obj: Object, old: Object) -> Errors:
    return _names((obj.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames")


def _spec(spec: Spec) -> Errors:
    group, scope, versions = spec.get("group") or "", spec.get("scope") or "", spec.get("versions") or []
    errors: Errors = []
    if not group:
        errors.append(required("spec.group"))
    elif problems := is_dns1123_subdomain(group):
        errors.append(invalid_value("spec.group", group, ",".join(problems)))
    elif "." not in group:
        errors.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
    errors += _word(scope, "spec.scope", SCOPES)
    for i, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            errors.append(required(f"spec.versions[{i}].schema.openAPIV3Schema", "schemas are required"))
    for i, version in enumerate(versions):
        errors += _version(version, f"spec.versions[{i}]", _hoisted(versions))
    names = [version.get("name") for version in versions]
    if len(set(names)) < len(names):
        errors.append(invalid_value("spec.versions", OMITTED, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        errors.append(invalid_value("spec.versions", OMITTED, detail))
    found = spec.get("names") or {}
    errors += [required(f"spec.names.{f}") for f in ("plural", "singular", "kind", "listKind") if not found.get(f)]
    errors += _names(found, "spec.names")
    errors += _of_all_versions(versions)
    return errors + _conversion(spec)


def _word(value: str, path: str, allowed: tuple[str, ...]) -> Errors:
    if not value:
        return [required(path)]
    return [] if value in allowed else [not_supported(path, value, allowed)]


_PER_VERSION = {
    "schema": "validation",
    "subresources": "subresources",
    "additionalPrinterColumns": "additionalPrinterColumns",
}


def _hoisted(versions: list[Spec]) -> frozenset[str]:
    """What is equal in every version is named by upstream as if it stood above them."""
    return frozenset(
        field
        for field in _PER_VERSION
        if versions and all(v.get(field) and v.get(field) == versions[0].get(field) for v in versions)
    )


def _of_all_versions(versions: list[Spec]) -> Errors:
    hoisted = _hoisted(versions)
    return [
        error
        for field, path in _PER_VERSION.items()
        if field in hoisted
        for error in _part(versions[0], field, f"spec.{path}")
    ]


def _version(version: Spec, path: str, hoisted: frozenset[str]) -> Errors:
    name = version.get("name") or ""
    errors: Errors = []
    if problems := is_dns1035_label(name):
        errors.append(invalid_value(f"{path}.name", name, ",".join(problems)))
    errors += _deprecation(version, f"{path}.deprecationWarning")
    for field in _PER_VERSION:
        if field not in hoisted:
            errors += _part(version, field, f"{path}.{field}")
    return errors


def _deprecation(version: Spec, path: str) -> Errors:
    warning = version.get("deprecationWarning")
    if warning is None:
        return []
    problems = []
    if not version.get("deprecated"):
        problems = ["can only be set for deprecated versions"]
    elif len(warning) > 256:
        problems = ["must be <= 256 characters long"]
    elif not warning:
        problems = ["must not be an empty string"]
    return texts(path, warning, problems)


def _part(version: Spec, field: str, path: str) -> Errors:
    value = version.get(field)
    if not value:
        return []
    if field == "schema":
        return _schema(value.get("openAPIV3Schema") or {}, f"{path}.openAPIV3Schema")
    if field == "subresources":
        return _scale(value["scale"], f"{path}.scale") if value.get("scale") is not None else []
    return [error for i, column in enumerate(value) for error in _column(column, f"{path}[{i}]")]


def _schema(schema: Spec, path: str) -> Errors:
    errors: Errors = []
    if schema.get("nullable"):
        errors.append(field_forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    kind = schema.get("type") or ""
    if schema and not kind:
        errors.append(required(f"{path}.type", "must not be empty at the root"))
    elif kind and kind != "object":
        errors.append(invalid_value(f"{path}.type", kind, "must be object at the root"))
    return errors


def _json_path(value: str, path: str, roots: tuple[str, ...] = (), detail: str = "") -> Errors:
    if not value:
        return [required(path)]
    if not value.startswith("."):
        return [invalid_value(path, value, "must be a simple json path starting with .")]
    if not _JSON_PATH.fullmatch(value):
        return [invalid_value(path, value, "must be a simple json path")]
    return [invalid_value(path, value, detail)] if roots and not value.startswith(roots) else []


def _scale(scale: Spec, path: str) -> Errors:
    errors = _json_path(
        scale.get("specReplicasPath") or "",
        f"{path}.specReplicasPath",
        (".spec.",),
        "should be a json path under .spec",
    )
    errors += _json_path(
        scale.get("statusReplicasPath") or "",
        f"{path}.statusReplicasPath",
        (".status.",),
        "should be a json path under .status",
    )
    if selector := scale.get("labelSelectorPath"):
        detail = "should be a json path under either .spec or .status"
        errors += _json_path(selector, f"{path}.labelSelectorPath", (".spec.", ".status."), detail)
    return errors


def _column(column: Spec, path: str) -> Errors:
    kind, form = column.get("type") or "", column.get("format") or ""
    errors: Errors = [] if column.get("name") else [required(f"{path}.name")]
    detail = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not kind:
        errors.append(required(f"{path}.type", detail))
    elif kind not in _COLUMN_TYPES:
        errors.append(invalid_value(f"{path}.type", kind, detail))
    if form and form not in _COLUMN_FORMATS:
        detail = f"must be one of {','.join(sorted(_COLUMN_FORMATS))}"
        errors.append(invalid_value(f"{path}.format", form, detail))
    return errors + _json_path(column.get("jsonPath") or "", f"{path}.JSONPath")


def _names(names: Spec, path: str) -> Errors:
    errors: Errors = []
    for field in ("plural", "singular"):
        if (value := names.get(field)) and (problems := is_dns1035_label(value)):
            errors.append(invalid_value(f"{path}.{field}", value, ",".join(problems)))
    for field in ("kind", "listKind"):
        if (value := names.get(field)) and (problems := is_dns1035_label(value.lower())):
            detail = f"may have mixed case, but should otherwise match: {','.join(problems)}"
            errors.append(invalid_value(f"{path}.{field}", value, detail))
    errors += _labels(names.get("shortNames") or (), f"{path}.shortNames")
    if names.get("kind") and names["kind"] == names.get("listKind"):
        detail = "kind and listKind may not be the same"
        errors.append(invalid_value(f"{path}.listKind", names["listKind"], detail))
    return errors + _labels(names.get("categories") or (), f"{path}.categories")


def _labels(values: Any, path: str) -> Errors:
    return [
        invalid_value(f"{path}[{i}]", value, ",".join(problems))
        for i, value in enumerate(values)
        if (problems := is_dns1035_label(value))
    ]


def _conversion(spec: Spec) -> Errors:
    conversion = spec.get("conversion") or {}
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook") or {}
    path, config = "spec.conversion", webhook.get("clientConfig")
    errors: Errors = []
    if strategy != "None" and spec.get("preserveUnknownFields"):
        detail = "must be None if spec.preserveUnknownFields is true"
        errors.append(invalid_value(f"{path}.strategy", strategy, detail))
    errors += _word(strategy, f"{path}.strategy", STRATEGIES)
    if strategy != "Webhook":
        detail = "should not be set when strategy is not set to Webhook"
        if config is not None:
            errors.append(field_forbidden(f"{path}.webhookClientConfig", detail))
        if webhook.get("conversionReviewVersions"):
            errors.append(field_forbidden(f"{path}.conversionReviewVersions", detail))
        return errors
    at = f"{path}.webhookClientConfig"
    if config is None:
        errors.append(required(at, "required when strategy is set to Webhook"))
    else:
        errors += client_config(config, at)
    return errors + _review_versions(webhook.get("conversionReviewVersions") or [], f"{path}.conversionReviewVersions")


def _review_versions(versions: list[str], path: str) -> Errors:
    if not versions:
        return [required(path)]
    errors: Errors = []
    for i, version in enumerate(versions):
        if version in versions[:i]:
            errors.append(invalid_value(f"{path}[{i}]", version, "duplicate version"))
        else:
            errors += texts(f"{path}[{i}]", version, is_dns1035_label(version))
    if not any(version in REVIEW_VERSIONS for version in versions):
        detail = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
        errors.append(invalid_value(path, go_strings(versions), detail))
    return errors


def _stored(obj: Object) -> Errors:
    versions = {v.get("name"): v for v in (obj.get("spec") or {}).get("versions") or ()}
    stored, path = (obj.get("status") or {}).get("storedVersions") or [], "status.storedVersions"
    if not stored:
        return [invalid_value(path, GoSyntax("[]string(nil)"), "must have at least one stored version")]
    errors: Errors = [
        invalid_value(path, OMITTED, f"must have the storage version {name}")
        for name, version in versions.items()
        if version.get("storage") and name not in stored
    ]
    errors += [
        invalid_value(f"{path}[{i}]", name, "must appear in spec.versions")
        for i, name in enumerate(stored)
        if name not in versions
    ]
    return errors


def _approval(obj: Object, old: Object | None) -> Errors:
    """Groups of the Kubernetes project need its approval."""
    group = (obj.get("spec") or {}).get("group") or ""
    if not (group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))):
        return []
    value = ((obj.get("metadata") or {}).get("annotations") or {}).get(APPROVED)
    if old is not None and ((old.get("metadata") or {}).get("annotations") or {}).get(APPROVED) == value:
        return []
    path = f"metadata.annotations[{APPROVED}]"
    if not value:
        detail = (
            f'protected groups must have approval annotation "{APPROVED}", '
            "see https://github.com/kubernetes/enhancements/pull/1111"
        )
        return [required(path, detail)]
    if value.startswith("unapproved") or re.match(r"https?://[^/]+/.*", value):
        return []
    detail = (
        f'protected groups must have approval annotation "{APPROVED}" with either a URL or a reason starting with '
        '"unapproved", see https://github.com/kubernetes/enhancements/pull/1111'
    )
    return [invalid_value(path, value, detail)]
