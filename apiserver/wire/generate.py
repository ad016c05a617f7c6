"""``python -m apiserver.wire.generate KUBECTL > apiserver/wire/fields.json``: the meaning of each field number.

Field numbers are no part of the OpenAPI definitions, so they are read from where every Go client carries them: the
protobuf descriptors inside the binary (gzipped FileDescriptorProtos). Only messages that a served kind leads to are
kept. Fields that Go embeds are marked inline: their name is no property of the OpenAPI definition.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError

from apiserver.resources.table import RESOURCES
from apiserver.wire.table import message_name

GZIP = b"\x1f\x8b\x08"
API, META = "k8s.io.api.", "k8s.io.apimachinery.pkg.apis."
EXTRA_KINDS = (
    ("v1", "DeleteOptions"),
    ("autoscaling/v1", "Scale"),
    ("policy/v1", "Eviction"),
    ("authentication.k8s.io/v1", "TokenRequest"),
    ("v1", "Binding"),
)
INLINE = frozenset(
    {
        "handler",
        "volumeSource",
        "persistentVolumeSource",
        "ephemeralContainerCommon",
        "localObjectReference",
    }
)
"""Embedded structs. ``localObjectReference`` is a field nowhere else."""

_SCALARS = {
    FieldDescriptorProto.TYPE_STRING: "s",
    FieldDescriptorProto.TYPE_BYTES: "b",
    FieldDescriptorProto.TYPE_BOOL: "o",
    FieldDescriptorProto.TYPE_INT32: "i",
    FieldDescriptorProto.TYPE_INT64: "i",
    FieldDescriptorProto.TYPE_DOUBLE: "d",
}


def descriptors(binary: bytes) -> Iterator[FileDescriptorProto]:
    at = binary.find(GZIP)
    while at >= 0:
        try:
            content = zlib.decompressobj(31).decompress(binary[at : at + 1_000_000])
            file = FileDescriptorProto.FromString(content)
            if file.name.startswith("k8s.io/"):
                yield file
        except (zlib.error, DecodeError):
            pass
        at = binary.find(GZIP, at + 1)


def short(name: str) -> str:
    """``.k8s.io.api.core.v1.Pod`` -> ``core.v1.Pod``."""
    name = name.lstrip(".")
    for prefix in (API, META, "k8s.io.apimachinery.pkg."):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def type_of(field: FieldDescriptorProto) -> str:
    return _SCALARS.get(field.type) or short(field.type_name)


def fields_of(message: DescriptorProto) -> dict[str, list[str]]:
    """Number -> [name, type, how]; how is "" for one, "*" for many, "%" for a map, "~" for an embedded struct."""
    entries = {nested.name: nested for nested in message.nested_type}
    fields = {}
    for field in message.field:
        entry = entries.get(field.type_name.rsplit(".", 1)[-1])
        if entry is not None:
            value = [field.name, type_of(entry.field[1]), "%"]
        elif field.label == FieldDescriptorProto.LABEL_REPEATED:
            value = [field.name, type_of(field), "*"]
        else:
            value = [field.name, type_of(field), "~" if field.name in INLINE else ""]
        fields[str(field.number)] = value
    return fields


def main() -> None:
    messages: dict[str, dict[str, list[str]]] = {}
    for file in descriptors(Path(sys.argv[1]).read_bytes()):
        for message in file.message_type:
            messages[short(f"{file.package}.{message.name}")] = fields_of(message)
    wanted = [message_name(r.api_version, r.kind) for r in RESOURCES]
    wanted += [message_name(version, kind) for version, kind in EXTRA_KINDS]
    kept: dict[str, Any] = {}
    while wanted:
        name = wanted.pop()
        if name in kept or name not in messages:
            continue
        kept[name] = messages[name]
        wanted += [type_ for _, type_, _ in messages[name].values() if "." in type_]
    lines = [f"{json.dumps(name)}:{json.dumps(kept[name], separators=(',', ':'))}" for name in sorted(kept)]
    print("{" + ",\n".join(lines) + "}")


if __name__ == "__main__":
    main()
