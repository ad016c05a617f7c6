"""Strategic merge patch: a merge patch that knows which lists are maps in disguise.

What the schema says of a field (``x-kubernetes-patch-strategy`` and ``-merge-key``) decides whether a list is merged
element by element or replaced; directives in the patch (``$patch``, ``$retainKeys``, ``$setElementOrder/…``,
``$deleteFromPrimitiveList/…``) say the rest.
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from collections import deque
from typing import Any

from apiserver.schema.model import NO_MERGE, ListOf, MapOf, Merge, Struct, Type

PATCH = "$patch"
RETAIN_KEYS = "$retainKeys"
SET_ORDER = "$setElementOrder/"
DELETE_FROM = "$deleteFromPrimitiveList/"

Map = dict[str, Any]


class PatchError(ValueError):
    """A patch that says nothing sensible."""


def strategic_merge(original: Map, patch: Map, schema: Type | None) -> Map:
    """Applies ``patch``; ``original`` may be changed, use what is returned."""
    if PATCH in patch:
        directive = patch[PATCH]
        patch = {k: v for k, v in patch.items() if k != PATCH}
        if directive == "replace":
            return patch
        if directive == "delete":
            return {}
        if directive != "merge":
            raise PatchError(f"Unknown patch type found: {directive}")
    if RETAIN_KEYS in patch:
        _retain_keys(original, patch)
    orders = {k.removeprefix(SET_ORDER): v for k, v in patch.items() if k.startswith(SET_ORDER)}
    for name in orders.keys() - patch.keys():
        _merge_list_field(original, name, [], orders[name], schema)
    for name, value in patch.items():
        if name == RETAIN_KEYS or name.startswith(SET_ORDER):
            continue
        if name.startswith(DELETE_FROM):
            _delete_from(original, name.removeprefix(DELETE_FROM), value)
        else:
            _merge_field(original, name, value, orders.get(name), schema)
    return original


def _merge_field(original: Map, name: str, value: Any, order: list[Any] | None, schema: Type | None) -> None:
    if value is None:
        original.pop(name, None)
        return
    current = original.get(name)
    if name not in original or type(current) is not type(value):
        original[name] = _without_directives(value)
    elif isinstance(value, dict):
        if "replace" in _merge(schema, name).strategies:
            original[name] = {k: v for k, v in value.items() if k != PATCH}
        else:
            original[name] = strategic_merge(current, value, _field(schema, name))  # type: ignore[arg-type]
    elif isinstance(value, list):
        _merge_list_field(original, name, value, order, schema)
    else:
        original[name] = value


def _merge_list_field(original: Map, name: str, patch: list[Any], order: list[Any] | None, schema: Type | None) -> None:
    current = original.get(name)
    if not isinstance(current, list):
        return
    merge = _merge(schema, name)
    if "merge" not in merge.strategies:
        if patch or order is None:
            original[name] = _without_directives(patch)
        return
    kind = _field(schema, name)
    item = kind.item if isinstance(kind, ListOf) else None
    original[name] = merge_list(current, patch, order, merge.key, item)


def merge_list(
    original: list[Any], patch: list[Any], order: list[Any] | None, key: str, item: Type | None
) -> list[Any]:
    """One merged list, in the order of the patch where it has a say, else in the server's."""
    server_order = [_identity(e, key) for e in original]
    if key:
        merged, patch = _merge_maps(original, patch, key, item)
    else:
        there = set(original)
        merged = original + [v for v in dict.fromkeys(patch) if v not in there]
    wanted = [_identity(e, key) for e in (patch if order is None else order)]
    return _ordered(merged, wanted, server_order, key)


def _merge_maps(original: list[Any], patch: list[Any], key: str, item: Type | None) -> tuple[list[Any], list[Any]]:
    """The merged elements and the patch's own ones, without directives."""
    plain: list[Map] = []
    replace = False
    deleted: set[Any] = set()
    for element in patch:
        if not isinstance(element, dict):
            raise PatchError("invalid JSON document")
        directive = element.get(PATCH)
        if directive is None or (directive == "merge" and key in element):
            plain.append({k: v for k, v in element.items() if k != PATCH})
        elif directive == "replace":
            replace = True
            if len(element) > 1:
                plain.append({k: v for k, v in element.items() if k != PATCH})
        elif directive == "delete":
            deleted.add(_required(element, key))
        else:
            raise PatchError(f"Unknown patch type found: {directive}")
    if replace:
        return [_without_directives(e) for e in plain], plain
    merged = [e for e in original if not (isinstance(e, dict) and e.get(key) in deleted)]
    places = {e.get(key): i for i, e in reversed(list(enumerate(merged))) if isinstance(e, dict)}
    for element in plain:
        wanted = _required(element, key)
        at = places.get(wanted)
        if at is None:
            places[wanted] = len(merged)
            merged.append(_without_directives(element))
        else:
            merged[at] = strategic_merge(merged[at], element, item)
    return merged, plain


def _required(element: Map, key: str) -> Any:
    if key not in element:
        raise PatchError(f"map: {_go_map(element)} does not contain declared merge key: {key}")
    return element[key]


def _go_map(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{k}:{_go_map(v)}' for k, v in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_go_map, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "<nil>"}[value]
    return str(value)


def _identity(element: Any, key: str) -> Any:
    return element.get(key) if key and isinstance(element, dict) else element


def _ordered(merged: list[Any], wanted: list[Any], server_order: list[Any], key: str) -> list[Any]:
    """Elements named in ``wanted`` in that order, others where the server has them, between those it knows."""
    rank = {identity: i for i, identity in reversed(list(enumerate(wanted)))}
    named = deque(sorted((e for e in merged if _identity(e, key) in rank), key=lambda e: rank[_identity(e, key)]))
    others = deque(e for e in merged if _identity(e, key) not in rank)
    place = {identity: i for i, identity in reversed(list(enumerate(server_order)))}
    result: list[Any] = []
    while named and others:
        left, right = place.get(_identity(others[0], key)), place.get(_identity(named[0], key))
        first = others if left is not None and right is not None and left < right else named
        result.append(first.popleft())
    return [*result, *named, *others]


def _retain_keys(original: Map, patch: Map) -> None:
    keep = patch[RETAIN_KEYS]
    if not isinstance(keep, list):
        raise PatchError("invalid patch format of retainKeys")
    directives = (PATCH, RETAIN_KEYS)
    for name, value in patch.items():
        if (
            name not in keep
            and value is not None
            and name not in directives
            and not name.startswith((SET_ORDER, DELETE_FROM))
        ):
            raise PatchError("invalid patch format of retainKeys")
    for name in original.keys() - set(keep):
        del original[name]


def _delete_from(original: Map, name: str, values: Any) -> None:
    if not isinstance(values, list):
        raise PatchError("invalid patch format of primitive list")
    current = original.get(name)
    if isinstance(current, list):
        gone = set(values)
        original[name] = [v for v in current if v not in gone]


def _without_directives(value: Any) -> Any:
    """What a patch puts where nothing was: its nulls and directives mean nothing there."""
    if isinstance(value, dict):
        return {
            k: _without_directives(v)
            for k, v in value.items()
            if v is not None and k not in (PATCH, RETAIN_KEYS) and not k.startswith((SET_ORDER, DELETE_FROM))
        }
    if isinstance(value, list):
        kept = (e for e in value if not (isinstance(e, dict) and e.get(PATCH) in ("delete", "replace") and len(e) <= 2))
        return [_without_directives(e) for e in kept]
    return value


def _merge(schema: Type | None, name: str) -> Merge:
    return schema.merges.get(name, NO_MERGE) if isinstance(schema, Struct) else NO_MERGE


def _field(schema: Type | None, name: str) -> Type | None:
    if isinstance(schema, Struct):
        return schema.fields.get(name)
    return schema.value if isinstance(schema, MapOf) else None
