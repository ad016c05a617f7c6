"""ValidatingAdmissionPolicies and their bindings (upstream: pkg/apis/admissionregistration/validation).

Whether an expression compiles is for the room that evaluates it.
"""

from __future__ import annotations

import re
from typing import Any

from apiserver.resources.checks import Errors, label_selector, texts
from apiserver.resources.validation.conditions import check_conditions
from apiserver.resources.validation.formats import go_list, path_segment
from apiserver.resources.validation.webhooks import (
    FAILURE_POLICIES,
    MATCH_POLICIES,
    check_rule,
    match_conditions,
)
from apiserver.types import Object
from common.api.names import is_dns1035_label, is_dns1123_subdomain, is_qualified_name
from common.api.status import OMITTED, duplicate, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

MAX_AUDIT_ANNOTATIONS, MAX_AUDIT_EXPRESSION = 20, 5 * 1024
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_ACTIONS = ("Audit", "Deny", "Warn")
_NOT_FOUND_ACTIONS = ("Deny", "Allow")
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED = re.compile(
    "true|false|null|in|as|break|const|continue|else|for|function|if|import|let|loop|package|namespace|return|var|"
    "void|while"
)


def check_policy(obj: Object) -> Errors:
    spec, name = obj.get("spec") or {}, (obj.get("metadata") or {}).get("name") or ""
    errors = _word(spec, "failurePolicy", "spec", FAILURE_POLICIES)
    if (kind := spec.get("paramKind")) is not None:
        errors += _param_kind(kind, "spec.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        errors.append(required("spec.matchConstraints"))
    else:
        errors += _match(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            errors.append(required("spec.matchConstraints.resourceRules"))
    errors += match_conditions(spec.get("matchConditions") or (), "spec.matchConditions")
    for i, variable in enumerate(spec.get("variables") or ()):
        errors += _variable(variable, f"spec.variables[{i}]")
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        detail = "validations or auditAnnotations must contain at least one item"
        return [*errors, required("spec.validations", detail), required("spec.auditAnnotations", detail)]
    for i, validation in enumerate(validations):
        errors += _validation(validation, f"spec.validations[{i}]")
    return errors + _audit_annotations(annotations, name)


def check_policy_status(obj: Object, old: Object) -> Errors:
    status = obj.get("status") or {}
    errors: Errors = []
    for i, warning in enumerate((status.get("typeChecking") or {}).get("expressionWarnings") or ()):
        path = f"status.typeChecking.expressionWarnings[{i}]"
        errors += [required(f"{path}.{f}") for f in ("warning", "fieldRef") if not (warning.get(f) or "").strip()]
    return errors + check_conditions(status.get("conditions") or (), "status.conditions")


def _word(obj: Spec, field: str, path: str, allowed: tuple[str, ...]) -> Errors:
    """A field that has a default, and so is always there."""
    value = obj.get(field)
    if value is None:
        return [required(f"{path}.{field}")]
    return [] if value in allowed else [not_supported(f"{path}.{field}", value, allowed)]


def _param_kind(kind: Spec, path: str) -> Errors:
    version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    errors = _group_version(version, f"{path}.apiVersion") if version else [required(f"{path}.apiVersion")]
    if not name:
        errors.append(required(f"{path}.kind"))
    elif problems := is_dns1035_label(name.lower()):
        detail = f"may have mixed case, but should otherwise match: {','.join(problems)}"
        errors.append(invalid_value(f"{path}.kind", name, detail))
    return errors


def _group_version(text: str, path: str) -> Errors:
    if text.count("/") > 1:
        return [invalid_value(path, text, f"unexpected GroupVersion string: {text}")]
    group, _, version = text.rpartition("/")
    errors: Errors = []
    if group and (problems := is_dns1123_subdomain(group)):
        errors.append(invalid_value(path, group, ",".join(problems)))
    if not version:
        errors.append(invalid_value(path, text, "version must be specified"))
    elif problems := is_dns1035_label(version):
        errors.append(invalid_value(path, version, ",".join(problems)))
    return errors


def _match(match: Spec, path: str) -> Errors:
    errors = _word(match, "matchPolicy", path, MATCH_POLICIES)
    for field in ("namespaceSelector", "objectSelector"):
        selector = match.get(field)
        errors += [required(f"{path}.{field}")] if selector is None else label_selector(selector, f"{path}.{field}")
    for field in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(field) or ()):
            errors += _named_rule(rule, f"{path}.{field}[{i}]")
    return errors


def _named_rule(rule: Spec, path: str) -> Errors:
    errors: Errors = []
    names = rule.get("resourceNames") or ()
    for i, name in enumerate(names):
        errors += texts(f"{path}.resourceNames[{i}]", name, path_segment(name))
        if name in names[:i]:
            errors.append(duplicate(f"{path}.resourceNames[{i}]", name))
    return errors + check_rule(rule, path)


def _variable(variable: Spec, path: str) -> Errors:
    name, expression = variable.get("name") or "", variable.get("expression") or ""
    errors: Errors = []
    if not name.strip():
        errors.append(required(f"{path}.name", "name is not specified"))
    elif not _IDENTIFIER.fullmatch(name) or _RESERVED.fullmatch(name):
        errors.append(invalid_value(f"{path}.name", name, "must be a valid CEL identifier"))
    if not expression.strip():
        errors.append(required(f"{path}.expression", "expression is not specified"))
    return errors


def _validation(validation: Spec, path: str) -> Errors:
    expression, message, by_expression = (
        validation.get(field) or "" for field in ("expression", "message", "messageExpression")
    )
    errors: Errors = []
    if not expression.strip():
        errors.append(required(f"{path}.expression", "expression is not specified"))
    if by_expression and not by_expression.strip():
        errors.append(invalid_value(f"{path}.messageExpression", by_expression, "must be non-empty if specified"))
    if message and not message.strip():
        errors.append(invalid_value(f"{path}.message", message, "must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        errors.append(invalid_value(f"{path}.message", message, "must not contain line breaks"))
    reason = validation.get("reason")
    if reason is not None and reason not in _REASONS:
        errors.append(not_supported(f"{path}.reason", reason, _REASONS))
    return errors


def _audit_annotations(annotations: Any, name: str) -> Errors:
    errors: Errors = []
    if len(annotations) > MAX_AUDIT_ANNOTATIONS:
        detail = f"must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations"
        errors.append(invalid_value("spec.auditAnnotations", OMITTED, detail))
    keys: set[str] = set()
    for i, annotation in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{i}]", annotation.get("key") or ""
        expression = (annotation.get("valueExpression") or "").strip()
        if name:
            errors += texts(f"{path}.key", f"{name}/{key}", is_qualified_name(f"{name}/{key}"))
        else:
            errors.append(invalid_value(f"{path}.key", key, "requires metadata.name be non-empty"))
        if not expression:
            errors.append(required(f"{path}.valueExpression", "valueExpression is not specified"))
        elif len(expression) > MAX_AUDIT_EXPRESSION:
            detail = f"must not exceed {MAX_AUDIT_EXPRESSION} bytes in length"
            errors.append(required(f"{path}.valueExpression", detail))
        if key in keys:
            errors.append(duplicate(f"{path}.key", key))
        keys.add(key)
    return errors


def check_policy_binding(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    name, actions = spec.get("policyName") or "", spec.get("validationActions") or []
    errors = texts("spec.policyName", name, is_dns1123_subdomain(name)) if name else [required("spec.policyName")]
    if (ref := spec.get("paramRef")) is not None:
        errors += _param_ref(ref, "spec.paramRef")
    if (match := spec.get("matchResources")) is not None:
        errors += _match(match, "spec.matchResources")
    return errors + _actions(actions, "spec.validationActions")


def _param_ref(ref: Spec, path: str) -> Errors:
    name, selector, action = ref.get("name") or "", ref.get("selector"), ref.get("parameterNotFoundAction")
    both = "name and selector are mutually exclusive"
    errors: Errors = []
    if name:
        errors += texts(f"{path}.name", name, path_segment(name))
        if selector is not None:
            errors.append(field_forbidden(f"{path}.name", both))
    if selector is not None:
        errors += label_selector(selector, f"{path}.selector")
        if name:
            errors.append(field_forbidden(f"{path}.selector", both))
    if not name and selector is None:
        errors.append(required(path, "one of name or selector must be specified"))
    if not action:
        errors.append(required(f"{path}.parameterNotFoundAction"))
    elif action not in _NOT_FOUND_ACTIONS:
        errors.append(not_supported(f"{path}.parameterNotFoundAction", action, _NOT_FOUND_ACTIONS))
    return errors


def _actions(actions: list[str], path: str) -> Errors:
    errors: Errors = []
    for i, action in enumerate(actions):
        if action not in _ACTIONS:
            errors.append(not_supported(f"{path}[{i}]", action, _ACTIONS))
        if action in actions[:i]:
            errors.append(duplicate(f"{path}[{i}]", action))
    if "Deny" in actions and "Warn" in actions:
        detail = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        errors.append(invalid_value(path, go_list("admissionregistration.ValidationAction", actions), detail))
    if not actions:
        errors.append(required(path, "at least one validation action is required"))
    return errors
