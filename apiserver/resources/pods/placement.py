"""Validation of where a pod may run: affinity, tolerations, topology spread (upstream: pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, label_selector
from apiserver.resources.pods.names import (
    check_names,
    label_problems,
    label_value_problems,
    qualified_problems,
    subdomain_problems,
)
from common.api.status import duplicate, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_POLICIES = ("Honor", "Ignore")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_BAD_OPERATOR = "not a valid selector operator"


def check_label_name(errors: Errors, key: str, path: str) -> None:
    if problems := qualified_problems(key):
        check_names(errors, path, key, problems)


def check_tolerations(errors: Errors, tolerations: list[Spec], path: str) -> None:
    for i, toleration in enumerate(tolerations):
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        effect, value = toleration.get("effect", ""), toleration.get("value", "")
        if key:
            check_label_name(errors, key, f"{path}[{i}].key")
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid_value(f"{path}[{i}].operator", operator, detail))
        if effect != "NoExecute" and toleration.get("tolerationSeconds") is not None:
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid_value(f"{path}[{i}].effect", effect, detail))
        if operator in ("Equal", ""):
            if problems := label_value_problems(value):
                errors.append(invalid_value(f"{path}[{i}].operator", value, ";".join(problems)))
        elif operator == "Exists":
            if value:
                detail = "value must be empty when `operator` is 'Exists'"
                errors.append(invalid_value(f"{path}[{i}].operator", value, detail))
        else:
            errors.append(not_supported(f"{path}[{i}].operator", operator, ("Equal", "Exists")))
        if effect and effect not in EFFECTS:
            errors.append(not_supported(f"{path}[{i}].effect", effect, EFFECTS))


def check_affinity(errors: Errors, affinity: Spec, path: str) -> None:
    if node := affinity.get("nodeAffinity"):
        _check_node_affinity(errors, node, f"{path}.nodeAffinity")
    for kind in ("podAffinity", "podAntiAffinity"):
        if pods := affinity.get(kind):
            _check_pod_affinity(errors, pods, f"{path}.{kind}")


def _check_node_affinity(errors: Errors, affinity: Spec, path: str) -> None:
    if (selector := affinity.get(_REQUIRED)) is not None:
        check_node_selector(errors, selector, f"{path}.{_REQUIRED}")
    for i, term in enumerate(affinity.get(_PREFERRED) or ()):
        at = f"{path}.{_PREFERRED}[{i}]"
        _check_weight(errors, term, at)
        check_node_term(errors, term.get("preference") or {}, f"{at}.preference")


def check_node_selector(errors: Errors, selector: Spec, path: str) -> None:
    terms = selector.get("nodeSelectorTerms")
    if not terms:
        errors.append(required(f"{path}.nodeSelectorTerms", "must have at least one node selector term"))
        return
    for i, term in enumerate(terms):
        check_node_term(errors, term, f"{path}.nodeSelectorTerms[{i}]")


def check_node_term(errors: Errors, term: Spec, path: str) -> None:
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        _check_label_requirement(errors, expression, f"{path}.matchExpressions[{i}]")
    for i, expression in enumerate(term.get("matchFields") or ()):
        _check_field_requirement(errors, expression, f"{path}.matchFields[{i}]")


def _check_label_requirement(errors: Errors, expression: Spec, path: str) -> None:
    """Values are not looked at before v1.33."""
    operator, values = expression.get("operator", ""), expression.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(field_forbidden(f"{path}.values", detail))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(required(f"{path}.values", detail))
    else:
        errors.append(invalid_value(f"{path}.operator", operator, _BAD_OPERATOR))
    check_label_name(errors, expression.get("key", ""), f"{path}.key")


def _check_field_requirement(errors: Errors, expression: Spec, path: str) -> None:
    operator, key, values = expression.get("operator", ""), expression.get("key", ""), expression.get("values") or ()
    if operator in ("In", "NotIn"):
        if len(values) != 1:
            detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            errors.append(required(f"{path}.values", detail))
    else:
        errors.append(invalid_value(f"{path}.operator", operator, _BAD_OPERATOR))
    if key != "metadata.name":
        errors.append(invalid_value(f"{path}.key", key, "not a valid field selector key"))
        return
    for i, value in enumerate(values):
        check_names(errors, f"{path}.values[{i}]", value, subdomain_problems(value))


def _check_weight(errors: Errors, term: Spec, path: str) -> None:
    weight = term.get("weight", 0)
    if not 1 <= weight <= 100:
        errors.append(invalid_value(f"{path}.weight", weight, "must be in the range 1-100"))


def _check_pod_affinity(errors: Errors, affinity: Spec, path: str) -> None:
    for i, term in enumerate(affinity.get(_REQUIRED) or ()):
        _check_pod_term(errors, term, f"{path}.{_REQUIRED}[{i}]")
    for i, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        at = f"{path}.{_PREFERRED}[{i}]"
        _check_weight(errors, weighted, at)
        _check_pod_term(errors, weighted.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")


def _check_pod_term(errors: Errors, term: Spec, path: str) -> None:
    selector = term.get("labelSelector")
    errors += label_selector(selector, f"{path}.labelSelector")
    errors += label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        check_names(errors, f"{path}.namespace", name, label_problems(name))
    match, mismatch = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    if match or mismatch:
        _check_label_keys(errors, match, mismatch, selector, path)
    key = term.get("topologyKey", "")
    if not key:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    check_label_name(errors, key, f"{path}.topologyKey")


def _check_label_keys(errors: Errors, match: list[str], mismatch: list[str], selector: Spec | None, path: str) -> None:
    """matchLabelKeys and mismatchLabelKeys (KEP-3633). By now the selector has what they were turned into."""
    for field, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            detail = "must not be specified when labelSelector is not set"
            errors.append(field_forbidden(f"{path}.{field}", detail))
            continue
        for i, key in enumerate(keys):
            check_label_name(errors, key, f"{path}.{field}[{i}]")
    if selector is not None:
        places = {key: i for i, key in enumerate(match)}
        seen = set(selector.get("matchLabels") or ())
        for expression in selector.get("matchExpressions") or ():
            key = expression.get("key", "")
            if key in places and key in seen:
                detail = "exists in both matchLabelKeys and labelSelector"
                errors.append(invalid_value(f"{path}[{places[key]}]", key, detail))
            seen.add(key)
    for i, key in enumerate(match):
        if key in mismatch:
            detail = "exists in both matchLabelKeys and mismatchLabelKeys"
            errors.append(invalid_value(f"{path}.matchLabelKeys[{i}]", key, detail))


def check_spread(errors: Errors, constraints: list[Spec], path: str) -> None:
    for i, constraint in enumerate(constraints):
        at = f"{path}[{i}]"
        skew, key = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
        action = constraint.get("whenUnsatisfiable", "")
        if skew <= 0:
            errors.append(invalid_value(f"{at}.maxSkew", skew, "must be greater than zero"))
        if not key:
            errors.append(required(f"{at}.topologyKey", "can not be empty"))
        if action not in _UNSATISFIABLE:
            errors.append(not_supported(f"{at}.whenUnsatisfiable", action, _UNSATISFIABLE))
        if any(
            (o.get("topologyKey", ""), o.get("whenUnsatisfiable", "")) == (key, action) for o in constraints[i + 1 :]
        ):
            errors.append(duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        _check_spread_details(errors, constraint, action, at)


def _check_spread_details(errors: Errors, constraint: Spec, action: str, path: str) -> None:
    domains = constraint.get("minDomains")
    if domains is not None:
        if domains <= 0:
            errors.append(invalid_value(f"{path}.minDomains", domains, "must be greater than zero"))
        if action != "DoNotSchedule":
            detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
            errors.append(invalid_value(f"{path}.minDomains", domains, detail))
    for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = constraint.get(field)
        if policy is not None and policy not in _POLICIES:
            errors.append(not_supported(f"{path}.{field}", policy, _POLICIES))
    selector = constraint.get("labelSelector")
    if keys := constraint.get("matchLabelKeys"):
        _check_spread_keys(errors, keys, selector, f"{path}.matchLabelKeys")
    errors += label_selector(selector, f"{path}.labelSelector")


def _check_spread_keys(errors: Errors, keys: list[str], selector: Spec | None, path: str) -> None:
    if selector is None:
        errors.append(field_forbidden(path, "must not be specified when labelSelector is not set"))
    selected = set((selector or {}).get("matchLabels") or ())
    selected |= {e.get("key", "") for e in (selector or {}).get("matchExpressions") or ()}
    for i, key in enumerate(keys):
        check_label_name(errors, key, f"{path}[{i}]")
        if key in selected:
            detail = "exists in both matchLabelKeys and labelSelector"
            errors.append(invalid_value(f"{path}[{i}]", key, detail))
