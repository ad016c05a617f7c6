"""metav1.Conditions (upstream: apimachinery/pkg/apis/meta/v1/validation.ValidateConditions)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from apiserver.resources.checks import Errors, texts
from common.api.names import is_qualified_name
from common.api.status import duplicate, invalid_value, not_supported, required, too_long

MAX_REASON, MAX_MESSAGE = 1024, 32 * 1024
STATUSES = ("False", "True", "Unknown")
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_REASON_TEXT = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  "
    "or 'MyName',  or "
    f"'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '{_REASON.pattern}')"
)


def check_conditions(conditions: Iterable[dict[str, Any]], path: str) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        kind = condition.get("type") or ""
        if kind in seen:
            errors.append(duplicate(f"{path}[{i}].type", kind))
        seen.add(kind)
        errors += _condition(condition, f"{path}[{i}]")
    return errors


def _condition(condition: dict[str, Any], path: str) -> Errors:
    kind, status, reason = (condition.get(f) or "" for f in ("type", "status", "reason"))
    errors = texts(f"{path}.type", kind, is_qualified_name(kind))
    if status not in STATUSES:
        errors.append(not_supported(f"{path}.status", status, STATUSES))
    generation = condition.get("observedGeneration") or 0
    if generation < 0:
        detail = "must be greater than or equal to zero"
        errors.append(invalid_value(f"{path}.observedGeneration", generation, detail))
    if not condition.get("lastTransitionTime"):
        errors.append(required(f"{path}.lastTransitionTime", "must be set"))
    if not reason:
        errors.append(required(f"{path}.reason", "must be set"))
    else:
        if not _REASON.fullmatch(reason):
            errors.append(invalid_value(f"{path}.reason", reason, _REASON_TEXT))
        if len(reason) > MAX_REASON:
            errors.append(too_long(f"{path}.reason", MAX_REASON))
    if len(condition.get("message") or "") > MAX_MESSAGE:
        errors.append(too_long(f"{path}.message", MAX_MESSAGE))
    return errors
