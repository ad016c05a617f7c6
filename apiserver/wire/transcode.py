"""Protobuf to JSON, driven by the table of field numbers.

The envelope: ``k8s\\0``, then runtime.Unknown (1 typeMeta {1 apiVersion, 2 kind}, 2 raw, 3 contentEncoding,
4 contentType); https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from apiserver import depth
from apiserver.wire.table import BYTES, FIXED32, FIXED64, VARINT, Table, message_name, tables
from common.api.status import BadRequest, UnsupportedMediaType
from common.api.time import to_rfc3339, to_rfc3339_micro

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"
MAX_DEPTH = 64


class WireError(ValueError):
    """The bytes are no message."""


def to_json(body: bytes) -> bytes:
    """The JSON of an encoded object. Raises BadRequest, and UnsupportedMediaType for kinds without a table."""
    try:
        return depth.dumps(_envelope(body))
    except IndexError:
        raise BadRequest("unable to decode the protobuf body: unexpected end") from None
    except (WireError, struct.error, UnicodeDecodeError, orjson.JSONDecodeError, OverflowError) as error:
        raise BadRequest(f"unable to decode the protobuf body: {error}") from None


def _envelope(body: bytes) -> dict[str, Any]:
    if not body.startswith(MAGIC):
        raise WireError(f"the provided data does not appear to be a protobuf message, expected prefix {list(MAGIC)}")
    api_version = kind = ""
    raw: bytes = b""
    for number, value in _fields(body[len(MAGIC) :]):
        if number == 1:
            for part, text in _fields(_as_bytes(value)):
                if part == 1:
                    api_version = _as_bytes(text).decode()
                elif part == 2:
                    kind = _as_bytes(text).decode()
        elif number == 2:
            raw = _as_bytes(value)
    known = tables()
    table = known.get(message_name(api_version, kind), known.get(f"meta.v1.{kind}"))
    if table is None:
        raise UnsupportedMediaType(f"{api_version} {kind} is accepted as application/json or application/yaml only")
    return {"kind": kind, "apiVersion": api_version, **_message(table, raw, 0, len(raw), 0)}


def _message(table: Table, data: bytes, at: int, end: int, depth: int) -> dict[str, Any]:
    """The message in ``data[at:end]``. One loop without calls for the common cases: bodies have hundreds of fields."""
    if depth > MAX_DEPTH:
        raise WireError("too deep")
    found: dict[str, Any] = {}
    while at < end:
        tag = data[at]
        at += 1
        if tag > 0x7F:
            tag, at = _varint(data, at - 1)
        field = table.get(tag)
        if field is None:
            _check_unknown(table, tag)
        if tag & 7 != BYTES:
            number, at = _number(tag, data, at)
            if field is not None:
                key, type_, how, _ = field
                value = _scalar(type_, number)
                if how == "*":
                    found.setdefault(key, []).append(value)
                elif value or how == "?":
                    found[key] = value
            continue
        length = data[at]
        at += 1
        if length > 0x7F:
            length, at = _varint(data, at - 1)
        start, at = at, at + length
        if at > end:
            raise WireError("unexpected end")
        if field is None:
            continue
        key, type_, how, inner = field
        if type_ == "s" and how != "%":
            text = data[start:at].decode()
            if how == "*":
                found.setdefault(key, []).append(text)
            elif text or how == "?":
                found[key] = text
        elif how == "%":
            entry_key, entry_value = _entry(type_, inner, data, start, at, depth)
            found.setdefault(key, {})[entry_key] = entry_value
        elif how == "~" and inner is not None:
            found.update(_message(inner, data, start, at, depth + 1))
        else:
            value = _held(type_, inner, data, start, at, depth)
            if how == "*":
                found.setdefault(key, []).append(value)
            elif value is not None and (how == "?" or value or inner is not None):  # a message is said, empty or not
                found[key] = value
    if at != end:
        raise WireError("unexpected end")
    return found


def _check_unknown(table: Table, tag: int) -> None:
    """A newer client's field is passed over; one that is known, but written in another way, is an error."""
    if any(known >> 3 == tag >> 3 for known in table):
        raise WireError(f"wrong wire type {tag & 7} for field {tag >> 3}")


def _held(type_: str, inner: Table | None, data: bytes, start: int, end: int, depth: int) -> Any:
    """What is written as bytes."""
    if type_ == "s":
        return data[start:end].decode()
    if type_ == "b":
        return base64.b64encode(data[start:end]).decode()
    special = _SPECIAL.get(type_)
    if special is not None:
        return special(data[start:end])
    if inner is None:
        raise WireError(f"unknown message {type_}")
    return _message(inner, data, start, end, depth + 1)


def _scalar(type_: str, number: int) -> Any:
    if type_ == "o":
        return bool(number)
    if type_ == "d":
        return struct.unpack("<d", number.to_bytes(8, "little"))[0]
    return _signed(number)


def _number(tag: int, data: bytes, at: int) -> tuple[int, int]:
    """A value that is not bytes, and where the next tag is."""
    kind = tag & 7
    if kind == VARINT:
        value = data[at]
        return (value, at + 1) if value < 0x80 else _varint(data, at)
    size = _SIZES.get(kind)
    if size is None:
        raise WireError(f"wire type {kind}")
    if at + size > len(data):
        raise WireError("unexpected end")
    return int.from_bytes(data[at : at + size], "little"), at + size


_SIZES = {FIXED64: 8, FIXED32: 4}


def _entry(type_: str, inner: Table | None, data: bytes, at: int, end: int, depth: int) -> tuple[str, Any]:
    key, value = "", _DEFAULTS.get(type_)
    for number, content in _fields(data[at:end]):
        if number == 1:
            key = _as_bytes(content).decode()
        elif number == 2:
            if isinstance(content, int):
                value = _scalar(type_, content)
            else:
                value = _held(type_, inner, content, 0, len(content), depth)
    return key, {} if value is None else value


_DEFAULTS = {"s": "", "b": "", "i": 0, "o": False, "api.resource.Quantity": "0"}


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == BYTES:
            length, at = _varint(data, at)
            if at + length > end:
                raise WireError("unexpected end")
            yield number, data[at : at + length]
            at += length
        else:
            value, at = _number(tag, data, at)
            yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError("unexpected end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise WireError("bytes were expected")
    return value


def _time(data: bytes) -> str | None:
    """None for Go's zero time, which is an empty message."""
    moment = _moment(data)
    return None if moment is None else to_rfc3339(moment)


def _micro_time(data: bytes) -> str | None:
    moment = _moment(data)
    return None if moment is None else to_rfc3339_micro(moment)


def _moment(data: bytes) -> datetime | None:
    numbers = {number: value for number, value in _fields(data) if isinstance(value, int)}
    if not numbers:
        return None
    seconds, nanos = _signed(numbers.get(1, 0)), _signed(numbers.get(2, 0))
    if not -62135596800 <= seconds <= 253402300799:
        raise WireError("a time out of range")
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=max(0, min(nanos // 1000, 999_999)))


def _quantity(data: bytes) -> str:
    return next((_as_bytes(value).decode() for number, value in _fields(data) if number == 1), "0")


def _int_or_string(data: bytes) -> int | str:
    fields = dict(_fields(data))
    if fields.get(1):
        return _as_bytes(fields.get(3, b"")).decode()
    number = fields.get(2, 0)
    return _signed(number) if isinstance(number, int) else 0


def _raw(data: bytes) -> Any:
    """JSON inside the message (RawExtension, FieldsV1)."""
    content = next((_as_bytes(value) for number, value in _fields(data) if number == 1), b"")
    return orjson.loads(content) if content else None


def _items(data: bytes) -> list[str]:
    return [_as_bytes(value).decode() for number, value in _fields(data) if number == 1]


_SPECIAL = {
    "meta.v1.Time": _time,
    "meta.v1.MicroTime": _micro_time,
    "api.resource.Quantity": _quantity,
    "util.intstr.IntOrString": _int_or_string,
    "runtime.RawExtension": _raw,
    "meta.v1.FieldsV1": _raw,
    "authentication.v1.ExtraValue": _items,
    "authorization.v1.ExtraValue": _items,
    "certificates.v1.ExtraValue": _items,
}
