"""Bytes of a request -> an object that is safe to work with.

The order, the codes and the words are those of upstream's codec: the group, version and kind are looked at first, then
types, then (strict decoding) unknown and duplicate fields. Defaults and validation come later and elsewhere.
https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import orjson

from apiserver import depth
from apiserver.schema import yaml
from apiserver.schema.compile import type_of_resource
from apiserver.schema.gojson import syntax_error
from apiserver.schema.model import DecodeError, Place, Type
from apiserver.types import Object, Resource
from common.api.status import BadRequest, FieldError, UnsupportedMediaType, invalid

Validation = Literal["Ignore", "Warn", "Strict"]
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
_JSON = "application/json"
_YAML = ("application/yaml", "application/x-yaml", "text/yaml")


@dataclass(frozen=True)
class Decoded:
    object: Object
    warnings: list[str] = field(default_factory=list)


@cache
def sent_kind(kind: str, api_version: str) -> Resource:
    """A row to decode by, for a kind that is sent but never stored by itself: Scale, Binding, DeleteOptions."""
    group, _, version = api_version.rpartition("/")
    return Resource(group, version, f"{kind.lower()}s", kind, kind.lower(), True, strategy=None)  # type: ignore[arg-type]


def decode(
    data: bytes,
    content_type: str,
    resource: Resource,
    validation: Validation = "Warn",
    *,
    any_version: bool = False,
) -> Decoded:
    """Decodes a request's body. Raises BadRequest in upstream's words, and UnsupportedMediaType.

    ``any_version`` is for kinds that are the same in every version that clients name.
    """
    obj, duplicates = _parse(data, content_type, resource, validation)
    if any_version and isinstance(obj, dict):
        obj["apiVersion"] = resource.api_version
    _check_kind(obj, data, resource)
    kind = type_of_resource(resource)
    _drop_empty_timestamps(obj)
    if not duplicates and kind.quick(obj):
        return Decoded(obj)
    try:
        obj, strict = _convert(obj, kind)
    except DecodeError as error:
        raise BadRequest(_cannot_be_handled(obj, resource, str(error))) from None
    strict = duplicates + strict
    if strict and validation == "Strict":
        raise BadRequest(_cannot_be_handled(obj, resource, f"strict decoding error: {', '.join(strict)}"))
    return Decoded(obj, strict if validation == "Warn" else [])


def conform(
    obj: Object,
    resource: Resource,
    validation: Validation = "Warn",
    patch: str | None = None,
    duplicates: Sequence[str] = (),
) -> Decoded:
    """The same checks on what a patch made. Raises Invalid, as upstream does for patches; ``patch`` is shown in it.

    ``duplicates`` came twice in the patch.
    """
    kind = type_of_resource(resource)
    problem, converted, strict = "", obj, list(duplicates)
    try:
        _check_kind(obj, b"", resource)
        if not kind.quick(obj):
            converted, unknown = _convert(obj, kind)
            strict += unknown
    except (BadRequest, DecodeError) as error:
        problem = str(error)
    if not problem and strict and validation == "Strict":
        problem = f"strict decoding error: {', '.join(strict)}"
    if problem:
        shown = patch if patch is not None else orjson.dumps(obj).decode()
        raise invalid("", "", "", [FieldError("FieldValueInvalid", "patch", problem, shown)])
    return Decoded(converted, strict if validation == "Warn" else [])


def _convert(obj: Object, kind: Type) -> tuple[Object, list[str]]:
    unknown: list[str] = []
    converted = kind.convert(obj, Place("", "", "", unknown))
    return converted, [f'unknown field "{path}"' for path in unknown]


def _parse(data: bytes, content_type: str, resource: Resource, validation: Validation) -> tuple[Any, list[str]]:
    """The body and, when someone wants to know, what came twice in it."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == _JSON or not media_type:
        return _parse_json(data, resource, validation)
    if media_type in _YAML:
        try:
            obj, duplicates = yaml.load(data)
        except yaml.YAMLError as error:
            raise BadRequest(_unrecognized(data, resource, f"error converting YAML to JSON: {error}")) from None
        strict = ["yaml: unmarshal errors:\n  " + "\n  ".join(duplicates)] if duplicates else []
        return obj, strict if validation != "Ignore" else []
    raise UnsupportedMediaType(
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


def _parse_json(data: bytes, resource: Resource, validation: Validation) -> tuple[Any, list[str]]:
    try:
        obj = orjson.loads(data)
    except orjson.JSONDecodeError:
        text = f"couldn't get version/kind; json parse error: {syntax_error(data)}"
        raise BadRequest(_unrecognized(data, resource, text)) from None
    duplicates = duplicate_fields(data, obj)
    return obj, [] if validation == "Ignore" else duplicates


def duplicate_fields(data: bytes, obj: Any) -> list[str]:
    """What came twice in ``data``, which is ``obj`` as JSON. Raises BadRequest if that is nested too deeply.

    Writing it back costs a microsecond and, for the compact JSON that clients send, proves that no key came twice.
    """
    return [] if depth.dumps(obj) == data.rstrip() else _duplicates(data)


class _Repeated(dict[str, Any]):
    """A JSON object in which ``names`` came twice."""

    names: list[str]


def _duplicates(data: bytes) -> list[str]:
    found = False

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        found = True
        repeated, seen = _Repeated(made), set()
        repeated.names = [name for name, _ in pairs if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        return repeated

    tree = json.loads(data, object_pairs_hook=note)
    return [f'duplicate field "{path}"' for path in _repeated_paths(tree, "")] if found else []


def _repeated_paths(value: Any, path: str) -> list[str]:
    paths: list[str] = []
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        if isinstance(value, _Repeated):
            paths += dict.fromkeys(prefix + name for name in value.names)
        for name, child in value.items():
            paths += _repeated_paths(child, prefix + name)
    elif isinstance(value, list):
        for i, child in enumerate(value):
            paths += _repeated_paths(child, f"{path}[{i}]")
    return paths


def _check_kind(obj: Any, data: bytes, resource: Resource) -> None:
    """Fills in a missing apiVersion or kind and refuses others than the resource's."""
    problem = _type_meta_problem(obj)
    if problem:
        raise BadRequest(_unrecognized(data, resource, f"couldn't get version/kind; json parse error: {problem}"))
    api_version = obj.get("apiVersion") or resource.api_version
    kind = obj.get("kind") or resource.kind
    obj["apiVersion"], obj["kind"] = api_version, kind
    if api_version == resource.api_version and kind == resource.kind:
        return
    raise BadRequest(_kind_mismatch(obj, api_version, kind, resource))


def _type_meta_problem(obj: Any) -> str:
    if not isinstance(obj, dict):
        found = {str: "string", bool: "bool", list: "array", type(None): "null"}.get(type(obj), "number")
        return f"json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string; Kind string }}"
    for name in ("apiVersion", "kind"):
        value = obj.get(name)
        if value is not None and not isinstance(value, str):
            found = {bool: "bool", list: "array", dict: "object"}.get(type(value), "number")
            return f"json: cannot unmarshal {found} into Go struct field .{name} of type string"
    return ""


def _kind_mismatch(obj: Object, api_version: str, kind: str, resource: Resource) -> str:
    from apiserver.resources.table import RESOURCES  # imported here: the table's rows are themselves decoded with this

    if api_version != resource.api_version and kind == resource.kind:
        served = any(r.api_version == api_version and r.kind == kind for r in RESOURCES)
        if served and api_version.partition("/")[0] == resource.group:
            return (
                f"the API version in the data ({api_version}) does not match "
                f"the expected API version ({resource.api_version})"
            )
    one = kind.removesuffix("List")
    known = next((r for r in RESOURCES if r.api_version == api_version and r.kind in (kind, one)), None)
    if known is None:
        detail = f'no kind "{kind}" is registered for version "{api_version}" in scheme "{_SCHEME}"'
    else:
        detail = f"converting ({known.version}.{kind}) to ({_package(resource)}.{resource.kind}): unknown conversion"
    return _cannot_be_handled(obj, resource, detail)


def _package(resource: Resource) -> str:
    """The Go package of a group's internal types."""
    return resource.group.partition(".")[0] or "core"


def _cannot_be_handled(obj: Object, resource: Resource, detail: str) -> str:
    version = str(obj.get("apiVersion", "")).rpartition("/")[2]
    return f'{obj.get("kind")} in version "{version}" cannot be handled as a {resource.kind}: {detail}'


def _unrecognized(data: bytes, resource: Resource, detail: str) -> str:
    return f"the object provided is unrecognized (must be of type {resource.kind}): {detail} ({_summary(data)})"


def _summary(data: bytes, limit: int = 30) -> str:
    if not data:
        return "<empty>"
    head = data[:limit].decode("utf-8", "replace") if data.startswith(b"{") else data[:limit].hex()
    return f"{head} ..." if len(data) > limit else head


def _drop_empty_timestamps(obj: Object) -> None:
    """Go clients always send ``creationTimestamp: null``: without it, most objects pass the quick check."""
    _drop_empty_timestamp(obj)
    spec = obj.get("spec")
    if isinstance(spec, dict):
        template = spec.get("template")
        if isinstance(template, dict):
            _drop_empty_timestamp(template)


def _drop_empty_timestamp(obj: Object) -> None:
    metadata = obj.get("metadata")
    if isinstance(metadata, dict) and metadata.get("creationTimestamp", "") is None:
        del metadata["creationTimestamp"]
