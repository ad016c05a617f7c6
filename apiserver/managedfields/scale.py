"""Ownership through the scale subresource: ``.spec.replicas`` of a Scale is a field of the object that is scaled.

A write of a Scale is tracked as any other, on the entries that own the replicas; what comes of it is put back into the
object's own entries. Upstream: managedfields/scalehandler.go.
"""

from __future__ import annotations

from apiserver.managedfields import versions
from apiserver.managedfields.entries import Entry, entry_of, fields_of, identity, put_in_order
from apiserver.managedfields.sets import difference, has, of_path
from apiserver.types import Resource, ScalePaths

SCALE_VERSION = "autoscaling/v1"
REPLICAS = ("f:spec", "f:replicas")


def path_of(paths: ScalePaths) -> tuple[str, ...]:
    return tuple(f"f:{name}" for name in paths.spec_replicas.split("."))


def to_scale(entries: list[Entry], path: tuple[str, ...]) -> list[Entry]:
    """The entries of a Scale: those that own the replicas, and of them only that."""
    return [
        {**entry, "apiVersion": SCALE_VERSION, "fieldsV1": of_path(REPLICAS)}
        for entry in entries
        if has(fields_of(entry), path)
    ]


def to_parent(resource: Resource, entries: list[Entry], scale: list[Entry], path: tuple[str, ...]) -> list[Entry]:
    """The object's entries after the Scale's have become ``scale``. New ones have no time, as upstream's."""
    owners = {_who(entry): entry for entry in scale if has(fields_of(entry), REPLICAS)}
    out: list[Entry] = []
    for entry in entries:
        if versions.find(resource, entry["apiVersion"]) is None:
            continue
        if not has(fields_of(entry), path) or owners.pop(_who(entry), None) is not None:
            out.append(entry)
            continue
        left = difference(fields_of(entry), of_path(path))
        if left:
            out.append({**entry, "fieldsV1": left})
    for (manager, operation, subresource), _ in owners.items():
        out.append(entry_of(manager, operation, resource.api_version, of_path(path), None, subresource))
    return put_in_order(out)


def _who(entry: Entry) -> tuple[str, str, str]:
    manager, operation, _, subresource = identity(entry)
    return manager, operation, subresource
