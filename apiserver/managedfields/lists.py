"""Lists that are owned by element: maps in disguise, whose elements have keys, and sets.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from apiserver.managedfields.sets import LEAF, SELF, Fields, FieldsError, key_element, value_element
from apiserver.managedfields.types import NOTHING, Change, Container, Type, note, walker_of


@dataclass(eq=False, slots=True)
class ListOf:
    """``keys`` name a map's element; without them a list that is not atomic is a set."""

    item: Type
    atomic: bool = True
    keys: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    """What a key is that an element leaves out."""
    element: Callable[[Any], str] = field(init=False)
    """The path element of an element. Raises FieldsError."""
    walker: Container | None = field(init=False)

    def __post_init__(self) -> None:
        self.element = self._by_key(self.keys[0]) if len(self.keys) == 1 else self._by_keys
        if not self.keys:
            self.element = _by_value
        self.walker = walker_of(self.item) if self.keys else None

    def _by_key(self, key: str) -> Callable[[Any], str]:
        """Most lists have one key: its element is put together without a dict."""
        head = f'k:{{"{key}":'
        dumps = orjson.dumps

        def element(item: Any) -> str:
            try:
                return head + dumps(item[key]).decode() + "}"
            except (KeyError, TypeError):
                return self._by_keys(item)

        return element

    def _by_keys(self, item: Any) -> str:
        if not isinstance(item, dict):
            kind = "a null element" if item is None else "non-map elements"
            raise FieldsError(f"associative list with keys may not have {kind}")
        found = {}
        for key in self.keys:
            value = item.get(key, NOTHING)
            if value is NOTHING:
                value = self.defaults.get(key, NOTHING)
                if value is NOTHING:
                    raise FieldsError(
                        "associative list with keys has an element that omits key field "
                        f'"{key}" (and doesn\'t have default value)'
                    )
            found[key] = value
        return key_element(found)

    def added(self, value: Any) -> Fields:
        return {SELF: LEAF, **self.created(value)} if value else LEAF

    def created(self, value: Any) -> Fields:
        element, walker = self.element, self.walker
        if walker is None:
            return {element(item): LEAF for item in value}
        out: Fields = {}
        for item in value:
            key = element(item)
            out[key] = LEAF if key in out else walker.added(item)
        return out

    def compare(self, old: Any, new: Any) -> Change:
        walker = self.walker
        before, after = self.index(old or ()), self.index(new or ())
        changed: Fields = {}
        removed: Fields = {}
        for key, item in after.items():
            was = before.get(key, NOTHING)
            if was == item:
                continue
            if walker is None or isinstance(was, tuple) or isinstance(item, tuple):
                changed[key] = LEAF
            elif was is NOTHING:
                changed[key] = walker.added(item)
            else:
                note(changed, removed, key, walker.compare(was, item))
        for key in before.keys() - after.keys():
            item = before[key]
            removed[key] = LEAF if walker is None or isinstance(item, tuple) else walker.added(item)
        return changed or None, removed or None

    def index(self, items: Iterable[Any]) -> dict[str, Any]:
        """Elements by path element. Those that come twice are one value, a tuple: nobody can say which is which."""
        found: dict[str, Any] = {}
        for item in items:
            key = self.element(item)
            if key in found:
                first = found[key]
                found[key] = (*first, item) if isinstance(first, tuple) else (first, item)
            else:
                found[key] = item
        return found


def _by_value(item: Any) -> str:
    if isinstance(item, dict):
        raise FieldsError("associative list without keys has an element that's a map type")
    if isinstance(item, list):
        raise FieldsError("not supported: associative list with lists as elements")
    if item is None:
        raise FieldsError("associative list without keys has an element that's an explicit null")
    return value_element(item)
