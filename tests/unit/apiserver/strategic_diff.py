"""The strategic merge patch from one object to another, as a client computes it: kubectl's two-way patch, written from
its description and not from the server's code.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from typing import Any

from apiserver.schema.model import NO_MERGE, ListOf, MapOf, Merge, Struct, Type

Map = dict[str, Any]


def diff(original: Map, modified: Map, kind: Type | None) -> Map:
    """A patch that makes ``modified`` of ``original``."""
    patch: Map = {key: None for key in original if key not in modified}
    for key, value in modified.items():
        if key not in original:
            patch[key] = value
        elif original[key] != value:
            patch |= _field(key, original[key], value, kind)
    return patch


def _field(key: str, before: Any, after: Any, kind: Type | None) -> Map:
    merge = kind.merges.get(key, NO_MERGE) if isinstance(kind, Struct) else NO_MERGE
    inner = kind.fields.get(key) if isinstance(kind, Struct) else kind.value if isinstance(kind, MapOf) else None
    if isinstance(before, dict) and isinstance(after, dict):
        if "replace" in merge.strategies:
            return {key: {**after, "$patch": "replace"}}
        return {key: _retaining(diff(before, after, inner), after, merge)}
    if isinstance(before, list) and isinstance(after, list) and "merge" in merge.strategies:
        item = inner.item if isinstance(inner, ListOf) else None
        return _maps(key, before, after, merge, item) if merge.key else _plain(key, before, after)
    return {key: after}


def _retaining(patch: Map, after: Map, merge: Merge) -> Map:
    return {**patch, "$retainKeys": sorted(after)} if "retainKeys" in merge.strategies else patch


def _plain(key: str, before: list[Any], after: list[Any]) -> Map:
    patch: Map = {f"$setElementOrder/{key}": after}
    if added := [v for v in after if v not in before]:
        patch[key] = added
    if removed := [v for v in before if v not in after]:
        patch[f"$deleteFromPrimitiveList/{key}"] = removed
    return patch


def _maps(key: str, before: list[Map], after: list[Map], merge: Merge, item: Type | None) -> Map:
    name = merge.key
    had, has = {e[name]: e for e in before}, {e[name]: e for e in after}
    changes: list[Map] = []
    for identity, element in has.items():
        if identity not in had:
            changes.append(element)
        elif had[identity] != element:
            changes.append({name: identity, **_retaining(diff(had[identity], element, item), element, merge)})
    changes += [{"$patch": "delete", name: identity} for identity in had if identity not in has]
    patch: Map = {f"$setElementOrder/{key}": [{name: identity} for identity in has]}
    return {**patch, key: changes} if changes else patch
