"""FlowSchemas and PriorityLevelConfigurations (upstream: pkg/apis/flowcontrol/validation)."""

from __future__ import annotations

import math
from typing import Any

from apiserver.resources.checks import Errors, go_strings, texts
from apiserver.types import Object
from common.api.names import is_dns1123_label, is_dns1123_subdomain
from common.api.status import OMITTED, duplicate, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

MAX_PRECEDENCE, MAX_QUEUES, MAX_HASH_BITS = 10_000, 10_000_000, 60
VERBS = frozenset({"get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy"})
_METHODS = ("ByNamespace", "ByUser")
_RESPONSES = ("Queue", "Reject")
_NAMESPACE_TEXT = "each member of this list must be '*' or a DNS-1123 label; "
_SUBJECTS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}

MANDATORY_SCHEMAS: dict[str, Spec] = {
    "exempt": {
        "priorityLevelConfiguration": {"name": "exempt"},
        "matchingPrecedence": 1,
        "rules": [
            {
                "subjects": [{"kind": "Group", "group": {"name": "system:masters"}}],
                "resourceRules": [
                    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
                ],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }
        ],
    },
    "catch-all": {
        "priorityLevelConfiguration": {"name": "catch-all"},
        "matchingPrecedence": 10_000,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {
                "subjects": [
                    {"kind": "Group", "group": {"name": "system:unauthenticated"}},
                    {"kind": "Group", "group": {"name": "system:authenticated"}},
                ],
                "resourceRules": [
                    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
                ],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }
        ],
    },
}
MANDATORY_LEVELS: dict[str, Spec] = {
    "exempt": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    "catch-all": {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}, "lendablePercent": 0},
    },
}
"""What must be as it is (upstream: apis/flowcontrol/bootstrap); of the level ``exempt`` the shares may be changed."""


def _name(obj: Object) -> str:
    name: str = (obj.get("metadata") or {}).get("name") or ""
    return name


def check_flow_schema(obj: Object) -> Errors:
    spec, name = obj.get("spec") or {}, _name(obj)
    errors = _schema(spec, name)
    if name in MANDATORY_SCHEMAS and spec != MANDATORY_SCHEMAS[name]:
        errors.append(invalid_value("spec", OMITTED, f"spec of '{name}' must equal the fixed value"))
    return errors + check_status(obj, obj)


def check_status(obj: Object, old: Object) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for i, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        path, kind = f"status.conditions[{i}].type", condition.get("type") or ""
        if kind in seen:
            errors.append(duplicate(path, kind))
        seen.add(kind)
        if not kind:
            errors.append(required(path, "must not be empty"))
    return errors


def _schema(spec: Spec, name: str) -> Errors:
    precedence, level = spec.get("matchingPrecedence") or 0, spec.get("priorityLevelConfiguration") or {}
    at = "spec.matchingPrecedence"
    errors: Errors = []
    if precedence <= 0:
        errors.append(invalid_value(at, precedence, "must be a positive value"))
    if precedence > MAX_PRECEDENCE:
        errors.append(invalid_value(at, precedence, f"must not be greater than {MAX_PRECEDENCE}"))
    if precedence == 1 and name != "exempt":
        detail = "only the schema named 'exempt' may have matchingPrecedence 1"
        errors.append(invalid_value(at, precedence, detail))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in _METHODS:
        errors.append(not_supported("spec.distinguisherMethod.type", method.get("type") or "", _METHODS))
    at, level_name = "spec.priorityLevelConfiguration.name", level.get("name") or ""
    if level_name:
        errors += texts(at, level_name, is_dns1123_subdomain(level_name))
    else:
        errors.append(required(at, "must reference a priority level"))
    for i, rule in enumerate(spec.get("rules") or ()):
        errors += _rule(rule, f"spec.rules[{i}]")
    return errors


def _rule(rule: Spec, path: str) -> Errors:
    subjects, resources, others = (rule.get(f) or () for f in ("subjects", "resourceRules", "nonResourceRules"))
    errors: Errors = []
    if not subjects:
        errors.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for i, subject in enumerate(subjects):
        errors += _subject(subject, f"{path}.subjects[{i}]")
    if not resources and not others:
        detail = "at least one of resourceRules and nonResourceRules has to be non-empty"
        errors.append(required(path, detail))
    for i, item in enumerate(resources):
        errors += _resource_rule(item, f"{path}.resourceRules[{i}]")
    for i, item in enumerate(others):
        errors += _non_resource_rule(item, f"{path}.nonResourceRules[{i}]")
    return errors


def _subject(subject: Spec, path: str) -> Errors:
    kind = subject.get("kind") or ""
    if kind not in _SUBJECTS:
        return [not_supported(f"{path}.kind", kind, tuple(sorted(_SUBJECTS)))]
    field = _SUBJECTS[kind]
    value = subject.get(field)
    if value is None:
        errors: Errors = [required(f"{path}.{field}", f"{field} is required when subject kind is '{kind}'")]
    elif kind == "ServiceAccount":
        errors = _account(value, f"{path}.{field}")
    else:
        errors = [] if value.get("name") else [required(f"{path}.{field}.name")]
    for other, name in _SUBJECTS.items():
        if name != field and subject.get(name) is not None:
            detail = f"{name} is forbidden when subject kind is not '{other}'"
            errors.append(field_forbidden(f"{path}.{name}", detail))
    return errors


def _account(account: Spec, path: str) -> Errors:
    name, namespace = account.get("name") or "", account.get("namespace") or ""
    errors: Errors = []
    if not name:
        errors.append(required(f"{path}.name"))
    elif name != "*":
        errors += texts(f"{path}.name", name, is_dns1123_subdomain(name))
    if not namespace:
        errors.append(required(f"{path}.namespace", "must specify namespace for service account"))
    else:
        errors += texts(f"{path}.namespace", namespace, is_dns1123_label(namespace))
    return errors


def _verbs(rule: Spec, path: str) -> Errors:
    verbs = rule.get("verbs") or ()
    if not verbs:
        return [required(f"{path}.verbs", "verbs must contain at least one value")]
    if "*" in verbs:
        return _alone(verbs, f"{path}.verbs", "verbs")
    return [] if VERBS.issuperset(verbs) else [not_supported(f"{path}.verbs", go_strings(verbs), VERBS)]


def _alone(values: Any, path: str, what: str) -> Errors:
    if len(values) < 2 or "*" not in values:
        return []
    return [invalid_value(path, go_strings(values), f"if '*' is present, must not specify other {what}")]


def _resource_rule(rule: Spec, path: str) -> Errors:
    errors = _verbs(rule, path)
    for field, one, what in (
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ):
        values = rule.get(field) or ()
        if not values:
            errors.append(required(f"{path}.{field}", f"resource rules must supply at least one {one}"))
        errors += _alone(values, f"{path}.{field}", what)
    namespaces, at = rule.get("namespaces") or (), f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        detail = "resource rules that are not cluster scoped must supply at least one namespace"
        errors.append(required(at, detail))
    elif "*" in namespaces:
        errors += _alone(namespaces, at, "namespaces")
    else:
        for i, namespace in enumerate(namespaces):
            problems = [_NAMESPACE_TEXT + text for text in is_dns1123_label(namespace)]
            errors += texts(f"{at}[{i}]", namespace, problems)
    return errors


def _non_resource_rule(rule: Spec, path: str) -> Errors:
    errors, urls, at = _verbs(rule, path), rule.get("nonResourceURLs") or (), f"{path}.nonResourceURLs"
    if not urls:
        return [*errors, required(at, "nonResourceURLs must contain at least one value")]
    if "*" in urls:
        return errors + _alone(urls, at, "non-resource URLs")
    for i, url in enumerate(urls):
        if problem := _url_problem(url):
            errors.append(invalid_value(f"{at}[{i}]", url, problem))
    return errors


def _url_problem(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    stars = url.count("*")
    return "wildcard can only do suffix matching" if stars > 1 or (stars and not url.endswith("/*")) else ""


# ---- PriorityLevelConfiguration -----------------------------------------------------------------------------------


def check_priority_level(obj: Object) -> Errors:
    spec, name = obj.get("spec") or {}, _name(obj)
    errors = _level(spec, name)
    fixed = MANDATORY_LEVELS.get(name)
    if name == "exempt" and {k: v for k, v in spec.items() if k != "exempt"} != {"type": "Exempt"}:
        detail = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"
        errors.append(invalid_value("spec", OMITTED, detail))
    elif name != "exempt" and fixed is not None and spec != fixed:
        errors.append(invalid_value("spec", OMITTED, f"spec of '{name}' must equal the fixed value"))
    return errors + check_status(obj, obj)


def _level(spec: Spec, name: str) -> Errors:
    kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
    errors: Errors = []
    if (name == "exempt") != (kind == "Exempt"):
        detail = "type must be 'Exempt' if and only if name is 'exempt'"
        errors.append(invalid_value("spec.type", kind, detail))
    if kind == "Exempt":
        errors += _shares(exempt or {}, "spec.exempt")
        if limited is not None:
            errors.append(field_forbidden("spec.limited", "must be nil if the type is not Limited"))
    elif kind == "Limited":
        if exempt is not None:
            errors.append(field_forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            errors.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            errors += _limited(limited, "spec.limited")
    else:
        errors.append(not_supported("spec.type", kind, ("Exempt", "Limited")))
    return errors


def _percent(value: Any, path: str) -> Errors:
    if value is None or 0 <= value <= 100:
        return []
    return [invalid_value(path, value, "must be between 0 and 100, inclusive")]


def _shares(part: Spec, path: str) -> Errors:
    errors: Errors = []
    shares = part.get("nominalConcurrencyShares")
    if shares is not None and shares < 0:
        detail = "must be a non-negative integer"
        errors.append(invalid_value(f"{path}.nominalConcurrencyShares", shares, detail))
    return errors + _percent(part.get("lendablePercent"), f"{path}.lendablePercent")


def _limited(limited: Spec, path: str) -> Errors:
    errors = _shares(limited, path)
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        detail = "if specified, must be a non-negative integer"
        errors.append(invalid_value(f"{path}.borrowingLimitPercent", borrowing, detail))
    response, at = limited.get("limitResponse") or {}, f"{path}.limitResponse"
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            detail = "must be nil if limited.limitResponse.type is not Limited"
            errors.append(field_forbidden(f"{at}.queuing", detail))
    elif kind == "Queue":
        if queuing is None:
            detail = "must not be empty if limited.limitResponse.type is Limited"
            errors.append(required(f"{at}.queuing", detail))
        else:
            errors += _queuing(queuing, f"{at}.queuing")
    else:
        errors.append(not_supported(f"{at}.type", kind, _RESPONSES))
    return errors


def _queuing(queuing: Spec, path: str) -> Errors:
    length, queues, hand = (queuing.get(f) or 0 for f in ("queueLengthLimit", "queues", "handSize"))
    errors: Errors = []
    if length <= 0:
        errors.append(invalid_value(f"{path}.queueLengthLimit", length, "must be positive"))
    if queues <= 0:
        errors.append(invalid_value(f"{path}.queues", queues, "must be positive"))
    elif queues > MAX_QUEUES:
        errors.append(invalid_value(f"{path}.queues", queues, f"must not be greater than {MAX_QUEUES}"))
    at = f"{path}.handSize"
    if hand <= 0:
        errors.append(invalid_value(at, hand, "must be positive"))
    elif hand > queues:
        errors.append(invalid_value(at, hand, f"should not be greater than queues ({queues})"))
    elif math.ceil(math.log2(queues) * hand) > MAX_HASH_BITS:
        detail = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        )
        errors.append(invalid_value(at, hand, detail))
    return errors
