"""OpenAPI documents from the table and upstream's definitions.

A document is made when it is first asked for and kept as gzipped bytes (some ten kilobytes): the dicts it is made of
are a hundred times as big and are let go at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

from apiserver.schema import definitions as raw
from apiserver.schema.connections import Names, Path, Specs, subresource_paths, watch_paths
from apiserver.schema.operations import Operation, Parameter, base_path, paths
from apiserver.types import Resource

Document = dict[str, Any]

FORMAT = 3
"""Raised when documents change in form, so that clients fetch them again."""
KUBERNETES = "v1.32.0"
_INFO = {"title": "Kubernetes", "version": KUBERNETES}
_V3_TYPES: dict[str, Document] = {
    raw.INT_OR_STRING: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    raw.QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
}


def groups(resources: Iterable[Resource]) -> dict[str, list[Resource]]:
    """``apis/apps/v1`` -> the rows of that group version."""
    found: dict[str, list[Resource]] = {}
    for resource in resources:
        found.setdefault(base_path(resource)[1:], []).append(resource)
    return found


def digest(resources: Sequence[Resource], specs: Specs | None = None) -> str:
    """A hash that changes when the document would, known without making it."""
    rows = [(r.group, r.version, r.plural, r.kind, r.namespaced, r.verbs, r.status, bool(r.scale)) for r in resources]
    connected = [(key, spec.kind, spec.methods) for key, spec in (specs or {}).items()]
    source = f"{FORMAT}:{version('kubernetes-validate')}:{rows}:{connected}"
    return hashlib.sha512(source.encode()).hexdigest().upper()


def _paths(resources: Iterable[Resource], specs: Specs, names: Names) -> Iterator[Path]:
    for resource in resources:
        yield from paths(resource, names[resource.group, resource.version, resource.kind])
        yield from subresource_paths(resource, specs, names)
        yield from watch_paths(resource)


def v3(resources: Sequence[Resource], specs: Specs | None = None, more: Iterable[Path] = ()) -> Document:
    """The document of one group version. ``more`` are its paths that are about no resource."""
    definitions = raw.load()
    names = raw.by_kind(definitions)
    items: Document = {}
    needed: set[str] = set()
    for path, parameters, operations in (*more, *_paths(resources, specs or {}, names)):
        item = items.setdefault(path, {"parameters": [_parameter_v3(p) for p in parameters]} if parameters else {})
        for operation in operations:
            item[operation.method] = _operation_v3(operation)
            needed |= {operation.answer, operation.body} - {""}
    schemas = {
        name: _schema(_V3_TYPES.get(name, definitions[name]), "#/components/schemas/", True)
        for name in sorted(_closure(needed, definitions))
    }
    return {"openapi": "3.0.0", "info": _INFO, "paths": items, "components": {"schemas": schemas}}


def v2(resources: Sequence[Resource], specs: Specs | None = None, more: Iterable[Path] = ()) -> Document:
    """The one document of everything, for older clients."""
    definitions = raw.load()
    names = raw.by_kind(definitions)
    items: Document = {}
    needed: set[str] = set()
    for path, parameters, operations in (*more, *_paths(resources, specs or {}, names)):
        item = items.setdefault(path, {"parameters": [_parameter_v2(p) for p in parameters]} if parameters else {})
        for operation in operations:
            item[operation.method] = _operation_v2(operation)
            needed |= {operation.answer, operation.body} - {""}
    schemas = {n: _schema(definitions[n], "#/definitions/", False) for n in sorted(_closure(needed, definitions))}
    return {"swagger": "2.0", "info": _INFO, "paths": items, "definitions": schemas}


def _closure(names: Iterable[str], definitions: dict[str, raw.Definition]) -> set[str]:
    """The definitions named, and all that they refer to."""
    found: set[str] = set()
    pending = [name for name in names if name in definitions]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += _references(definitions[name])
    return found


def _references(schema: raw.Definition) -> list[str]:
    name = raw.ref_name(schema)
    found = [name] if name else []
    for child in schema.get("properties", {}).values():
        found += _references(child)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += _references(schema[key])
    return found


def _schema(schema: raw.Definition, prefix: str, wrap: bool) -> Document:
    """A definition with references in the document's own form; v3 allows nothing beside a ``$ref`` but in ``allOf``."""
    name = raw.ref_name(schema)
    if name is not None:
        rest = {k: v for k, v in schema.items() if k != "$ref"}
        ref = {"$ref": prefix + name}
        return {**rest, "allOf": [ref]} if wrap and rest else {**rest, **ref}
    out = dict(schema)
    if "properties" in out:
        out["properties"] = {k: _schema(v, prefix, wrap) for k, v in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _schema(out[key], prefix, wrap)
    return out


def _extensions(operation: Operation) -> Document:
    group, version_, kind = operation.gvk
    made: Document = {"operationId": operation.id}
    if operation.action:
        made["x-kubernetes-action"] = operation.action
        made["x-kubernetes-group-version-kind"] = {"group": group, "version": version_, "kind": kind}
    return made


def _parameter_v3(parameter: Parameter) -> Document:
    schema = {"type": parameter.type, "uniqueItems": True}
    made: Document = {"name": parameter.name, "in": parameter.place, "schema": schema}
    return made | {"required": True} if parameter.place == "path" else made


def _parameter_v2(parameter: Parameter) -> Document:
    made: Document = {"name": parameter.name, "in": parameter.place, "type": parameter.type, "uniqueItems": True}
    return made | {"required": True} if parameter.place == "path" else made


def _operation_v3(operation: Operation) -> Document:
    answer = {"schema": _answer(operation, "#/components/schemas/")}
    made = _extensions(operation)
    if operation.parameters:
        made["parameters"] = [_parameter_v3(p) for p in operation.parameters]
    if operation.body:
        body = {"schema": {"$ref": f"#/components/schemas/{operation.body}"}}
        made["requestBody"] = {"content": dict.fromkeys(operation.consumes, body), "required": True}
    content = dict.fromkeys(operation.produces, answer)
    made["responses"] = {code: {"description": text, "content": content} for code, text in _codes(operation)}
    made["responses"]["401"] = {"description": "Unauthorized"}
    return made


def _operation_v2(operation: Operation) -> Document:
    made = _extensions(operation) | {"consumes": list(operation.consumes), "produces": list(operation.produces)}
    parameters = [_parameter_v2(p) for p in operation.parameters]
    if operation.body:
        schema = {"$ref": f"#/definitions/{operation.body}"}
        parameters.append({"name": "body", "in": "body", "required": True, "schema": schema})
    answer = _answer(operation, "#/definitions/")
    made["parameters"] = parameters
    made["responses"] = {code: {"description": text, "schema": answer} for code, text in _codes(operation)}
    made["responses"]["401"] = {"description": "Unauthorized"}
    return made


def _answer(operation: Operation, prefix: str) -> Document:
    return {"$ref": prefix + operation.answer} if operation.answer else {"type": "string"}


def _codes(operation: Operation) -> list[tuple[str, str]]:
    return [("200", "OK"), ("201", "Created")] if operation.created else [("200", "OK")]
