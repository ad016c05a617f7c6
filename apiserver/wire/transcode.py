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

from apiserver.wire.table import message_name, messages
from common.api.status import BadRequest, UnsupportedMediaType
from common.api.time import to_rfc3339, to_rfc3339_micro

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"
MAX_DEPTH = 64
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are no message."""


def to_json(body: bytes) -> bytes:
    """The JSON of an encoded object. Raises BadRequest, and UnsupportedMediaType for kinds without a table."""
    try:
        return orjson.dumps(_envelope(body))
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
    name = message_name(api_version, kind)
    if name not in messages():
        name = f"meta.v1.{kind}"
        if name not in messages():
            raise UnsupportedMediaType(f"{api_version} {kind} is accepted as application/json or application/yaml only")
    return {"kind": kind, "apiVersion": api_version, **_message(name, raw, 0)}


def _message(name: str, data: bytes, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise WireError("too deep")
    special = _SPECIAL.get(name)
    if special is not None:
        return special(data)
    table = messages().get(name)
    if table is None:
        raise WireError(f"unknown message {name}")
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        field = table.get(number)
        if field is None:
            continue  # a newer client's field
        key, type_, how = field
        if how == "*":
            found.setdefault(key, []).append(_value(type_, value, depth))
        elif how == "%":
            entry_key, entry_value = _entry(type_, _as_bytes(value), depth)
            found.setdefault(key, {})[entry_key] = entry_value
        elif how == "~":
            found.update(_message(type_, _as_bytes(value), depth + 1))
        else:
            decoded = _value(type_, value, depth)
            if decoded is not None and (how == "?" or decoded or len(type_) > 1):  # a message is said, empty or not
                found[key] = decoded
    return found


def _value(type_: str, value: int | bytes, depth: int) -> Any:
    if type_ == "s":
        return _as_bytes(value).decode()
    if type_ == "b":
        return base64.b64encode(_as_bytes(value)).decode()
    if type_ in ("i", "o"):
        if not isinstance(value, int):
            raise WireError("a number was expected")
        return bool(value) if type_ == "o" else _signed(value)
    if type_ == "d":
        return struct.unpack("<d", value.to_bytes(8, "little") if isinstance(value, int) else value)[0]
    return _message(type_, _as_bytes(value), depth + 1)


def _entry(type_: str, data: bytes, depth: int) -> tuple[str, Any]:
    key, value = "", _DEFAULTS.get(type_)
    for number, content in _fields(data):
        if number == 1:
            key = _as_bytes(content).decode()
        elif number == 2:
            value = _value(type_, content, depth)
    return key, {} if value is None else value


_DEFAULTS = {"s": "", "b": "", "i": 0, "o": False, "meta.v1.Quantity": "0", "api.resource.Quantity": "0"}


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif kind == BYTES:
            length, at = _varint(data, at)
            if at + length > end:
                raise WireError("unexpected end")
            yield number, data[at : at + length]
            at += length
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
            if at + size > end:
                raise WireError("unexpected end")
            yield number, int.from_bytes(data[at : at + size], "little")
            at += size
        else:
            raise WireError(f"wire type {kind}")


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
