"""Definitions -> types that know who may own what, once for the process.

What the schema says of a list (``x-kubernetes-list-type`` with its keys, or the older patch strategy) and of a map
(``x-kubernetes-map-type``) decides what is owned as a whole and what by element.
https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy; upstream: kube-openapi's schemaconv.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from apiserver.managedfields.lists import ListOf
from apiserver.managedfields.sets import LEAF
from apiserver.managedfields.types import (
    ATOMIC,
    DEDUCED,
    NOTHING,
    UNTYPED,
    MapOf,
    Scalar,
    Step,
    Struct,
    Type,
    walker_of,
)
from apiserver.managedfields.written import ALWAYS, KEY_DEFAULTS, NESTED, TIMES, WRITTEN_EMPTY
from apiserver.schema import definitions as raw
from apiserver.types import Resource

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_FIXED: dict[str, Type] = {
    raw.INT_OR_STRING: UNTYPED,
    raw.QUANTITY: UNTYPED,
    f"{_META}Time": UNTYPED,
    f"{_META}MicroTime": UNTYPED,
}
_SCALARS = {"string": "string", "integer": "numeric", "number": "numeric", "boolean": "boolean"}
_ZEROS = {"string": "", "integer": 0, "number": 0, "boolean": False}

TYPE_META = ("apiVersion", "kind")
SERVERS_OWN = (
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
    "resourceVersion",
)  # fmt: skip
"""Metadata that nobody owns (upstream: stripMetaManager)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The types of one kind: as apply sees it, and as writes of the object and of its subresources are tracked."""

    whole: Struct
    tracked: Struct
    """Without what nobody owns."""

    def tracked_for(self, subresource: str, *, status: bool) -> Struct:
        return _tracked_for(self, subresource, status)


@cache
def _tracked_for(kind: Kind, subresource: str, status: bool) -> Struct:
    """Writes of the object do not own its status, and those of the status nothing else (upstream: GetResetFields)."""
    if subresource == "status":
        return kind.tracked.variant(skipped=[f for f in kind.whole.fields if f not in ("metadata", "status")])
    return kind.tracked.variant(skipped=["status"]) if status and not subresource else kind.tracked


class Compiler:
    """Each definition once, so that recursive ones end."""

    def __init__(self, definitions: dict[str, raw.Definition]) -> None:
        self._definitions = definitions
        self._done: dict[str, Type] = dict(_FIXED)

    def kind(self, name: str) -> Kind:
        whole = self.named(name)
        if not isinstance(whole, Struct):
            raise TypeError(f"{name} is no object")
        steps = dict(whole.steps)
        if isinstance(metadata := whole.fields.get("metadata"), Struct):
            stripped = metadata.variant(skipped=SERVERS_OWN)
            steps["metadata"] = Step("f:metadata", stripped, there=True)
        return Kind(whole, Struct(whole.name, False, whole.fields, steps, frozenset(TYPE_META), whole.always))

    def named(self, name: str) -> Type:
        done = self._done.get(name)
        if done is not None:
            return done
        definition = self._definitions[name]
        properties = definition.get("properties")
        if properties is None:
            made = self._done[name] = self._schema(definition)
            return made
        short = name.rsplit(".", 1)[1]
        struct = self._done[name] = Struct(short, definition.get("x-kubernetes-map-type") == "atomic")
        required = frozenset(definition.get("required") or ())
        for field, schema in properties.items():
            struct.fields[field] = kind = self._schema(schema)
            if not isinstance(kind, Scalar):
                struct.inner[f"f:{field}"] = kind
            step = struct.steps[field] = self._step(short, field, kind, schema, required)
            if (step.there and isinstance(kind, Struct)) or step.zero is None or step.zero == {}:
                struct.always[step.element] = LEAF
        return struct

    def _step(self, owner: str, field: str, kind: Type, schema: raw.Definition, required: frozenset[str]) -> Step:
        walker, element = walker_of(kind), f"f:{field}"
        nested = isinstance(kind, Struct) and (field in ALWAYS or field in NESTED.get(owner, ()))
        omitted = isinstance(kind, ListOf | MapOf) and field not in required
        if walker is not None:
            there = nested or (isinstance(kind, ListOf) and field in required)
            return Step(element, walker, there=there, omitted=omitted)
        if nested:
            return Step(element, None, zero={})
        if field in TIMES.get(owner, ()):
            return Step(element, None, zero=None)
        if (owner, field) in WRITTEN_EMPTY:
            return Step(element, None, zero="")
        if field not in required:
            return Step(element, None, omitted=omitted)
        return Step(element, None, zero=[] if isinstance(kind, ListOf) else _ZEROS.get(schema.get("type", ""), NOTHING))

    def _schema(self, schema: raw.Definition) -> Type:
        name, relation = raw.ref_name(schema), schema.get("x-kubernetes-map-type")
        if name is not None:
            kind = self.named(name)
            if relation is not None and isinstance(kind, Struct) and kind.atomic != (relation == "atomic"):
                return kind.variant(atomic=relation == "atomic")  # this field says otherwise than its type
            return kind
        match schema.get("type"):
            case "array":
                return self._list(schema)
            case "object":
                values = schema.get("additionalProperties")
                return MapOf(self._schema(values) if isinstance(values, dict) else DEDUCED, relation == "atomic")
            case str(kind_):
                plain = schema.get("format") not in ("int-or-string", "date-time")
                return Scalar(_SCALARS[kind_]) if plain else UNTYPED
        return ATOMIC

    def _list(self, schema: raw.Definition) -> ListOf:
        items = schema["items"]
        item = self._schema(items)
        atomic, keys = _relation(schema)
        return ListOf(item, atomic, keys, self._defaults(items, keys) if keys else {})

    def _defaults(self, items: raw.Definition, keys: tuple[str, ...]) -> dict[str, Any]:
        name = raw.ref_name(items) or ""
        definition = self._definitions.get(name, {})
        short, required = name.rpartition(".")[2], definition.get("required") or ()
        found = {key: KEY_DEFAULTS[short, key] for key in keys if (short, key) in KEY_DEFAULTS}
        for key in keys:
            if key in required:
                found[key] = _ZEROS.get(definition["properties"][key].get("type", ""), NOTHING)
        return found


def _relation(schema: raw.Definition) -> tuple[bool, tuple[str, ...]]:
    """Whether a list is owned as a whole; if not, its keys, none for a set."""
    match schema.get("x-kubernetes-list-type"):
        case "atomic":
            return True, ()
        case "set":
            return False, ()
        case "map":
            return False, tuple(schema["x-kubernetes-list-map-keys"])
    if "merge" in schema.get("x-kubernetes-patch-strategy", "").split(","):
        key = schema.get("x-kubernetes-patch-merge-key")
        return False, (key,) if key else ()
    return True, ()


@cache
def _kinds() -> dict[tuple[str, str, str], Kind]:
    definitions = raw.load()
    compiler = Compiler(definitions)
    return {
        gvk: compiler.kind(name)
        for gvk, name in raw.by_kind(definitions).items()
        if "alpha" not in gvk[1] and "beta" not in gvk[1] and "metadata" in definitions[name].get("properties", {})
        if not gvk[2].endswith("List")
    }


@cache
def _unknown() -> Kind:
    """Of a kind without a schema: nothing is known but its metadata."""
    pod = _kinds()["", "v1", "Pod"]
    metadata = pod.whole.fields["metadata"]
    step = pod.tracked.steps["metadata"]
    fields: dict[str, Type] = {"apiVersion": Scalar("string"), "kind": Scalar("string"), "metadata": metadata}
    whole = Struct("Object", False, fields, {"metadata": step})
    return Kind(whole, whole.variant(skipped=TYPE_META))


def kind_of(resource: Resource) -> Kind:
    """The types of what a row of the table serves."""
    return _kinds().get((resource.group, resource.version, resource.kind)) or _unknown()
