"""PodDisruptionBudgets (upstream: pkg/apis/policy/validation)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import (
    Errors,
    at_most_100_percent,
    int_or_percent,
    label_selector,
    not_negative,
)
from apiserver.resources.validation.conditions import check_conditions
from apiserver.types import Object
from common.api.status import GoSyntax, invalid_value, not_supported

EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")


def check_disruption_budget(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors: Errors = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        shown = GoSyntax(
            "policy.PodDisruptionBudgetSpec{MinAvailable:(*intstr.IntOrString)(0xc000000000), "
            f"Selector:(*v1.LabelSelector)({'nil' if spec.get('selector') is None else '0xc000000000'}), "
            "MaxUnavailable:(*intstr.IntOrString)(0xc000000000), "
            "UnhealthyPodEvictionPolicy:(*policy.UnhealthyPodEvictionPolicyType)"
            f"({'nil' if spec.get('unhealthyPodEvictionPolicy') is None else '0xc000000000'})}}"
        )
        errors.append(invalid_value("spec", shown, "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        if (value := spec.get(field)) is not None:
            errors += int_or_percent(value, f"spec.{field}") + at_most_100_percent(value, f"spec.{field}")
    errors += label_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in EVICTION_POLICIES:
        errors.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, EVICTION_POLICIES))
    return errors


def check_disruption_budget_status(obj: Object, old: Object) -> Errors:
    status: dict[str, Any] = obj.get("status") or {}
    errors = check_conditions(status.get("conditions") or (), "status.conditions")
    for field in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        errors += not_negative(status, field, "status")
    return errors
