"""Definitions -> compiled types (``model``), once for the process and only the kinds that are asked for."""

from __future__ import annotations

from functools import cache

from apiserver.schema import definitions as raw
from apiserver.schema.model import (
    BOOL,
    INT32,
    INT64,
    MICRO_TIME,
    NO_MERGE,
    RAW,
    RESOURCE_AMOUNT,
    STRING,
    TIME,
    Bytes,
    IntOrString,
    ListOf,
    MapOf,
    Merge,
    Number,
    QuantityType,
    Struct,
    Type,
)
from apiserver.types import Resource
from apiserver.wire.table import messages

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_SPECIAL: dict[str, Type] = {
    raw.INT_OR_STRING: IntOrString(),
    raw.QUANTITY: QuantityType(),
    f"{_META}Time": TIME,
    f"{_META}MicroTime": MICRO_TIME,
    f"{_META}FieldsV1": RAW,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": RAW,
}
_SCALARS: dict[str, Type] = {"string": STRING, "boolean": BOOL, "number": Number()}


class Compiler:
    """Turns definitions into types; each definition once, so that recursive ones end."""

    def __init__(self, definitions: dict[str, raw.Definition]) -> None:
        self._definitions = definitions
        self._done: dict[str, Type] = dict(_SPECIAL)

    def named(self, name: str) -> Type:
        done = self._done.get(name)
        if done is not None:
            return done
        definition = self._definitions[name]
        properties = definition.get("properties")
        if properties is None and definition.get("type") != "object":
            self._done[name] = plain = self._schema(definition)
            return plain
        struct = Struct(name.rsplit(".", 1)[1], _go_name(name))
        self._done[name] = struct
        required = definition.get("required") or ()
        omitted = _omitted(name)
        for field, schema in (properties or {}).items():
            of = self._schema(schema)
            struct.add(field, of, _merge(schema), required=field in required, omitted=field in omitted)
        return struct

    def _schema(self, schema: raw.Definition) -> Type:
        name = raw.ref_name(schema)
        if name is not None:
            return self.named(name)
        match schema.get("type"):
            case "array":
                return ListOf(self._schema(schema["items"]))
            case "object":
                values = schema.get("additionalProperties")
                if not isinstance(values, dict):
                    return RAW
                of = self._schema(values)
                # A map of quantities is a core ResourceList, wherever it is.
                return MapOf(RESOURCE_AMOUNT if isinstance(of, QuantityType) else of)
            case "integer":
                return INT32 if schema.get("format") == "int32" else INT64
            case "string" if schema.get("format") == "byte":
                return Bytes()
            case str(kind):
                return _SCALARS[kind]
        return RAW


def _omitted(name: str) -> frozenset[str]:
    """The fields that are left out when they are zero, as far as what is known of protobuf tells."""
    message = messages().get(".".join(name.rsplit(".", 3)[1:]), {})
    return frozenset(field for field, _, how in message.values() if how != "?")


def _go_name(name: str) -> str:
    """``io.k8s.api.core.v1.PodSpec`` -> ``v1.PodSpec``."""
    return ".".join(name.rsplit(".", 2)[1:])


def _merge(schema: raw.Definition) -> Merge:
    strategies = schema.get("x-kubernetes-patch-strategy")
    if not strategies:
        return NO_MERGE
    return Merge(frozenset(strategies.split(",")), schema.get("x-kubernetes-patch-merge-key", ""))


@cache
def _types() -> dict[tuple[str, str, str], Type]:
    definitions = raw.load()
    compiler = Compiler(definitions)
    return {gvk: compiler.named(name) for gvk, name in raw.by_kind(definitions).items() if _wanted(gvk)}


def _wanted(gvk: tuple[str, str, str]) -> bool:
    """Alpha and beta versions are not served, and lists are never decoded."""
    _, version, kind = gvk
    return "alpha" not in version and "beta" not in version and not kind.endswith("List")


@cache
def struct_named(name: str) -> Struct:
    """The struct of a definition that is no kind: ``core.v1.PodSpec``."""
    found = Compiler(raw.load()).named(f"io.k8s.api.{name}")
    assert isinstance(found, Struct)
    return found


@cache
def type_of(group: str, version: str, kind: str) -> Type:
    """The type of a built-in kind; of any other, any JSON object."""
    known = _types().get((group, version, kind))
    return known if known is not None else MapOf(RAW)


def type_of_resource(resource: Resource) -> Type:
    return type_of(resource.group, resource.version, resource.kind)
