"""Whether an applied object is of its type, in the words of upstream's structured-merge-diff (typed/validate.go)."""

from __future__ import annotations

import json
from typing import Any

from apiserver.managedfields.lists import ListOf
from apiserver.managedfields.sets import FieldsError, display
from apiserver.managedfields.types import Anything, MapOf, Scalar, Struct, Type

Problem = tuple[str, str]


def check(kind: Type, value: Any) -> str:
    """What is wrong, empty for nothing."""
    problems = [f"{path}: {text}" if path else text for path, text in _check(kind, value, "")]
    if len(problems) > 1:
        return "\n".join(["errors:", *(f"  {p}" for p in problems)])
    return problems[0] if problems else ""


def _check(kind: Type, value: Any, path: str) -> list[Problem]:
    if value is None or isinstance(kind, Anything):
        return []
    match kind:
        case Scalar():
            text = _scalar(kind.kind, value)
            return [(path, text)] if text else []
        case ListOf():
            if not isinstance(value, list):
                return [(path, f"expected list, got &{{{_plain(value)}}}")]
            return _list(kind, value, path)
        case MapOf():
            if not isinstance(value, dict):
                return [(path, f"expected map, got &{{{_plain(value)}}}")]
            return [p for name, item in value.items() for p in _check(kind.value, item, f"{path}.{name}")]
        case Struct():
            if not isinstance(value, dict):
                return [(path, f"expected map, got &{{{_plain(value)}}}")]
            return _struct(kind, value, path)
    return []


def _struct(kind: Struct, value: dict[str, Any], path: str) -> list[Problem]:
    problems: list[Problem] = []
    for name, item in value.items():
        of = kind.fields.get(name)
        if of is None:
            problems.append((f"{path}.{name}", "field not declared in schema"))
        else:
            problems += _check(of, item, f"{path}.{name}")
    return problems


def _list(kind: ListOf, value: list[Any], path: str) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        at = f"[{index}]"
        if not kind.atomic:
            try:
                key = kind.element(item)
            except FieldsError as error:
                return [*problems, (path, f"element {index}: {error}")]
            at = display((key,))
            if key in seen:
                problems.append((path, f"duplicate entries for key {at}"))
            seen.add(key)
        problems += _check(kind.item, item, path + at)
    return problems


def _scalar(kind: str, value: Any) -> str:
    if kind == "string" and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{_literal(value)}}}"
    if kind == "numeric" and (isinstance(value, bool) or not isinstance(value, int | float)):
        return f"expected numeric (int or float), got {_go_type(value)}"
    if kind == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got &{{{_plain(value)}}}"
    if kind == "untyped" and isinstance(value, dict | list):
        return f"expected scalar, got &{{{_plain(value)}}}"
    return ""


def _go_type(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    return {bool: "bool", str: "string", list: "[]interface {}"}.get(type(value), type(value).__name__)


def _plain(value: Any) -> str:
    """As Go's %v."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{k}:{_plain(v)}' for k, v in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_plain, value))}]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _literal(value: Any) -> str:
    """As Go's %#v."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{json.dumps(k)}:{_literal(v)}" for k, v in sorted(value.items()))
        return f"map[string]interface {{}}{{{pairs}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_literal, value))}}}"
    if value is None:
        return "interface {}(nil)"
    return json.dumps(value)
