"""A pod's quality of service class (https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/)."""

from __future__ import annotations

from typing import Any

from common.api.quantity import parse_quantity

_NOTHING: dict[str, Any] = {}


def qos_class(spec: dict[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort; a limit counts as a request where none is given."""
    guaranteed, any_set = True, False
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind) or ():
            resources = container.get("resources") or _NOTHING
            limits, requests = resources.get("limits") or _NOTHING, resources.get("requests") or _NOTHING
            for name in ("cpu", "memory"):
                limit = limits.get(name)
                request = requests.get(name, limit)
                any_set = any_set or _is_amount(request) or _is_amount(limit)
                guaranteed = guaranteed and _is_amount(limit) and (request == limit or _same(request, limit))
            if any_set and not guaranteed:
                return "Burstable"
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _is_amount(text: Any) -> bool:
    """Whether it is something; what is no quantity is left to validation."""
    try:
        return text is not None and text != "0" and bool(parse_quantity(text).amount)
    except ValueError:
        return False


def _same(request: Any, limit: Any) -> bool:
    return _is_amount(request) and parse_quantity(request) == parse_quantity(limit)
