"""What apply does with values: the set of fields that one mentions, merging, taking fields out.

Upstream: structured-merge-diff/typed. Unlike the walkers of tracking, these see only what the client wrote: a struct is
not owned for having fields in it, and a null is a value.
"""

from __future__ import annotations

from typing import Any

from apiserver.managedfields.lists import ListOf
from apiserver.managedfields.sets import LEAF, SELF, Fields, as_member, is_member
from apiserver.managedfields.types import ATOMIC, DEDUCED, NOTHING, Anything, MapOf, Scalar, Struct, Type


def field_set(kind: Type, value: Any) -> Fields:
    """The fields that an object mentions."""
    return members_below(kind, value) or LEAF


def members_below(kind: Type, value: Any) -> Fields | None:
    """The members in a value; LEAF for one that is owned as a whole, None for a container without members."""
    match kind:
        case Struct(atomic=False) | MapOf(atomic=False) | Anything(deduced=True) if isinstance(value, dict):
            out: Fields = {}
            for name, item in value.items():
                of, declared = child(kind, name)
                node = members_below(of, item)
                if item is None or item == {}:
                    node = LEAF
                elif not declared:
                    node = as_member(node)
                if node is not None:
                    out[f"f:{name}"] = node
            return out or None
        case ListOf(atomic=False) if isinstance(value, list):
            listed: Fields = {}
            for key, item in kind.index(value).items():
                twice = isinstance(item, tuple) or not kind.keys
                listed[key] = LEAF if twice else as_member(members_below(kind.item, item))
            return listed or None
        case ListOf(atomic=False) | Struct(atomic=False) | MapOf(atomic=False) if value is None:
            return None
    return LEAF


def child(kind: Type, name: str) -> tuple[Type, bool]:
    """The type of a field or of a map's value, and whether it is a declared field."""
    match kind:
        case Struct():
            of = kind.fields.get(name)
            return (ATOMIC, False) if of is None else (of, True)
        case MapOf():
            return kind.value, False
        case Anything(deduced=True):
            return DEDUCED, False
    return ATOMIC, False


def is_whole(kind: Type) -> bool:
    match kind:
        case Struct() | MapOf() | ListOf():
            return kind.atomic
        case Anything():
            return not kind.deduced
    return True


def merge(kind: Type, old: Any, new: Any) -> Any:
    """``new`` over ``old``: no field is removed, and what both have is as in ``new``. Neither is changed."""
    if old is NOTHING or is_whole(kind) or (not old and not new):
        return new
    if isinstance(kind, ListOf):
        return _merge_lists(kind, old or [], new or [])
    if not isinstance(old or {}, dict) or not isinstance(new or {}, dict):
        return new
    out = dict(old or {})
    for name, item in (new or {}).items():
        out[name] = merge(child(kind, name)[0], out.get(name, NOTHING), item)
    return out


def _merge_lists(kind: ListOf, old: list[Any], new: list[Any]) -> list[Any]:
    """Elements of both lists in the new list's order, and the old one's others where they stood among them."""
    theirs, ours = kind.index(old), kind.index(new)
    old_keys, new_keys = [kind.element(item) for item in old], list(ours)
    shared = iter([key for key in new_keys if key in theirs])
    wanted = next(shared, None)
    done: set[str] = set()
    out: list[Any] = []
    left = right = 0
    while left < len(old) or right < len(new_keys):
        if left < len(old):
            key = old_keys[left]
            if right < len(new_keys) and key == new_keys[right]:
                out.append(_merge_item(kind, theirs, ours, key))
                done.add(key)
                wanted = next(shared, None)
                left, right = left + 1, right + 1
                continue
            if key not in ours:
                out.append(old[left])
                left += 1
                continue
            if key in done or (right < len(new_keys) and wanted is not None and wanted != key):
                left += 1  # it has been merged, or will be in its turn
                continue
        if right < len(new_keys):
            key = new_keys[right]
            if key not in done:
                out.append(_merge_item(kind, theirs, ours, key))
                done.add(key)
            right += 1
            if key == wanted:
                wanted = next(shared, None)
        else:
            left += 1
    return out


def _merge_item(kind: ListOf, theirs: dict[str, Any], ours: dict[str, Any], key: str) -> Any:
    old = theirs.get(key, NOTHING)
    return merge(kind.item, NOTHING if isinstance(old, tuple) else old, ours[key])  # nothing merges with a duplicate


def remove(kind: Type, value: Any, fields: Fields) -> Any:
    """The value without the members of a set. A container that loses all becomes None."""
    if isinstance(kind, ListOf):
        if kind.atomic or not isinstance(value, list) or not value:
            return None
        kept = []
        for item in value:
            node = fields.get(kind.element(item))
            if node is None:
                kept.append(item)
            elif not is_member(node):
                kept.append(remove(kind.item, item, node))
        return kept or None
    if isinstance(kind, Scalar):
        return value
    if is_whole(kind) or not isinstance(value, dict) or not value:
        return None
    out = {}
    for name, item in value.items():
        node = fields.get(f"f:{name}")
        if node is None:
            out[name] = item
        elif not is_member(node):
            out[name] = remove(child(kind, name)[0], item, node)
    return out or None


def extract(kind: Type, value: Any, fields: Fields) -> Any:
    """The members of a set, and what leads to them."""
    if is_whole(kind):
        return value
    if isinstance(kind, ListOf):
        if not isinstance(value, list):
            return None
        pairs = [(item, fields.get(kind.element(item))) for item in value]
        return [extract(kind.item, item, node) if node else item for item, node in pairs if node is not None] or None
    if not isinstance(value, dict):
        return None
    out = {}
    for name, item in value.items():
        node = fields.get(f"f:{name}")
        if node is not None:
            out[name] = extract(child(kind, name)[0], item, node) if node.keys() - {SELF} else item
    return out or None


def with_parents(kind: Type, fields: Fields) -> Fields:
    """With the structs that lead to members as members: who owns something in a struct holds the struct."""
    out: Fields = {}
    for key, node in fields.items():
        if key == SELF:
            out[SELF] = node
            continue
        if key.startswith("f:"):
            of, declared = child(kind, key[2:])
        else:
            of, declared = kind.item if isinstance(kind, ListOf) else ATOMIC, False
        below = with_parents(of, node) if node else node
        out[key] = as_member(below) if declared else below
    return out


def without_nulls(value: Any) -> Any:
    """A value as it is stored: nulls of fields mean that they are not there."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(v) for v in value]
    return value
