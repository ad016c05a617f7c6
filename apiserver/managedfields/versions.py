"""The versions of one resource in which fields may be owned.

An entry's fields are those of its own apiVersion: what a write changed is asked in that version's form. Nearly always
there is one version, and no conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import orjson

from apiserver.endpoints.conversion import conversion_of
from apiserver.managedfields.compile import Kind, kind_of
from apiserver.managedfields.types import Struct
from apiserver.types import Object, Resource


@dataclass(frozen=True)
class Version:
    """One version: its types, and how an object gets into it and out of it from the stored form."""

    resource: Resource
    kind: Kind

    @property
    def name(self) -> str:
        return self.resource.api_version

    def tracked(self, subresource: str) -> Struct:
        return self.kind.tracked_for(subresource, status=self.resource.status)

    def served(self, obj: Object) -> Object:
        conversion = conversion_of(self.resource)
        return obj if conversion is None else conversion.to_served(_copy(obj))

    def stored(self, obj: Object) -> Object:
        conversion = conversion_of(self.resource)
        return obj if conversion is None else conversion.to_stored(_copy(obj))


def _copy(obj: Object) -> Object:
    return orjson.loads(orjson.dumps(obj))  # type: ignore[no-any-return]


@cache
def _version(group: str, version: str, plural: str) -> Version | None:
    from apiserver.resources.table import RESOURCES  # imported here: its rows are decoded by what this package checks

    row = next((r for r in RESOURCES if (r.group, r.version, r.plural) == (group, version, plural)), None)
    return None if row is None else Version(row, kind_of(row))


def version_of(resource: Resource) -> Version:
    return _version(resource.group, resource.version, resource.plural) or Version(resource, kind_of(resource))


@cache
def _others(storage: tuple[str, str]) -> Mapping[str, Version]:
    from apiserver.resources.table import RESOURCES

    return {r.api_version: version_of(r) for r in RESOURCES if (r.stored_as or (r.group, r.plural)) == storage}


def find(resource: Resource, api_version: str) -> Version | None:
    """The version of an entry, None for one that is not served (any more)."""
    if api_version == resource.api_version:
        return version_of(resource)
    return _others(resource.stored_as or (resource.group, resource.plural)).get(api_version)
