"""What each field number of a protobuf body means in JSON.

A field is (name in JSON, type, how). Types: ``s`` string, ``b`` bytes, ``i`` integer, ``o`` boolean, ``d`` double, else
the name of a message. How:

- ``""``: one value, which JSON omits when it is zero (Go: by value, ``omitempty``);
- ``"?"``: one value whose zero counts (Go: by pointer, or without ``omitempty``);
- ``"*"``: many; ``"%"``: a map; ``"~"``: an embedded struct, whose fields are the message's own.

The wire does not tell the first two apart: Go writes by-value fields whether they are zero or not.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

Field = tuple[str, str, str]

Link = tuple[str, str, str, "Table | None"]
"""A field, and the table of the message that it holds."""
Table = dict[int, Link]
"""A message's fields by tag: the number and how the wire writes it."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIRE = {"i": VARINT, "o": VARINT, "d": FIXED64}
"""How a type is written; all others as bytes."""
_PACKAGES = {"": "core", "internal": "apiserverinternal"}
"""Groups whose Go package is not named after the group's first part."""


@cache
def messages() -> dict[str, dict[int, Field]]:
    """Message -> number -> field; ``generate.go`` makes the file."""
    raw = json.loads((Path(__file__).parent / "fields.json").read_bytes())
    return {
        message: {int(number): (name, type_, how) for number, (name, type_, how) in fields.items()}
        for message, fields in raw.items()
    }


@cache
def tables() -> dict[str, Table]:
    """The messages as the decoder wants them: one look-up for each field that it meets."""
    linked: dict[str, Table] = {message: {} for message in messages()}
    for message, fields in messages().items():
        for number, (name, type_, how) in fields.items():
            wire = BYTES if how == "%" else _WIRE.get(type_, BYTES)
            linked[message][number << 3 | wire] = (name, type_, how, linked.get(type_))
    return linked


def message_name(api_version: str, kind: str) -> str:
    """``apps/v1``, ``Deployment`` -> ``apps.v1.Deployment``."""
    group, _, version = api_version.rpartition("/")
    first = group.partition(".")[0]
    return f"{_PACKAGES.get(first, first)}.{version}.{kind}"
