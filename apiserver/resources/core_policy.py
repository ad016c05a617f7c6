"""LimitRanges and ResourceQuotas: defaults and validation (upstream: ValidateLimitRange, ValidateResourceQuota)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apiserver.resources.checks import IMMUTABLE, Errors, quantity, texts
from apiserver.resources.pods.resources import (
    check_amount,
    check_container_name,
    check_name,
    is_overcommit_allowed,
    is_standard_for_quota,
)
from apiserver.types import Object
from common.api.names import is_qualified_name
from common.api.quantity import go_quantity
from common.api.status import GoSyntax, duplicate, field_forbidden, invalid_value, required

Item = dict[str, Any]

_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_AMOUNTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def default_limit_range(obj: Object) -> None:
    for item in obj.setdefault("spec", {}).setdefault("limits", []):
        if item.get("type") != "Container":
            continue
        limits = {**(item.get("max") or {}), **(item.get("default") or {})}
        requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
        if limits:
            item["default"] = limits
        if requests:
            item["defaultRequest"] = requests


def check_limit_range(obj: Object) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for i, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{i}]", item.get("type", "")
        _check_type(errors, kind, f"{path}.type")
        if kind in seen:
            errors.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        _check_item(errors, item, kind, path)
    return errors


def _check_type(errors: Errors, kind: str, path: str) -> None:
    if problems := is_qualified_name(kind):
        errors += texts(path, kind, problems)
    elif "/" not in kind and kind not in _TYPES:
        errors.append(invalid_value(path, kind, "must be a standard limit type or fully qualified"))


def _check_item(errors: Errors, item: Item, kind: str, path: str) -> None:
    given = {field: item.get(field) or {} for field in _AMOUNTS}
    check = check_container_name if kind in ("Pod", "Container") else check_name
    for field in _AMOUNTS[:4]:
        if kind == "Pod" and field.startswith("default"):
            if given[field]:
                errors.append(field_forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
                given[field] = {}
            continue
        for name in given[field]:
            check(errors, name, f"{path}.{field}[{name}]")
    if kind == "PersistentVolumeClaim" and "storage" not in given["min"] and "storage" not in given["max"]:
        detail = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(required(f"{path}.limits", detail))
    for name in given["maxLimitRequestRatio"]:
        check(errors, name, f"{path}.maxLimitRequestRatio[{name}]")
    for name in dict.fromkeys(name for amounts in given.values() for name in amounts):
        _check_order(errors, name, {field: amounts.get(name) for field, amounts in given.items()}, path)


def _check_order(errors: Errors, name: str, amounts: dict[str, str | None], path: str) -> None:
    """min <= defaultRequest <= default <= max, and the ratio fits."""
    least, most = amounts["min"], amounts["max"]
    limit, request, ratio = amounts["default"], amounts["defaultRequest"], amounts["maxLimitRequestRatio"]

    def refuse(field: str, shown: str, detail: str) -> None:
        errors.append(invalid_value(f"{path}.{field}[{name}]", GoSyntax(go_quantity(shown)), detail))

    def exceeds(a: str | None, b: str | None) -> bool:
        return a is not None and b is not None and quantity(a) > quantity(b)

    if least and exceeds(least, most):
        refuse("min", least, f"min value {least} is greater than max value {most}")
    if request and exceeds(least, request):
        refuse("defaultRequest", request, f"min value {least} is greater than default request value {request}")
    if request and exceeds(request, most):
        refuse("defaultRequest", request, f"default request value {request} is greater than max value {most}")
    if request and exceeds(request, limit):
        refuse(
            "defaultRequest", request, f"default request value {request} is greater than default limit value {limit}"
        )
    if least and exceeds(least, limit):
        refuse("default", least, f"min value {least} is greater than default value {limit}")
    if most and exceeds(limit, most):
        refuse("default", most, f"default value {limit} is greater than max value {most}")
    if ratio:
        _check_ratio(refuse, ratio, least, most)
    if limit and request and not is_overcommit_allowed(name) and quantity(limit) != quantity(request):
        detail = f"default value {limit} must equal to defaultRequest value {request} in {name}"
        refuse("defaultRequest", request, detail)


def _check_ratio(refuse: Any, ratio: str, least: str | None, most: str | None) -> None:
    if quantity(ratio).amount < 1:
        refuse("maxLimitRequestRatio", ratio, f"ratio {ratio} is less than 1")
    if least is None or most is None or not quantity(least).amount:
        return
    limit = quantity(most).milli_value() / quantity(least).milli_value()
    if quantity(ratio).milli_value() / 1000 > limit:
        refuse("maxLimitRequestRatio", ratio, f"ratio {ratio} is greater than max/min = {limit:f}")


# ---- ResourceQuota ------------------------------------------------------------------------------------------------

_SCOPES = (
    "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity",
)  # fmt: skip
_COMPUTE = frozenset({"pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"})
_CONFLICTS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def _scope_fits(scope: str, resource: str) -> bool:
    if scope == "BestEffort":
        return resource == "pods"
    if scope in ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"):
        return resource in _COMPUTE
    return True


def default_resource_quota(obj: Object) -> None:
    obj.setdefault("spec", {})


def check_resource_quota(obj: Object) -> Errors:
    return _check_spec(obj.get("spec") or {}) + _check_status(obj.get("status") or {})


def _amounts(amounts: dict[str, str] | None, path: str) -> Errors:
    errors: Errors = []
    for name, amount in (amounts or {}).items():
        at = f"{path}[{name}]"
        check_name(errors, name, at)
        if "/" not in name and not is_standard_for_quota(name):
            errors.append(invalid_value(at, name, "must be a standard resource for quota"))
        check_amount(errors, name, amount, at)
    return errors


def _check_spec(spec: Item) -> Errors:
    hard = spec.get("hard") or {}
    errors = _amounts(hard, "spec.hard")
    scopes = spec.get("scopes") or []
    shown = _go_scopes(scopes)
    for scope in scopes:
        if scope not in _SCOPES:
            errors.append(invalid_value("spec.scopes", shown, "unsupported scope"))
        for name in sorted(hard):
            if is_standard_for_quota(name) and not _scope_fits(scope, name):
                errors.append(invalid_value("spec.scopes", shown, "unsupported scope applied to resource"))
    errors += _conflicts(scopes, shown, "spec.scopes")
    if (selector := spec.get("scopeSelector")) is not None:
        errors += _check_selector(selector.get("matchExpressions") or [], hard, shown)
    return errors


def _go_scopes(scopes: Iterable[str]) -> GoSyntax:
    names = ", ".join(map('"{}"'.format, scopes))
    return GoSyntax(f"[]core.ResourceQuotaScope{{{names}}}" if names else "[]core.ResourceQuotaScope(nil)")


def _conflicts(scopes: Iterable[str], shown: GoSyntax, path: str) -> Errors:
    found = set(scopes)
    return [invalid_value(path, shown, "conflicting scopes") for pair in _CONFLICTS if found >= set(pair)]


def _check_selector(expressions: list[Item], hard: dict[str, str], shown: GoSyntax) -> Errors:
    path = "spec.scopeSelector.matchExpressions"
    errors: Errors = []
    for expression in expressions:
        scope, operator = expression.get("scopeName", ""), expression.get("operator", "")
        values = expression.get("values") or []
        if scope not in _SCOPES:
            errors.append(invalid_value(f"{path}.scopeName", scope, "unsupported scope"))
        for name in sorted(hard):
            if is_standard_for_quota(name) and not _scope_fits(scope, name):
                detail = "unsupported scope applied to resource"
                errors.append(invalid_value(path, {"matchExpressions": expressions}, detail))
        if scope in _SCOPES and scope != "PriorityClass" and operator != "Exists":
            errors.append(invalid_value(f"{path}.operator", operator, _EXISTS))
        if operator in ("In", "NotIn"):
            if not values:
                detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                errors.append(required(f"{path}.values", detail))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                errors.append(invalid_value(f"{path}.values", values, detail))
        else:
            errors.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    return errors + _conflicts((e.get("scopeName", "") for e in expressions), shown, path)


def _check_status(status: Item) -> Errors:
    return _amounts(status.get("hard"), "status.hard") + _amounts(status.get("used"), "status.used")


def check_resource_quota_update(obj: Object, old: Object) -> Errors:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    errors = _check_spec(spec)
    if set(spec.get("scopes") or ()) != set(before.get("scopes") or ()):
        errors.append(invalid_value("spec.scopes", _go_scopes(spec.get("scopes") or ()), IMMUTABLE))
    return errors


def check_resource_quota_status(obj: Object, old: Object) -> Errors:
    return _check_status(obj.get("status") or {})
