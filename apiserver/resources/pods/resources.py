"""What containers ask for: names of resources, amounts, huge pages (upstream: validateResourceRequirements).

Amounts are canonical texts here (the decoder writes them so): a negative one begins with a minus, and equal texts are
equal amounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from apiserver.resources.checks import NOT_NEGATIVE, Errors
from apiserver.resources.pods.names import check_names, qualified_problems
from common.api.quantity import Quantity, go_quantity, parse_quantity
from common.api.status import GoSyntax, field_forbidden, invalid_value, required
from common.remember import remembered

HUGE = "hugepages-"
NOT_INTEGER = "must be an integer"
_CONTAINER = frozenset({"cpu", "memory", "ephemeral-storage"})
_COUNTED = frozenset(
    {
        "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
        "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
    }
)  # fmt: skip
_QUOTA = frozenset(
    {
        "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu", "limits.memory",
        "limits.ephemeral-storage", "requests.storage",
    }
)  # fmt: skip
STANDARD = _CONTAINER | _COUNTED | _QUOTA | {"storage"}


def is_huge(name: str) -> bool:
    return name.startswith(HUGE)


def is_quota_huge(name: str) -> bool:
    return name.startswith((HUGE, f"requests.{HUGE}"))


def is_standard_for_quota(name: str) -> bool:
    return (name in STANDARD and name != "storage") or is_quota_huge(name)


def is_native(name: str) -> bool:
    """Of Kubernetes itself: without a domain, or with its own."""
    return "/" not in name or "kubernetes.io/" in name


def is_overcommit_allowed(name: str) -> bool:
    return is_native(name) and not is_huge(name)


@remembered(4096)
def is_extended(name: str) -> bool:
    """A resource of somebody else's, which a quota can count too."""
    return not is_native(name) and not name.startswith("requests.") and not qualified_problems(f"requests.{name}")


def is_integer(name: str) -> bool:
    return name in _COUNTED or is_extended(name)


def check_name(errors: Errors, name: str, path: str) -> None:
    problems = qualified_problems(name)
    if problems:
        check_names(errors, path, name, problems)
    elif "/" not in name and name not in STANDARD and not is_quota_huge(name):
        errors.append(invalid_value(path, name, "must be a standard resource type or fully qualified"))


def check_container_name(errors: Errors, name: str, path: str) -> None:
    if name in _CONTAINER:
        return
    check_name(errors, name, path)
    if "/" not in name:
        if not is_huge(name):
            errors.append(invalid_value(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        errors.append(invalid_value(path, name, "doesn't follow extended resource name standard"))


def check_amount(errors: Errors, name: str, amount: str, path: str) -> None:
    """Upstream: ValidateResourceQuantityValue."""
    if amount[:1] == "-":
        errors.append(invalid_value(path, amount, NOT_NEGATIVE))
    if name not in _CONTAINER and is_integer(name) and not parse_quantity(amount).is_whole():
        errors.append(invalid_value(path, GoSyntax(go_quantity(amount)), NOT_INTEGER))


def _check_huge(errors: Errors, name: str, amount: str, path: str) -> None:
    try:
        size = parse_quantity(name.removeprefix(HUGE))
    except ValueError:
        size = Quantity(Decimal(0))
    if size.amount <= 0 or not size.is_whole() or parse_quantity(amount).value() % size.value():
        errors.append(invalid_value(path, amount, f"{amount} is not positive integer multiple of {name}"))


def check_requirements(errors: Errors, resources: Mapping[str, Any], path: str) -> None:
    """Limits, requests, and that requests do not exceed limits."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, amount in limits.items():
        if name in _CONTAINER and amount[:1] != "-":
            continue
        _check_entry(errors, name, amount, f"{path}.limits[{name}]")
    for name, amount in requests.items():
        plain = name in _CONTAINER
        if not plain or amount[:1] == "-":
            _check_entry(errors, name, amount, f"{path}.requests[{name}]", huge=False)
        limit = limits.get(name)
        if plain and (limit is None or amount == limit or _order(amount, limit) < 0):
            continue
        if amount != limit:
            _check_request(errors, name, amount, limit, path)
        if not plain and is_huge(name):
            _check_huge(errors, name, amount, f"{path}.requests[{name}]")
    if "cpu" in limits or "memory" in limits or "cpu" in requests or "memory" in requests:
        return
    if any(map(is_huge, limits)) or any(map(is_huge, requests)):
        errors.append(field_forbidden(path, "HugePages require cpu or memory"))


def _check_entry(errors: Errors, name: str, amount: str, at: str, *, huge: bool = True) -> None:
    check_container_name(errors, name, at)
    check_amount(errors, name, amount, at)
    if huge and is_huge(name):
        _check_huge(errors, name, amount, at)


def _order(amount: str, other: str) -> int:
    """Below 0 when the first amount is the smaller, above when it is the larger."""
    if amount == other:
        return 0
    first, second = parse_quantity(amount), parse_quantity(other)
    return (first > second) - (first < second)


def _check_request(errors: Errors, name: str, amount: str, limit: str | None, path: str) -> None:
    if limit is None:
        if not is_overcommit_allowed(name):
            errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        return
    order = _order(amount, limit)
    if order and not is_overcommit_allowed(name):
        errors.append(invalid_value(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}"))
    elif order > 0:
        detail = f"must be less than or equal to {name} limit of {limit}"
        errors.append(invalid_value(f"{path}.requests", amount, detail))
