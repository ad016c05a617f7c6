"""What every object has: key, owner references, deletion. Works on lightkube's structs."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference

T = TypeVar("T")


def meta_of(obj: Any) -> ObjectMeta:
    """The metadata, which every object from the API has. Raises ValueError for one without."""
    if obj.metadata is None:
        raise ValueError(f"{type(obj).__name__} without metadata")
    return obj.metadata  # type: ignore[no-any-return]


def key_of(obj: Any) -> str:
    """``namespace/name``, or ``name`` for a cluster's object. Takes dicts too."""
    if isinstance(obj, dict):
        metadata = obj.get("metadata") or {}
        namespace, name = metadata.get("namespace"), metadata.get("name", "")
    else:
        namespace, name = obj.metadata.namespace, obj.metadata.name
    return f"{namespace}/{name}" if namespace else name


def split_key(key: str) -> tuple[str | None, str]:
    """``(namespace or None, name)``."""
    namespace, slash, name = key.rpartition("/")
    return (namespace if slash else None), name


def clone(obj: T) -> T:
    """A deep copy that may be changed."""
    return msgspec.convert(msgspec.to_builtins(obj), type(obj))


def labels_of(obj: Any) -> dict[str, str]:
    return (obj.metadata and obj.metadata.labels) or {}


def annotations_of(obj: Any) -> dict[str, str]:
    return (obj.metadata and obj.metadata.annotations) or {}


def is_deleting(obj: Any) -> bool:
    return obj.metadata is not None and obj.metadata.deletionTimestamp is not None


def kind_of(obj: Any) -> tuple[str, str]:
    """``(apiVersion, kind)`` of a typed object, also where the object itself leaves them out (items of lists)."""
    info = getattr(type(obj), "_api_info", None)
    if info is not None:
        return info.resource.api_version, info.resource.kind
    return obj.apiVersion or "", obj.kind or ""


def owner_ref(obj: Any, *, controller: bool = True) -> OwnerReference:
    """A reference that makes ``obj`` the owner (and the controller) of what carries it."""
    api_version, kind = kind_of(obj)
    return OwnerReference(
        apiVersion=api_version,
        kind=kind,
        name=obj.metadata.name,
        uid=obj.metadata.uid,
        controller=controller or None,
        blockOwnerDeletion=controller or None,
    )


def controller_of(obj: Any) -> OwnerReference | None:
    """The owner that manages this object."""
    for ref in (obj.metadata and obj.metadata.ownerReferences) or ():
        if ref.controller:
            return ref  # type: ignore[no-any-return]
    return None


def is_controlled_by(obj: Any, owner: Any) -> bool:
    ref = controller_of(obj)
    return ref is not None and ref.uid == owner.metadata.uid
