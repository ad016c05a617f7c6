"""What the ends of a Job's pods mean: podFailurePolicy and successPolicy (upstream: pkg/apis/batch/validation).

https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy and #success-policy
"""

from __future__ import annotations

import json
from typing import Any

from apiserver.resources.checks import Errors, not_negative, texts
from apiserver.resources.validation.indexes import IndexesError, count, parse_indexes
from common.api.names import is_qualified_name
from common.api.status import OMITTED, GoSyntax, duplicate, invalid_value, not_supported, required, too_long, too_many

Spec = dict[str, Any]

MAX_RULES, MAX_EXIT_CODES, MAX_CONDITIONS = 20, 255, 20
MAX_SUCCEEDED_INDEXES = 64 * 1024
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")


def _valid_values(values: tuple[str, ...]) -> str:
    return f"valid values: [{' '.join(map(json.dumps, values))}]"


def check_failure_policy(spec: Spec, policy: Spec, path: str) -> Errors:
    rules = policy.get("rules") or ()
    errors: Errors = [too_many(f"{path}.rules", len(rules), MAX_RULES)] if len(rules) > MAX_RULES else []
    pod = (spec.get("template") or {}).get("spec") or {}
    names = {c.get("name") for key in ("containers", "initContainers") for c in pod.get(key) or ()}
    for i, rule in enumerate(rules):
        errors += _failure_rule(spec, rule, f"{path}.rules[{i}]", names)
    return errors


def _failure_rule(spec: Spec, rule: Spec, path: str, names: set[Any]) -> Errors:
    action, codes, conditions = rule.get("action"), rule.get("onExitCodes"), rule.get("onPodConditions") or ()
    errors: Errors = []
    if not action:
        errors.append(required(f"{path}.action", _valid_values(_ACTIONS)))
    elif action == "FailIndex":
        if spec.get("backoffLimitPerIndex") is None:
            errors.append(invalid_value(f"{path}.action", action, "requires the backoffLimitPerIndex to be set"))
    elif action not in _ACTIONS:
        errors.append(not_supported(f"{path}.action", action, _ACTIONS))
    if codes is not None:
        errors += _exit_codes(codes, f"{path}.onExitCodes", names)
    if conditions:
        errors += _pod_conditions(conditions, f"{path}.onPodConditions")
    if codes is not None and conditions:
        detail = "specifying both OnExitCodes and OnPodConditions is not supported"
        errors.append(invalid_value(path, OMITTED, detail))
    if codes is None and not conditions:
        errors.append(invalid_value(path, OMITTED, "specifying one of OnExitCodes and OnPodConditions is required"))
    return errors


def _exit_codes(codes: Spec, path: str, names: set[Any]) -> Errors:
    operator, values = codes.get("operator"), codes.get("values")
    errors: Errors = []
    if not operator:
        errors.append(required(f"{path}.operator", _valid_values(_OPERATORS)))
    elif operator not in _OPERATORS:
        errors.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    name = codes.get("containerName")
    if name is not None and name not in names:
        detail = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid_value(f"{path}.containerName", name, detail))
    at = f"{path}.values"
    if not values:
        errors.append(invalid_value(at, _go_numbers(values), "at least one value is required"))
        return errors
    if len(values) > MAX_EXIT_CODES:
        errors.append(too_many(at, len(values), MAX_EXIT_CODES))
    seen: set[int] = set()
    for j, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.append(invalid_value(f"{at}[{j}]", value, "must not be 0 for the In operator"))
        if value in seen:
            errors.append(duplicate(f"{at}[{j}]", value))
        seen.add(value)
    if values != sorted(values):
        errors.append(invalid_value(at, _go_numbers(values), "must be ordered"))
    return errors


def _go_numbers(values: list[int] | None) -> GoSyntax:
    return GoSyntax("[]int32(nil)" if values is None else f"[]int32{{{', '.join(map(str, values))}}}")


def _pod_conditions(conditions: list[Spec], path: str) -> Errors:
    errors: Errors = []
    if len(conditions) > MAX_CONDITIONS:
        errors.append(too_many(path, len(conditions), MAX_CONDITIONS))
    for j, pattern in enumerate(conditions):
        kind, status = pattern.get("type") or "", pattern.get("status") or ""
        errors += texts(f"{path}[{j}].type", kind, is_qualified_name(kind))
        if not status:
            errors.append(required(f"{path}[{j}].status", _valid_values(_STATUSES)))
        elif status not in _STATUSES:
            errors.append(not_supported(f"{path}[{j}].status", status, _STATUSES))
    return errors


def check_success_policy(spec: Spec, policy: Spec, path: str) -> Errors:
    rules = policy.get("rules") or ()
    if spec.get("completionMode") != "Indexed":
        return [invalid_value(path, _go_success_policy(rules), "requires indexed completion mode")]
    errors: Errors = []
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        errors.append(required(f"{path}.rules", detail))
    if len(rules) > MAX_RULES:
        errors.append(too_many(f"{path}.rules", len(rules), MAX_RULES))
    completions = spec.get("completions") or 0
    for i, rule in enumerate(rules):
        errors += _success_rule(rule, f"{path}.rules[{i}]", completions)
    return errors


def _go_success_policy(rules: Any) -> GoSyntax:
    # Go prints the addresses of what a rule points at: that cannot be equal.
    shown = ", ".join(
        f"batch.SuccessPolicyRule{{SucceededIndexes:(*string)({_pointer(r, 'succeededIndexes')}), "
        f"SucceededCount:(*int32)({_pointer(r, 'succeededCount')})}}"
        for r in rules
    )
    return GoSyntax(f"batch.SuccessPolicy{{Rules:[]batch.SuccessPolicyRule{{{shown}}}}}")


def _pointer(rule: Spec, field: str) -> str:
    return "nil" if rule.get(field) is None else "0xc000000000"


def _success_rule(rule: Spec, path: str, completions: int) -> Errors:
    indexes, wanted = rule.get("succeededIndexes"), rule.get("succeededCount")
    errors: Errors = []
    if indexes is None and wanted is None:
        detail = "at least one of succeededCount or succeededIndexes must be specified"
        errors.append(required(path, detail))
    total = 0
    if indexes is not None:
        at = f"{path}.succeededIndexes"
        if len(indexes) > MAX_SUCCEEDED_INDEXES:
            errors.append(too_long(at, MAX_SUCCEEDED_INDEXES))
        try:
            total = count(parse_indexes(indexes, completions))
        except IndexesError as error:
            errors.append(invalid_value(at, indexes, f"error parsing succeededIndexes: {error}"))
    if wanted is not None:
        at = f"{path}.succeededCount"
        errors += not_negative(rule, "succeededCount", path)
        if wanted > completions:
            detail = f"must be less than or equal to {completions} (the number of specified completions)"
            errors.append(invalid_value(at, wanted, detail))
        if indexes is not None and wanted > total:
            detail = (
                f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            )
            errors.append(invalid_value(at, wanted, detail))
    return errors
