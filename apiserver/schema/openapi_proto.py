"""The OpenAPI v2 document in protobuf, for kubectl before 1.29, which takes no other.

The messages are gnostic's (openapiv2/OpenAPIv2.proto). Only the few that a Kubernetes document uses are written, by
hand: a generated module would be some thousand lines for these sixty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

Json = Mapping[str, Any]

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
_LENGTH_DELIMITED = 2


def encode(document: Json) -> bytes:
    """A Document message of a v2 document."""
    return (
        _text(1, document["swagger"])
        + _bytes(2, _text(1, document["info"]["title"]) + _text(2, document["info"]["version"]))
        + _bytes(8, _named(2, document["paths"], _path_item))
        + _bytes(9, _named(1, document["definitions"], _schema))
    )


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(value)) + value


def _text(number: int, value: str | None) -> bytes:
    return _bytes(number, value.encode()) if value else b""


def _texts(number: int, values: Iterable[str] | None) -> bytes:
    return b"".join(_text(number, value) for value in values or ())


def _flag(number: int, value: bool) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _named(number: int, values: Json, encode_value: Callable[[Any], bytes]) -> bytes:
    """A map, as gnostic writes it: a list of messages of a name and a value."""
    return b"".join(_bytes(number, _text(1, name) + _bytes(2, encode_value(value))) for name, value in values.items())


def _extensions(number: int, source: Json) -> bytes:
    """``x-…`` keys; their values are YAML, which JSON is."""
    found = {name: value for name, value in source.items() if name.startswith("x-")}
    return _named(number, found, lambda value: _text(2, orjson.dumps(value).decode()))


def _path_item(item: Json) -> bytes:
    operations = (_bytes(number, _operation(item[method])) for method, number in _METHODS.items() if method in item)
    return b"".join(operations) + b"".join(_bytes(9, _parameter(p)) for p in item.get("parameters", ()))


def _operation(operation: Json) -> bytes:
    return (
        _text(5, operation["operationId"])
        + _texts(6, operation["produces"])
        + _texts(7, operation["consumes"])
        + b"".join(_bytes(8, _parameter(p)) for p in operation["parameters"])
        + _bytes(9, _named(1, operation["responses"], _response))
        + _extensions(13, operation)
    )


def _parameter(parameter: Json) -> bytes:
    """A ParametersItem: body parameters are one message, those of the query and the path another."""
    name, place, needed = parameter["name"], parameter["in"], bool(parameter.get("required"))
    if place == "body":
        body = _text(2, name) + _text(3, place) + _flag(4, needed) + _bytes(5, _schema(parameter["schema"]))
        return _bytes(1, _bytes(1, body))
    number, type_number = (3, 6) if place == "query" else (4, 5)
    plain = _flag(1, needed) + _text(2, place) + _text(4, name) + _text(type_number, parameter["type"])
    return _bytes(1, _bytes(2, _bytes(number, plain)))


def _response(response: Json) -> bytes:
    schema = response.get("schema")
    shape = _bytes(2, _bytes(1, _schema(schema))) if schema else b""
    return _bytes(1, _text(1, response["description"]) + shape)


def _schema(schema: Json) -> bytes:
    values, items, properties = (schema.get(key) for key in ("additionalProperties", "items", "properties"))
    return (
        _text(1, schema.get("$ref"))
        + _text(2, schema.get("format"))
        + _text(4, schema.get("description"))
        + _texts(19, schema.get("required"))
        + (_bytes(21, _bytes(1, _schema(values))) if isinstance(values, dict) else b"")
        + (_bytes(22, _text(1, schema["type"])) if "type" in schema else b"")
        + (_bytes(23, _bytes(1, _schema(items))) if items else b"")
        + (_bytes(25, _named(1, properties, _schema)) if properties else b"")
        + _extensions(31, schema)
    )
