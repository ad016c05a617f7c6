"""Validation of where a pod may run: affinity, tolerations, topology spread (upstream: pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, label_selector, one_of, texts
from apiserver.resources.pods.names import qualified_problems
from common.api.names import is_label_value
from common.api.status import duplicate, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_NODE_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def check_tolerations(tolerations: list[Spec], path: str) -> Errors:
    errors: Errors = []
    for i, toleration in enumerate(tolerations):
        at = f"{path}[{i}]"
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        if key:
            errors += texts(f"{at}.key", key, qualified_problems(key))
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid_value(f"{at}.operator", operator, detail))
        effect = toleration.get("effect", "")
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            errors.append(
                invalid_value(f"{at}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
            )
        value = toleration.get("value", "")
        if operator in ("Equal", ""):
            errors += texts(f"{at}.operator", value, is_label_value(value)) if value else []
        elif operator == "Exists":
            if value:
                detail = "value must be empty when `operator` is 'Exists'"
                errors.append(invalid_value(f"{at}.operator", toleration["value"], detail))
        else:
            errors.append(not_supported(f"{at}.operator", operator, ("Equal", "Exists")))
        errors += one_of(toleration, "effect", at, EFFECTS)
    return errors


def check_affinity(affinity: Spec, path: str) -> Errors:
    errors: Errors = []
    if node := affinity.get("nodeAffinity"):
        errors += _node_affinity(node, f"{path}.nodeAffinity")
    for kind in ("podAffinity", "podAntiAffinity"):
        if pods := affinity.get(kind):
            errors += _pod_affinity(pods, f"{path}.{kind}")
    return errors


def _node_affinity(affinity: Spec, path: str) -> Errors:
    errors: Errors = []
    if (selector := affinity.get(_REQUIRED)) is not None:
        errors += check_node_selector(selector, f"{path}.{_REQUIRED}")
    for i, term in enumerate(affinity.get(_PREFERRED) or ()):
        at = f"{path}.{_PREFERRED}[{i}]"
        errors += _weight(term, at) + _node_term(term.get("preference") or {}, f"{at}.preference")
    return errors


def check_node_selector(selector: Spec, path: str) -> Errors:
    terms = selector.get("nodeSelectorTerms")
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return [e for i, term in enumerate(terms) for e in _node_term(term, f"{path}.nodeSelectorTerms[{i}]")]


def _node_term(term: Spec, path: str) -> Errors:
    errors: Errors = []
    for field in ("matchExpressions", "matchFields"):
        for i, expression in enumerate(term.get(field) or ()):
            at = f"{path}.{field}[{i}]"
            operator, values = expression.get("operator", ""), expression.get("values") or ()
            if operator in ("In", "NotIn") and not values:
                errors.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
            elif operator in ("Exists", "DoesNotExist") and values:
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(field_forbidden(f"{at}.values", detail))
            elif operator in ("Gt", "Lt") and len(values) != 1:
                detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                errors.append(required(f"{at}.values", detail))
            elif operator not in _NODE_OPERATORS:
                errors.append(invalid_value(f"{at}.operator", operator, "not a valid selector operator"))
            if field == "matchExpressions":
                errors += texts(f"{at}.key", expression.get("key", ""), qualified_problems(expression.get("key", "")))
    return errors


def _weight(term: Spec, path: str) -> Errors:
    weight = term.get("weight", 0)
    return [] if 1 <= weight <= 100 else [invalid_value(f"{path}.weight", weight, "must be in the range 1-100")]


def _pod_affinity(affinity: Spec, path: str) -> Errors:
    errors: Errors = []
    for i, term in enumerate(affinity.get(_REQUIRED) or ()):
        errors += _pod_term(term, f"{path}.{_REQUIRED}[{i}]")
    for i, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        at = f"{path}.{_PREFERRED}[{i}]"
        errors += _weight(weighted, at) + _pod_term(weighted.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")
    return errors


def _pod_term(term: Spec, path: str) -> Errors:
    errors = label_selector(term.get("labelSelector"), f"{path}.labelSelector")
    errors += label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    key = term.get("topologyKey", "")
    if not key:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    return errors + texts(f"{path}.topologyKey", key, qualified_problems(key))


def check_spread(constraints: list[Spec], path: str) -> Errors:
    errors: Errors = []
    seen: set[tuple[str, str]] = set()
    for i, constraint in enumerate(constraints):
        at = f"{path}[{i}]"
        skew = constraint.get("maxSkew", 0)
        if skew <= 0:
            errors.append(invalid_value(f"{at}.maxSkew", skew, "must be greater than zero"))
        key, action = constraint.get("topologyKey", ""), constraint.get("whenUnsatisfiable", "")
        if not key:
            errors.append(required(f"{at}.topologyKey", "can not be empty"))
        else:
            errors += texts(f"{at}.topologyKey", key, qualified_problems(key))
        if action not in _UNSATISFIABLE:
            errors.append(not_supported(f"{at}.whenUnsatisfiable", action, _UNSATISFIABLE))
        if (key, action) in seen:
            errors.append(duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        seen.add((key, action))
        errors += label_selector(constraint.get("labelSelector"), f"{at}.labelSelector")
    return errors
