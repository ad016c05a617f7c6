"""The difference of two values in the form of go-cmp, which upstream's messages of forbidden changes end with.

https://pkg.go.dev/github.com/google/go-cmp/cmp#Diff says that its output is not stable, and it is not: this is its form
(changed lines with ``-`` and ``+``, two equal neighbours around them, the rest counted), for people to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from apiserver.schema.compile import struct_named
from apiserver.schema.model import ListOf, MapOf, Struct, Type
from apiserver.wire.table import messages

CONTEXT = 2
_INITIALISMS = {
    "dns": "DNS", "ip": "IP", "ips": "IPs", "os": "OS", "tty": "TTY", "uid": "UID", "csi": "CSI", "nfs": "NFS",
    "iscsi": "ISCSI", "rbd": "RBD", "fc": "FC", "qos": "QOS", "fs": "FS", "se": "SE", "http": "HTTP", "tcp": "TCP",
    "grpc": "GRPC", "api": "API", "aws": "AWS", "gce": "GCE",
}  # fmt: skip
Line = tuple[str, int, str]
"""Sign, depth and text."""


def go_diff(definition: str, old: Any, new: Any) -> str:
    """Of two values of a definition (``core.v1.PodSpec``); "" when they are equal."""
    if old == new:
        return ""
    lines: list[Line] = []
    _struct(lines, "", struct_named(definition), old or {}, new or {}, 0, ",")
    return "".join(f"{sign} {chr(9) * depth}{text}\n" for sign, depth, text in lines)


def _field_name(name: str) -> str:
    """``dnsPolicy`` -> ``DNSPolicy``."""
    head = name[: next((i for i, c in enumerate(name) if c.isupper()), len(name))]
    return _INITIALISMS.get(head, head[:1].upper() + head[1:]) + name[len(head) :]


@lru_cache(maxsize=256)
def _order(struct: str) -> dict[str, int]:
    """Where Go's struct has a field: the field numbers of protobuf follow it."""
    table = messages().get(f"core.{struct}") or messages().get(f"meta.{struct}") or {}
    return {entry[0]: number for number, entry in table.items()}


def _fields(of: Struct) -> list[str]:
    order = _order(of.go)
    return sorted(of.fields, key=lambda name: (order.get(name, 999), name))


def _go_type(of: Type) -> str:
    if isinstance(of, ListOf):
        return f"[]{_go_type(of.item)}"
    if isinstance(of, Struct):
        return of.go.replace("v1.", "core.", 1)
    return of.go


def _struct(lines: list[Line], label: str, of: Struct, old: Any, new: Any, depth: int, end: str) -> None:
    lines.append((" ", depth, f"{label}{_go_type(of)}{{"))
    names = _fields(of)
    changed = [i for i, name in enumerate(names) if old.get(name) != new.get(name)]
    near = {j for i in changed for j in range(i - CONTEXT, i + CONTEXT + 1)}
    skipped = 0
    for i, name in enumerate(names):
        if i not in near:
            skipped += 1
            continue
        _skip(lines, skipped, "fields", depth + 1)
        skipped = 0
        shown = f"{_field_name(name)}: "
        if i in changed:
            _change(lines, shown, of.fields[name], old.get(name), new.get(name), depth + 1)
        else:
            lines.append((" ", depth + 1, f"{shown}{_flat(of.fields[name], new.get(name))},"))
    _skip(lines, skipped, "fields", depth + 1)
    lines.append((" ", depth, "}" + (end if depth else "")))


def _skip(lines: list[Line], count: int, what: str, depth: int) -> None:
    if count:
        lines.append((" ", depth, f"... // {count} identical {what if count > 1 else what[:-1]}"))


def _change(lines: list[Line], label: str, of: Type, old: Any, new: Any, depth: int) -> None:
    if isinstance(of, Struct) and old is not None and new is not None:
        _struct(lines, label, of, old, new, depth, ",")
    elif isinstance(of, ListOf) and old and new:
        _list(lines, label, of, old, new, depth)
    elif isinstance(of, MapOf) and old and new:
        _map(lines, label, of, old, new, depth)
    else:
        lines.append(("-", depth, f"{label}{_flat(of, old)},"))
        lines.append(("+", depth, f"{label}{_flat(of, new)},"))


def _list(lines: list[Line], label: str, of: ListOf, old: list[Any], new: list[Any], depth: int) -> None:
    lines.append((" ", depth, f"{label}{_go_type(of)}{{"))
    same = 0
    for i in range(max(len(old), len(new))):
        before, after = (v[i] if i < len(v) else None for v in (old, new))
        if before == after:
            same += 1
            continue
        _skip(lines, same, "elements", depth + 1)
        same = 0
        if before is not None and after is not None and isinstance(of.item, Struct):
            _struct(lines, "", of.item, before, after, depth + 1, ",")
            continue
        for sign, value in (("-", before), ("+", after)):
            if value is not None:
                lines.append((sign, depth + 1, f"{_flat(of.item, value)},"))
    _skip(lines, same, "elements", depth + 1)
    lines.append((" ", depth, "},"))


def _map(lines: list[Line], label: str, of: MapOf, old: dict[str, Any], new: dict[str, Any], depth: int) -> None:
    lines.append((" ", depth, f"{label}map[string]{_go_type(of.value)}{{"))
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        shown = f"{json.dumps(key)}: "
        if before == after:
            lines.append((" ", depth + 1, f"{shown}{_flat(of.value, after)},"))
            continue
        for sign, value in (("-", before), ("+", after)):
            if value is not None:
                lines.append((sign, depth + 1, f"{shown}{_flat(of.value, value)},"))
    lines.append((" ", depth, "},"))


def _flat(of: Type, value: Any) -> str:
    """A value on one line."""
    if value is None:
        return {"string": '""', "bool": "false", "int32": "0", "int64": "0"}.get(of.go, "nil")
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(of, ListOf):
        return "{" + ", ".join(_flat(of.item, v) for v in value) + "}"
    if isinstance(of, MapOf):
        return "{" + ", ".join(f"{json.dumps(k)}: {_flat(of.value, v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(of, Struct):
        return "{" + ", ".join(_members(of, value)) + "}"
    return str(value)


def _members(of: Struct, value: dict[str, Any]) -> Iterator[str]:
    for name in _fields(of):
        if name in value:
            yield f"{_field_name(name)}: {_flat(of.fields[name], value[name])}"
