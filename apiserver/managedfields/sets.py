"""Sets of fields, in the form in which they are stored: FieldsV1.

A set is the nested dict that its JSON is, and stays one: nothing is converted to be compared, and an entry that a write
does not concern is never touched, not even copied. A key is a path element: ``f:name`` a field or key of a map,
``k:{"name":"a"}`` an element of a list by its keys, ``v:"a"`` an element of a set by its value, ``i:0`` by its index.
A node is itself a member when it is empty or has the key ``.``; the root never is.

Sets are values: none of these functions changes one, and results share what they can. In particular what is returned
*is* the first argument when nothing changed, which callers test with ``is``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

Fields = dict[str, Any]
SELF = "."
LEAF: Fields = {}
"""The node of a member without members below it. Shared: never change it."""


class FieldsError(ValueError):
    """Something that is no FieldsV1, or a value that the schema has no path for."""


def is_member(node: Fields) -> bool:
    return not node or SELF in node


def as_member(node: Fields | None) -> Fields:
    """The node with itself as a member."""
    if not node:
        return LEAF
    return node if SELF in node else {SELF: LEAF, **node}


def union(a: Fields, b: Fields) -> Fields:
    out: Fields | None = None
    for key, node in b.items():
        mine = a.get(key)
        if mine is None:
            merged = node
        elif mine is node:
            continue
        else:
            merged = _union_node(mine, node)
            if merged is mine:
                continue
        if out is None:
            out = dict(a)
        out[key] = merged
    return a if out is None else out


def _union_node(a: Fields, b: Fields) -> Fields:
    if not b:
        return as_member(a)
    return as_member(b) if not a else union(a, b)


def difference(a: Fields, b: Fields) -> Fields:
    """The members of ``a`` that are not members of ``b``."""
    return _minus(a, b, deep=False)


def recursive_difference(a: Fields, b: Fields) -> Fields:
    """As :func:`difference`, and a member of ``b`` takes all that is below it along."""
    return _minus(a, b, deep=True)


def _minus(a: Fields, b: Fields, *, deep: bool) -> Fields:
    out: Fields | None = None
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    for key in small:
        if key not in large or key == SELF:
            continue
        left = _minus_node(a[key], b[key], deep=deep)
        if left is a[key]:
            continue
        if out is None:
            out = dict(a)
        if left is None:
            del out[key]
        else:
            out[key] = left
    return a if out is None else out


def _minus_node(a: Fields, b: Fields, *, deep: bool) -> Fields | None:
    takes = is_member(b)
    if takes and deep:
        return None
    if not a:
        return None if takes else a
    rest = _minus(a, b, deep=deep)
    if takes and SELF in rest:
        rest = {k: v for k, v in rest.items() if k != SELF}
    if not rest:
        return None
    return LEAF if len(rest) == 1 and SELF in rest else rest


def intersection(a: Fields, b: Fields) -> Fields:
    out: Fields = {}
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    for key in small:
        if key in large and key != SELF:
            both = _intersect_node(a[key], b[key])
            if both is not None:
                out[key] = both
    return out


def _intersect_node(a: Fields, b: Fields) -> Fields | None:
    member = is_member(a) and is_member(b)
    below = intersection(a, b) if a and b else LEAF
    if not below:
        return LEAF if member else None
    return {SELF: LEAF, **below} if member else below


def has(fields: Fields, path: tuple[str, ...]) -> bool:
    node: Fields | None = fields
    for element in path:
        node = node.get(element) if node is not None else None
    return node is not None and is_member(node)


def of_path(path: tuple[str, ...]) -> Fields:
    """The set of one member."""
    node = LEAF
    for element in reversed(path):
        node = {element: node}
    return node


def paths(fields: Fields, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All members, in upstream's order: those of a level before those below it."""
    keys = sorted((k for k in fields if k != SELF), key=_order)
    for key in keys:
        if is_member(fields[key]):
            yield (*prefix, key)
    for key in keys:
        if fields[key]:
            yield from paths(fields[key], (*prefix, key))


def _order(element: str) -> tuple[int, str]:
    """Fields, keys, values, indexes."""
    return "fkvi".find(element[:1]), element


def display(path: tuple[str, ...]) -> str:
    """As conflicts name a field: ``.spec.containers[name="a"].image``."""
    return "".join(map(_display_element, path))


def _display_element(element: str) -> str:
    kind, text = element[:2], element[2:]
    if kind == "f:":
        return f".{text}"
    if kind == "k:":
        keys = orjson.loads(text)
        return f"[{','.join(f'{k}={_shown(keys[k])}' for k in sorted(keys))}]"
    return f"[={_shown(orjson.loads(text))}]" if kind == "v:" else f"[{text}]"


def _shown(value: Any) -> str:
    return orjson.dumps(value).decode()


def key_element(keys: dict[str, Any]) -> str:
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def value_element(value: Any) -> str:
    return "v:" + orjson.dumps(value).decode()


def parse(raw: Any) -> Fields:
    """FieldsV1 from a client, with its elements written as ours are. Raises FieldsError.

    Elements of a kind that nobody knows are dropped, as upstream does.
    """
    if not isinstance(raw, dict):
        raise FieldsError("expected an object")
    out: Fields = {}
    for element, below in raw.items():
        if element == SELF:
            out[SELF] = LEAF
            continue
        canonical = _parse_element(element)
        if canonical is not None:
            node = _collapse(parse(below))
            out[canonical] = _union_node(out[canonical], node) if canonical in out else node
    return out


def parse_root(raw: Any) -> Fields:
    fields = parse(raw)
    fields.pop(SELF, None)
    return fields


def _collapse(node: Fields) -> Fields:
    return LEAF if len(node) == 1 and SELF in node else node


def _parse_element(element: str) -> str | None:
    if len(element) < 2:
        raise FieldsError("key must be 2 characters long:")
    if element[1] != ":":
        raise FieldsError(f"missing colon: {element}")
    kind, text = element[0], element[2:]
    if kind not in "fkvi":
        return None
    if kind == "f":
        return element
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FieldsError(str(error)) from None
    if kind == "v":
        return value_element(value)
    if kind == "k" and isinstance(value, dict):
        return key_element(value)
    if kind == "i" and type(value) is int:
        return element
    raise FieldsError(f"no path element: {element}")
