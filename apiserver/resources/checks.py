"""Checks that validation of many kinds shares. Each returns field errors in upstream's words.

Upstream: pkg/apis/core/validation and apimachinery/pkg/apis/meta/v1/validation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from common.api.names import is_label_value, is_qualified_name, is_valid_port_num
from common.api.quantity import Quantity, parse_quantity
from common.api.status import (
    FieldError,
    GoSyntax,
    field_forbidden,
    invalid_value,
    not_supported,
    required,
    too_long,
)

IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"
PROTOCOLS = ("SCTP", "TCP", "UDP")
_PERCENT = re.compile(r"[0-9]+%")
_PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' "
    "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
)
Errors = list[FieldError]


def under(path: str, field: str) -> str:
    """The path of a field; of one at the top when the path is empty."""
    return f"{path}.{field}" if path else field


def not_negative(obj: Mapping[str, Any], field: str, path: str) -> Errors:
    value = obj.get(field)
    return [invalid_value(under(path, field), value, NOT_NEGATIVE)] if value is not None and value < 0 else []


def one_of(obj: Mapping[str, Any], field: str, path: str, allowed: Iterable[str]) -> Errors:
    """A field that must be one of some words; missing is right."""
    value = obj.get(field)
    return [not_supported(under(path, field), value, allowed)] if value and value not in allowed else []


def filled(obj: Mapping[str, Any], path: str, *fields: str) -> Errors:
    return [required(under(path, field)) for field in fields if not obj.get(field)]


def texts(path: str, value: Any, problems: Iterable[str]) -> Errors:
    return [invalid_value(path, value, text) for text in problems]


def labels(values: Mapping[str, str] | None, path: str) -> Errors:
    errors: Errors = []
    for key, value in (values or {}).items():
        errors += texts(path, key, is_qualified_name(key))
        errors += texts(path, value, is_label_value(value))
    return errors


MAX_ANNOTATIONS = 256 * 1024


def annotation_keys(values: Mapping[str, str] | None, path: str) -> Errors:
    """Upstream: ValidateAnnotations."""
    errors: Errors = []
    size = 0
    for key, value in (values or {}).items():
        errors += texts(path, key, is_qualified_name(key.lower()))
        size += len(key.encode()) + len(value.encode())
    return [*errors, too_long(path, MAX_ANNOTATIONS)] if size > MAX_ANNOTATIONS else errors


def label_selector(selector: Mapping[str, Any] | None, path: str) -> Errors:
    if not selector:
        return []
    errors = labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for i, expression in enumerate(selector.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{i}]"
        operator, values = expression.get("operator"), expression.get("values")
        if operator in ("In", "NotIn"):
            if not values:
                errors.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(field_forbidden(f"{at}.values", detail))
        else:
            errors.append(invalid_value(f"{at}.operator", operator or "", "not a valid selector operator"))
        errors += texts(f"{at}.key", expression.get("key", ""), is_qualified_name(expression.get("key", "")))
        for j, value in enumerate(values or ()):
            errors += texts(f"{at}.values[{j}]", value, is_label_value(value))
    return errors


def is_empty_selector(selector: Mapping[str, Any]) -> bool:
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def port_or_name(value: Any, path: str, problems_of_name: Any) -> Errors:
    if isinstance(value, int):
        return texts(path, value, is_valid_port_num(value))
    return texts(path, value, problems_of_name(str(value or "")))


def int_or_percent(value: Any, path: str) -> Errors:
    """A count or a share, neither below zero."""
    if isinstance(value, str):
        return [] if _PERCENT.fullmatch(value) else [invalid_value(path, go_int_or_string(value), _PERCENT_TEXT)]
    return [invalid_value(path, value, NOT_NEGATIVE)] if value < 0 else []


def at_most_100_percent(value: Any, path: str) -> Errors:
    if isinstance(value, str) and _PERCENT.fullmatch(value) and int(value[:-1]) > 100:
        return [invalid_value(path, go_int_or_string(value), "must not be greater than 100%")]
    return []


def is_zero_share(value: Any) -> bool:
    return value in (0, "0%") or value is None


def go_int_or_string(value: Any) -> GoSyntax:
    if isinstance(value, str):
        return GoSyntax(f"intstr.IntOrString{{Type:1, IntVal:0, StrVal:{json.dumps(value)}}}")
    return GoSyntax(f'intstr.IntOrString{{Type:0, IntVal:{value}, StrVal:""}}')


def go_strings(values: Iterable[str]) -> GoSyntax:
    return GoSyntax(f"[]string{{{', '.join(map(json.dumps, values))}}}")


def go_map(values: Mapping[str, str] | None) -> GoSyntax:
    if values is None:
        return GoSyntax("map[string]string(nil)")
    return GoSyntax(
        f"map[string]string{{{', '.join(f'{json.dumps(k)}:{json.dumps(v)}' for k, v in sorted(values.items()))}}}"
    )


def go_selector(selector: Mapping[str, Any] | None) -> GoSyntax:
    """A LabelSelector as Go prints it with %#v."""
    selector = selector or {}
    expressions = selector.get("matchExpressions")
    if expressions is None:
        shown = "[]v1.LabelSelectorRequirement(nil)"
    else:
        items = ", ".join(map(_go_requirement, expressions))
        shown = f"[]v1.LabelSelectorRequirement{{{items}}}"
    return GoSyntax(f"v1.LabelSelector{{MatchLabels:{go_map(selector.get('matchLabels'))}, MatchExpressions:{shown}}}")


def _go_requirement(expression: Mapping[str, Any]) -> str:
    key, operator = (json.dumps(expression.get(field, "")) for field in ("key", "operator"))
    values = expression.get("values")
    shown = "[]string(nil)" if values is None else go_strings(values)
    return f"v1.LabelSelectorRequirement{{Key:{key}, Operator:{operator}, Values:{shown}}}"


def quantity(value: Any) -> Quantity:
    """A quantity that the decoder has let through."""
    return parse_quantity(value)


def quantities(values: Mapping[str, Any] | None, path: str) -> Errors:
    """A resource list: no amount below zero."""
    return [
        invalid_value(f"{path}[{name}]", value, NOT_NEGATIVE)
        for name, value in (values or {}).items()
        if quantity(value).amount < 0
    ]
