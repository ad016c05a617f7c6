"""Errors that carry what an HTTP ``Status`` needs.

The server raises them and encodes them with :meth:`StatusError.to_status`; the client turns an answer back into the
same type with :meth:`StatusError.from_status`. So ``except NotFound`` means the same thing on both sides of the wire.
Reasons and codes: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

MAX_CAUSES = 1000
"""A body of 3 MB may have a hundred thousand errors, and each is told twice."""


class StatusError(Exception):
    """An answer other than success. ``details`` has upstream's StatusDetails shape (name, group, kind, causes …)."""

    code: int = 500
    reason: str = ""

    def __init__(
        self, message: str, details: dict[str, Any] | None = None, *, code: int | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.metadata: dict[str, Any] = {}
        """The Status's own: a token to go on with, of a list that ran out."""
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason

    def to_status(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asks the client to wait, if it said so."""
        seconds = (self.details or {}).get("retryAfterSeconds")
        return float(seconds) if seconds else None

    @staticmethod
    def from_status(status: dict[str, Any], code: int = 500) -> StatusError:
        """The error of a Status object. Falls back to the HTTP code when the reason is unknown."""
        code = status.get("code") or code
        reason = status.get("reason") or ""
        message = status.get("message") or f"the server answered {code}"
        kind = _BY_REASON.get(reason) or _BY_CODE.get(code, StatusError)
        return kind(message, status.get("details"), code=code, reason=reason or kind.reason)


class BadRequest(StatusError):
    code, reason = 400, "BadRequest"


class Unauthorized(StatusError):
    code, reason = 401, "Unauthorized"

    def __init__(self, message: str = "Unauthorized", details: dict[str, Any] | None = None, **kw: Any) -> None:
        super().__init__(message, details, **kw)


class Forbidden(StatusError):
    code, reason = 403, "Forbidden"


class NotFound(StatusError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(StatusError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(StatusError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(StatusError):
    code, reason = 409, "AlreadyExists"


class Conflict(StatusError):
    code, reason = 409, "Conflict"


class Gone(StatusError):
    code, reason = 410, "Gone"


class Expired(Gone):
    """The resourceVersion or continue token is older than what the server still has: list again."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(StatusError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(StatusError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(StatusError):
    code, reason = 422, "Invalid"


class TooManyRequests(StatusError):
    code, reason = 429, "TooManyRequests"


class InternalError(StatusError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(StatusError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(StatusError):
    code, reason = 504, "Timeout"


_KINDS: tuple[type[StatusError], ...] = (
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    Timeout,
)
_BY_REASON = {kind.reason: kind for kind in _KINDS}
_BY_CODE = {kind.code: kind for kind in reversed(_KINDS)} | {409: Conflict, 410: Gone}


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong with one field. ``type`` is upstream's cause reason, ``field`` its path."""

    type: str
    field: str
    detail: str = ""
    value: Any = None

    _WORDS: ClassVar[dict[str, str]] = {
        "FieldValueRequired": "Required value",
        "FieldValueInvalid": "Invalid value",
        "FieldValueNotSupported": "Unsupported value",
        "FieldValueDuplicate": "Duplicate value",
        "FieldValueForbidden": "Forbidden",
        "FieldValueTooLong": "Too long",
        "FieldValueTooMany": "Too many",
        "FieldValueNotFound": "Not found",
        "FieldValueTypeInvalid": "Invalid value",
        "InternalError": "Internal error",
    }
    _WITHOUT_VALUE: ClassVar[frozenset[str]] = frozenset(
        {"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "InternalError"}
    )

    @property
    def body(self) -> str:
        """What is wrong, without the path: the ``message`` of a cause."""
        words = self._WORDS[self.type]
        if self.value is not OMITTED and self.type not in self._WITHOUT_VALUE:
            words = f"{words}: {_shown(self.value)}"
        return f"{words}: {self.detail}" if self.detail else words

    def message(self) -> str:
        return f"{self.field}: {self.body}"


class Omitted(Enum):
    VALUE = "the value says nothing that the detail does not say (upstream: field.OmitValueType)"


OMITTED = Omitted.VALUE


class GoSyntax(str):
    """The value of a field error that Go prints as a composite literal: shown as it is, without quotes."""


def _shown(value: Any) -> str:
    """A value as Go prints it in a field error: strings quoted, numbers plain, maps and lists of strings as literals,
    the rest as JSON."""
    if isinstance(value, GoSyntax):
        return str(value)
    if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        pairs = ", ".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in sorted(value.items()))
        return f"map[string]string{{{pairs}}}"
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return f"[]string{{{', '.join(json.dumps(v, ensure_ascii=False) for v in value)}}}"
    if value is None:
        return '"null"'
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def required(field: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", field, detail)


def invalid_value(field: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, detail, value)


def type_invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueTypeInvalid", field, detail, value)


def not_supported(field: str, value: Any, allowed: Iterable[str]) -> FieldError:
    """``allowed`` is named in its own order; a set is sorted."""
    names = ", ".join(json.dumps(v) for v in (sorted(allowed) if isinstance(allowed, Set) else allowed))
    return FieldError("FieldValueNotSupported", field, f"supported values: {names}" if names else "", value)


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", field, "", value)


def field_forbidden(field: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, detail)


def too_long(field: str, limit: int) -> FieldError:
    return FieldError("FieldValueTooLong", field, f"may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> FieldError:
    return FieldError("FieldValueTooMany", field, f"must have at most {limit} items", count)


def field_not_found(field: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", field, "", value)


def _details(name: str, group: str, kind: str, causes: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    if causes:
        details["causes"] = list(causes)
    return details


def _qualified(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def not_found(resource: str, name: str, group: str = "") -> NotFound:
    """``pods "x" not found``. ``resource`` is the plural."""
    return NotFound(f'{_qualified(resource, group)} "{name}" not found', _details(name, group, resource))


def already_exists(resource: str, name: str, group: str = "") -> AlreadyExists:
    return AlreadyExists(f'{_qualified(resource, group)} "{name}" already exists', _details(name, group, resource))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: str, name: str, group: str = "", message: str = MODIFIED) -> Conflict:
    return Conflict(
        f'Operation cannot be fulfilled on {_qualified(resource, group)} "{name}": {message}',
        _details(name, group, resource),
    )


def method_not_supported(resource: str, group: str, action: str) -> MethodNotAllowed:
    text = f'{action} is not supported on resources of kind "{_qualified(resource, group)}"'
    return MethodNotAllowed(text, _details("", group, resource))


def forbidden(resource: str, name: str, group: str = "", message: str = "") -> Forbidden:
    subject = f'{_qualified(resource, group)} "{name}"' if name else _qualified(resource, group)
    return Forbidden(f"{subject} is forbidden: {message}", _details(name, group, resource))


def invalid(kind: str, name: str, group: str, errors: Sequence[FieldError]) -> Invalid:
    """``Pod "x" is invalid: …`` with a cause for each field error, of which MAX_CAUSES are told."""
    told = errors[:MAX_CAUSES]
    unique = list(dict.fromkeys(e.message() for e in told))
    if len(told) < len(errors):
        unique.append(f"and {len(errors) - len(told)} more errors")
    text = unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
    causes = [{"reason": e.type, "message": e.body, "field": e.field} for e in told]
    return Invalid(f'{_qualified(kind, group)} "{name}" is invalid: {text}', _details(name, group, kind, causes))
