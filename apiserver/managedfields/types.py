"""Types of the API as walkers that find out which fields a write concerns.

Every write passes here, so the walk is direct: a struct knows for each field the path element and the walker (none for
what is owned as a whole), and what is equal is skipped by one comparison in C.

Three questions are asked of a container:

``added(value)``: the node of a value that was not there before: itself, and all that is in it.
``created(value)``: what is in it, when it is there anyway (upstream decodes into structs, whose nested structs exist
before anyone writes to them; so a new Pod's writer owns ``f:image`` but not ``f:spec``).
``compare(old, new)``: what is in it that was added or changed, and what was removed; None for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from apiserver.managedfields.sets import LEAF, SELF, Fields

if TYPE_CHECKING:
    from apiserver.managedfields.lists import ListOf

Change = tuple[Fields | None, Fields | None]
UNCHANGED: Change = (None, None)


class Container(Protocol):
    """What is walked into."""

    def added(self, value: Any) -> Fields: ...
    def created(self, value: Any) -> Fields: ...
    def compare(self, old: Any, new: Any) -> Change: ...


class _Nothing:
    """No value, and equal to none."""

    __slots__ = ()


NOTHING = _Nothing()


@dataclass(frozen=True, slots=True)
class Scalar:
    """``kind`` is string, numeric, boolean or untyped."""

    kind: str


UNTYPED = Scalar("untyped")


@dataclass(frozen=True, slots=True)
class Anything:
    """JSON without a schema. ``deduced`` maps are walked into, others are owned as a whole."""

    deduced: bool = False

    def added(self, value: Any) -> Fields:
        if not isinstance(value, dict) or not value:
            return LEAF
        return {SELF: LEAF, **self.created(value)}

    def created(self, value: Any) -> Fields:
        return {f"f:{k}": self.added(v) for k, v in value.items()}

    def compare(self, old: Any, new: Any) -> Change:
        if isinstance(old, dict) and isinstance(new, dict):
            return compare_maps(old, new, self)
        return LEAF, None


ATOMIC, DEDUCED = Anything(), Anything(deduced=True)


@dataclass(eq=False, slots=True)
class MapOf:
    value: Type
    atomic: bool = False
    walker: Container | None = field(init=False)

    def __post_init__(self) -> None:
        self.walker = walker_of(self.value)

    def added(self, value: Any) -> Fields:
        # The schema calls what may be any JSON (a RawExtension) a map.
        return {SELF: LEAF, **self.created(value)} if value and isinstance(value, dict) else LEAF

    def created(self, value: Any) -> Fields:
        walker = self.walker
        if walker is None:
            return {f"f:{k}": LEAF for k in value}
        return {f"f:{k}": walker.added(v) for k, v in value.items()}

    def compare(self, old: Any, new: Any) -> Change:
        old, new = old or {}, new or {}
        if not isinstance(old, dict) or not isinstance(new, dict):
            return LEAF, None
        return compare_maps(old, new, self.walker)


def compare_maps(old: dict[str, Any], new: dict[str, Any], walker: Container | None) -> Change:
    changed: Fields = {}
    removed: Fields = {}
    for key, value in new.items():
        before = old.get(key, NOTHING)
        if before == value:
            continue
        if walker is None:
            changed[f"f:{key}"] = LEAF
        elif before is NOTHING:
            changed[f"f:{key}"] = walker.added(value)
        else:
            note(changed, removed, f"f:{key}", walker.compare(before, value))
    for key in old.keys() - new.keys():
        removed[f"f:{key}"] = LEAF if walker is None else walker.added(old[key])
    return changed or None, removed or None


def note(changed: Fields, removed: Fields, element: str, change: Change) -> None:
    if change[0] is not None:
        changed[element] = change[0]
    if change[1] is not None:
        removed[element] = change[1]


@dataclass(slots=True)
class Step:
    """A field of a struct, for the walk."""

    element: str
    walker: Container | None
    there: bool = False
    """Whether it exists before anyone writes to it: a nested struct, or a list that is always written."""
    zero: Any = NOTHING
    """What a leaf is before anyone writes to it."""
    omitted: bool = False
    """Whether it is not written when it is empty (a list or map that is not required)."""


@dataclass(eq=False, slots=True)
class Struct:
    """``fields`` is filled in after creation, since types refer to themselves; a variant shares it."""

    name: str
    atomic: bool = False
    fields: dict[str, Type] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()
    """Fields that nobody owns."""
    always: Fields = field(default_factory=dict)
    """Fields that are there whenever the struct is, written or not: nested structs, times."""
    inner: dict[str, Type] = field(default_factory=dict)
    """The types of fields that are no scalars, by path element."""

    def added(self, value: Any) -> Fields:
        if not value and not self.always:
            return LEAF
        steps = self.steps
        out = {SELF: LEAF, **self.always}
        for name, item in value.items():
            step = steps.get(name)
            if step is None:
                out[f"f:{name}"] = LEAF
            elif item or not step.omitted:
                walker = step.walker
                out[step.element] = LEAF if walker is None else walker.added(item)
        return out

    def created(self, value: Any) -> Fields:
        steps, skipped = self.steps, self.skipped
        out: Fields = {}
        for name, item in value.items():
            step = steps.get(name)
            if name in skipped:
                continue
            if step is None:
                out[f"f:{name}"] = LEAF
                continue
            if not item and step.omitted:
                continue
            walker = step.walker
            if walker is None:
                if item != step.zero:
                    out[step.element] = LEAF
            elif step.there:
                below = walker.created(item or {})
                if below:
                    out[step.element] = below
            else:
                out[step.element] = walker.added(item)
        return out

    def compare(self, old: Any, new: Any) -> Change:
        old, new = old or {}, new or {}
        changed: Fields = {}
        removed: Fields = {}
        for name, item in new.items():
            before = old.get(name, NOTHING)
            if before == item or name in self.skipped:
                continue
            step = self.steps.get(name)
            if step is None:
                changed[f"f:{name}"] = LEAF
            elif step.walker is None:
                if before is not NOTHING or item != step.zero:
                    changed[step.element] = LEAF
            elif before is NOTHING and not step.there:
                changed[step.element] = step.walker.added(item)
            else:
                note(changed, removed, step.element, step.walker.compare(None if before is NOTHING else before, item))
        for name in old.keys() - new.keys():
            if name not in self.skipped:
                self._removed(changed, removed, name, old[name])
        return changed or None, removed or None

    def _removed(self, changed: Fields, removed: Fields, name: str, before: Any) -> None:
        step = self.steps.get(name)
        if step is None:
            removed[f"f:{name}"] = LEAF
        elif step.there and step.walker is not None:
            note(changed, removed, step.element, step.walker.compare(before, None))
        elif step.walker is not None:
            removed[step.element] = step.walker.added(before)
        elif step.zero is NOTHING:
            removed[step.element] = LEAF
        elif before != step.zero:
            changed[step.element] = LEAF

    def variant(self, *, atomic: bool | None = None, skipped: Iterable[str] = ()) -> Struct:
        """The same fields, owned otherwise."""
        whole = self.atomic if atomic is None else atomic
        skips = frozenset(skipped) | self.skipped
        return Struct(self.name, whole, self.fields, self.steps, skips, self.always, self.inner)


Type: TypeAlias = "Scalar | Anything | MapOf | ListOf | Struct"


def walker_of(kind: Type) -> Container | None:
    """None for what is owned as a whole."""
    if isinstance(kind, Scalar):
        return None
    if isinstance(kind, Anything):
        return kind if kind.deduced else None
    return None if kind.atomic else kind
