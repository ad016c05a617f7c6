"""How an object is written to etcd, and how its revision gets back into it without parsing.

Values are JSON with a fixed beginning, ``{"kind":…,"apiVersion":…,"metadata":{``, so that ``resourceVersion`` can be
put in with one concatenation: it is etcd's revision, never stored, and every read carries it.
"""

from __future__ import annotations

from typing import Any

import orjson

from apiserver import depth
from apiserver.types import Object, Resource

ROOT = b"/registry/"
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)
"""What reading a value that is no object of ours raises: something else wrote it, or a disk did."""


def storage_of(resource: Resource) -> tuple[str, str]:
    """(group, plural) under which a resource is stored."""
    return resource.stored_as or (resource.group, resource.plural)


def prefix_of(group: str, plural: str) -> bytes:
    """The keys of a resource: ``/registry/pods/`` or ``/registry/apps/deployments/``."""
    return ROOT + (f"{group}/{plural}/" if group else f"{plural}/").encode()


def join_key(namespace: str, name: str) -> str:
    """A key within its resource."""
    return f"{namespace}/{name}" if namespace else name


def head_of(kind: str, api_version: str) -> bytes:
    """How each stored value of a kind begins."""
    return b'{"kind":' + orjson.dumps(kind) + b',"apiVersion":' + orjson.dumps(api_version) + b',"metadata":{'


def encode(obj: Object) -> bytes:
    """The value to store: a fixed order of the first three fields, and no resourceVersion. Raises BadRequest for what
    is nested too deeply, whichever way it came to be."""
    metadata = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "selfLink")}
    ordered: dict[str, Any] = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": metadata}
    for key, value in obj.items():
        if key not in ordered:
            ordered[key] = value
    return depth.dumps(ordered)


def with_revision(head: bytes, value: bytes, revision: int) -> bytes:
    """The value as clients see it."""
    if value.startswith(head):
        return b'%b"resourceVersion":"%d",%b' % (head, revision, value[len(head) :])
    obj = orjson.loads(value)
    obj.setdefault("metadata", {})["resourceVersion"] = str(revision)
    return orjson.dumps(obj)
