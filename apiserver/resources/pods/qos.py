"""A pod's quality of service class (https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/)."""

from __future__ import annotations

from typing import Any

from common.api.quantity import parse_quantity

_COMPUTE = ("cpu", "memory")


def qos_class(spec: dict[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort; a limit counts as a request where none is given."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    guaranteed, any_set = True, False
    for container in containers:
        resources = container.get("resources") or {}
        limits = _amounts(resources.get("limits"))
        requests = {**limits, **_amounts(resources.get("requests"))}
        any_set = any_set or bool(requests)
        guaranteed = guaranteed and limits.keys() == set(_COMPUTE) and requests == limits
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _amounts(resources: dict[str, Any] | None) -> dict[str, Any]:
    """Amounts of CPU and memory that are not zero; what is no quantity is left to validation."""
    amounts = {}
    for name in _COMPUTE:
        try:
            amount = parse_quantity((resources or {}).get(name, 0))
        except ValueError:
            continue
        if amount.amount:
            amounts[name] = amount
    return amounts
