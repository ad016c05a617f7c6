"""Upstream's OpenAPI definitions, as the kubernetes-validate package carries them.

That copy is widened for validators (every type may be ``null``, intOrString is a ``oneOf``); :func:`load` undoes it, so
that the result equals what upstream serves. It is 1.3 MB of JSON and about 10 MB of dicts: load it, compile what is
needed, and let it go.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson

SOURCE = "kubernetes-json-schema/v1.32.0-local/_definitions.json"
PREFIX = "#/$defs/"

Definition = dict[str, Any]

INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_FIXED: dict[str, Definition] = {
    INT_OR_STRING: {"type": "string", "format": "int-or-string"},
    QUANTITY: {"type": "string"},
}


def load() -> dict[str, Definition]:
    """All definitions by name, with plain types. References stay ``#/$defs/<name>``."""
    raw = orjson.loads(files("kubernetes_validate").joinpath(SOURCE).read_bytes())["$defs"]
    for name, definition in raw.items():
        if name in _FIXED:
            fixed = dict(_FIXED[name])
            if "description" in definition:
                fixed["description"] = definition["description"]
            raw[name] = fixed
        else:
            _narrow(definition)
    return raw  # type: ignore[no-any-return]


def _narrow(schema: Definition) -> None:
    """Takes the ``null`` out of every type, in place."""
    types = schema.get("type")
    if isinstance(types, list):
        schema["type"] = next(t for t in types if t != "null")
    for child in schema.get("properties", {}).values():
        _narrow(child)
    for key in ("items", "additionalProperties"):
        child = schema.get(key)
        if isinstance(child, dict):
            _narrow(child)


def ref_name(schema: Definition) -> str | None:
    """The name of the definition that a schema refers to."""
    ref = schema.get("$ref")
    return ref.removeprefix(PREFIX) if isinstance(ref, str) else None


def by_kind(definitions: dict[str, Definition]) -> dict[tuple[str, str, str], str]:
    """(group, version, kind) -> name of the definition."""
    return {
        (gvk["group"], gvk["version"], gvk["kind"]): name
        for name, definition in definitions.items()
        for gvk in definition.get("x-kubernetes-group-version-kind", ())
    }
