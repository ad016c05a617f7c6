"""downwardAPI: the pod's own fields as files.

https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lightkube.models.core_v1 import Container, DownwardAPIVolumeFile, ResourceFieldSelector
from lightkube.resources.core_v1 import Pod

from common.api.meta import meta_of
from common.api.quantity import parse_quantity
from kubelet.types import VolumeError
from kubelet.volumes.payload import FileProjection, Payload, check_path

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a", "\b": "\\b", "\f": "\\f"}


def payload(
    pod: Pod, items: Iterable[DownwardAPIVolumeFile] | None, default_mode: int, allocatable: Mapping[str, int]
) -> Payload:
    files = {}
    for item in items or ():
        mode = default_mode if item.mode is None else item.mode
        files[check_path(item.path)] = FileProjection(_value(pod, item, allocatable).encode(), mode)
    return files


def _value(pod: Pod, item: DownwardAPIVolumeFile, allocatable: Mapping[str, int]) -> str:
    if item.fieldRef is not None:
        return field_value(pod, item.fieldRef.fieldPath)
    if item.resourceFieldRef is not None:
        return resource_value(pod, item.resourceFieldRef, allocatable)
    raise VolumeError(f"no field is chosen for {item.path}")


def field_value(pod: Pod, path: str) -> str:
    """The fields a volume may show: name, namespace, uid, labels and annotations, whole or by key."""
    meta = meta_of(pod)
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript is not None:
        values = (meta.labels if subscript[1] == "labels" else meta.annotations) or {}
        return str(values.get(subscript[2], ""))
    match path:
        case "metadata.name":
            return meta.name or ""
        case "metadata.namespace":
            return meta.namespace or ""
        case "metadata.uid":
            return meta.uid or ""
        case "metadata.labels":
            return format_map(meta.labels or {})
        case "metadata.annotations":
            return format_map(meta.annotations or {})
    raise VolumeError(f"unsupported fieldPath: {path}")


def format_map(values: Mapping[str, str]) -> str:
    """A line ``key="value"`` for each entry, sorted, the value quoted as Go's %q does."""
    return "\n".join(f"{key}={quote(value)}" for key, value in sorted(values.items()))


def quote(text: str) -> str:
    return '"' + "".join(_quote_character(character) for character in text) + '"'


def _quote_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character == "\v":
        return "\\v"
    if character.isprintable():
        return character
    number = ord(character)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def resource_value(pod: Pod, selector: ResourceFieldSelector, allocatable: Mapping[str, int]) -> str:
    """A container's request or limit in units of the divisor, rounded up; no limit means what the node has."""
    container = _container(pod, selector.containerName or "")
    which, _, name = selector.resource.partition(".")
    if which not in ("limits", "requests") or not name:
        raise VolumeError(f"unsupported container resource : {selector.resource}")
    resources = container.resources
    limits = (resources.limits if resources else None) or {}
    wanted = (resources.requests if resources else None) or {}
    value = limits.get(name) if which == "limits" else wanted.get(name)
    milli = _milli(name, value, allocatable if which == "limits" else {})
    divisor = str(selector.divisor or "0")
    unit = parse_quantity(divisor).milli_value() if divisor not in ("", "0") else 1000
    return str(-(-milli // unit))


def _milli(name: str, value: str | int | None, allocatable: Mapping[str, int]) -> int:
    if value is not None:
        return parse_quantity(value).milli_value()
    held = allocatable.get(name, 0)
    return held if name == "cpu" else held * 1000


def _container(pod: Pod, name: str) -> Container:
    spec = pod.spec
    for container in [*(spec.containers if spec else []), *((spec.initContainers if spec else None) or [])]:
        if container.name == name:
            return container
    raise VolumeError(f"container {name} not found")
