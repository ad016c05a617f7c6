"""Entries that were written when a type was owned in another way: as a whole, or by element.

Upstream: structured-merge-diff/typed/reconcile_schema.go. One consequence is worth knowing: who owns a map and none of
what is in it is taken for someone who owned it as a whole, and from then on owns what is in it now.
"""

from __future__ import annotations

from typing import Any

from apiserver.managedfields.lists import ListOf
from apiserver.managedfields.sets import LEAF, SELF, Fields
from apiserver.managedfields.typed import members_below
from apiserver.managedfields.types import Anything, MapOf, Scalar, Struct, Type


def reconcile(kind: Type, fields: Fields, value: Any) -> Fields:
    """The fields, as they would have been written under the present types. ``value`` is the live object."""
    if isinstance(kind, Struct):
        return _struct(kind, fields, value)
    if isinstance(kind, MapOf):
        return _map(kind.value, fields, value) if not isinstance(kind.value, Scalar) else fields
    if isinstance(kind, ListOf) and kind.keys:
        return _list(kind, fields, value)
    return fields


def _struct(kind: Struct, fields: Fields, value: Any) -> Fields:
    out: Fields | None = None
    types = kind.inner
    for key, node in fields.items():
        of = types.get(key)
        if of is None:
            continue
        now = _node(of, node, key[2:], value)
        if now is not node:
            out = dict(fields) if out is None else out
            out[key] = now
    return fields if out is None else out


def _map(of: Type, fields: Fields, value: Any) -> Fields:
    out: Fields | None = None
    for key, node in fields.items():
        if key == SELF:
            continue
        now = _node(of, node, key[2:], value)
        if now is not node:
            out = dict(fields) if out is None else out
            out[key] = now
    return fields if out is None else out


def _list(kind: ListOf, fields: Fields, value: Any) -> Fields:
    out: Fields | None = None
    items = kind.index(value) if isinstance(value, list) else {}
    for key, node in fields.items():
        if key == SELF:
            continue
        now = _node(kind.item, node, key, items)
        if now is not node:
            out = dict(fields) if out is None else out
            out[key] = now
    return fields if out is None else out


def _node(of: Type, node: Fields, name: str, parent: Any) -> Fields:
    if isinstance(of, Scalar | Anything):
        return node
    if of.atomic:
        return LEAF if node else node
    if node and isinstance(of, MapOf) and isinstance(of.value, Scalar):
        return node
    item = parent.get(name) if isinstance(parent, dict) else None
    if node:
        return reconcile(of, node, item)
    below = members_below(of, item)
    return {SELF: LEAF, **below} if below else node
