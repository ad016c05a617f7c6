"""How objects are written for one client: as they are, as a Table, or their metadata alone.

The client's Accept header says which (https://kubernetes.io/docs/reference/using-api/api-concepts/
#receiving-resources-as-tables). The plain view never parses: it sends the cache's bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import orjson

from apiserver.endpoints.conversion import Conversion, conversion_of
from apiserver.endpoints.request import Request
from apiserver.storage.cache import Entry
from apiserver.storage.watchers import Encoder
from apiserver.types import Column, Object, Resource
from common.api.status import NotAcceptable, invalid, not_supported

META = "meta.k8s.io"
INCLUDES = ("None", "Metadata", "Object")


@dataclass(frozen=True, slots=True)
class ListMeta:
    revision: int
    token: str = ""
    remaining: int | None = None

    def to_dict(self) -> dict[str, Any]:
        meta: dict[str, Any] = {"resourceVersion": str(self.revision)}
        if self.token:
            meta["continue"] = self.token
            if self.remaining is not None:
                meta["remainingItemCount"] = self.remaining
        return meta


class View(Protocol):
    @property
    def name(self) -> str:
        """Equal names write alike."""

    def entry(self, entry: Entry) -> bytes: ...
    def object(self, obj: Object) -> bytes: ...
    def collection(self, entries: Iterable[Entry], meta: ListMeta) -> bytes: ...


def list_bytes(kind: str, api_version: str, items: Iterable[bytes], meta: ListMeta) -> bytes:
    """A list's body, copied once: large lists are mostly memory traffic."""
    head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
        kind.encode(),
        api_version.encode(),
        orjson.dumps(meta.to_dict()),
    )
    parts = list(items)
    if not parts:
        return head + b"]}\n"
    parts[0] = head + parts[0]
    parts[-1] += b"]}\n"
    return b",".join(parts)


@dataclass(frozen=True)
class PlainView:
    """Objects as they are stored."""

    resource: Resource
    name: str = "json"

    def entry(self, entry: Entry) -> bytes:
        return entry.data

    def object(self, obj: Object) -> bytes:
        return orjson.dumps(obj)

    def collection(self, entries: Iterable[Entry], meta: ListMeta) -> bytes:
        resource = self.resource
        return list_bytes(resource.kind + "List", resource.api_version, [e.data for e in entries], meta)


@dataclass(frozen=True)
class ConvertedView:
    """Objects that are stored in another version's form."""

    resource: Resource
    conversion: Conversion

    @property
    def name(self) -> str:
        return f"json:{self.resource.api_version}"

    def entry(self, entry: Entry) -> bytes:
        return orjson.dumps(self.conversion.to_served(entry.parse()))

    def object(self, obj: Object) -> bytes:
        return orjson.dumps(obj)

    def collection(self, entries: Iterable[Entry], meta: ListMeta) -> bytes:
        resource = self.resource
        return list_bytes(resource.kind + "List", resource.api_version, [self.entry(e) for e in entries], meta)


@dataclass(frozen=True)
class MetadataView:
    """PartialObjectMetadata: what controllers that look at every kind ask for."""

    version: str
    name: str = "metadata"

    def entry(self, entry: Entry) -> bytes:
        return orjson.dumps(self.partial(entry.parse()))

    def object(self, obj: Object) -> bytes:
        return orjson.dumps(self.partial(obj))

    def partial(self, obj: Object) -> Object:
        return {"kind": "PartialObjectMetadata", "apiVersion": f"{META}/{self.version}", "metadata": obj["metadata"]}

    def collection(self, entries: Iterable[Entry], meta: ListMeta) -> bytes:
        items = [self.entry(e) for e in entries]
        return list_bytes("PartialObjectMetadataList", f"{META}/{self.version}", items, meta)


@dataclass(frozen=True)
class TableView:
    """Rows of cells, which kubectl prints as they are."""

    columns: tuple[Column, ...]
    version: str
    include: str
    conversion: Conversion | None = None

    @property
    def name(self) -> str:
        return f"table:{self.version}:{self.include}:{self.conversion is not None}"

    def entry(self, entry: Entry) -> bytes:
        meta = ListMeta(entry.revision)
        return orjson.dumps(self._table([entry.parse()], meta))

    def object(self, obj: Object) -> bytes:
        revision = obj["metadata"].get("resourceVersion", "0")
        return orjson.dumps(self._table([obj], ListMeta(int(revision)), served=True))

    def collection(self, entries: Iterable[Entry], meta: ListMeta) -> bytes:
        return orjson.dumps(self._table([e.parse() for e in entries], meta))

    def _table(self, objects: list[Object], meta: ListMeta, *, served: bool = False) -> Object:
        return {
            "kind": "Table",
            "apiVersion": f"{META}/{self.version}",
            "metadata": meta.to_dict(),
            "columnDefinitions": [
                {
                    "name": column.name,
                    "type": column.type,
                    "format": column.format,
                    "description": column.description,
                    "priority": column.priority,
                }
                for column in self.columns
            ],
            "rows": [self._row(obj, served=served) for obj in objects],
        }

    def _row(self, obj: Object, *, served: bool) -> Object:
        row: Object = {"cells": [column.cell(obj) for column in self.columns]}
        if self.include == "Metadata":
            row["object"] = MetadataView(self.version).partial(obj)
        elif self.include == "Object":
            row["object"] = self.conversion.to_served(obj) if self.conversion is not None and not served else obj
        return row


@dataclass(frozen=True, slots=True)
class Accepted:
    """One clause of an Accept header."""

    kind: str = ""
    group: str = ""
    version: str = ""


@lru_cache(maxsize=512)
def parse_accept(header: str) -> tuple[Accepted, ...]:
    """The JSON clauses in the client's order of preference; empty when none is acceptable."""
    found: list[tuple[float, Accepted]] = []
    for clause in (header or "*/*").split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        if media not in ("application/json", "application/*", "*/*"):
            continue
        values = dict(p.split("=", 1) for p in parameters if "=" in p)
        try:
            quality = float(values.get("q", "1"))
        except ValueError:
            quality = 1.0
        found.append((-quality, Accepted(values.get("as", ""), values.get("g", ""), values.get("v", ""))))
    return tuple(accepted for _, accepted in sorted(found, key=lambda item: item[0]))


def acceptable(request: Request) -> tuple[Accepted, ...]:
    """Raises NotAcceptable when the client takes no JSON."""
    clauses = parse_accept(request.header(b"accept"))
    if not clauses:
        raise NotAcceptable("only the following media types are accepted: application/json")
    return clauses


def view_for(request: Request, resource: Resource, columns: tuple[Column, ...] | None = None) -> View:
    """The first form that the client accepts and the server has."""
    for accepted in acceptable(request):
        if not accepted.kind:
            return plain_view(resource)
        if accepted.group != META or accepted.version not in ("v1", "v1beta1"):
            continue
        if accepted.kind == "Table":
            include = request.param("includeObject") or "Metadata"
            if include not in INCLUDES:
                raise invalid("TableOptions", "", META, [not_supported("includeObject", include, INCLUDES)])
            shown = tuple(resource.columns if columns is None else columns) or NAME_AND_AGE
            return TableView(shown, accepted.version, include, conversion_of(resource))
        if accepted.kind in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return MetadataView(accepted.version)
    raise NotAcceptable("only the following media types are accepted: application/json")


def plain_view(resource: Resource) -> View:
    conversion = conversion_of(resource)
    return PlainView(resource) if conversion is None else ConvertedView(resource, conversion)


def encoder_of(view: View) -> Encoder:
    return Encoder(view.name, view.entry)


def _created(obj: Object) -> Any:
    return obj["metadata"].get("creationTimestamp")


NAME_AND_AGE = (
    Column("Name", "string", lambda obj: obj["metadata"]["name"], format="name"),
    Column("Created At", "date", _created),
)
"""For resources that say no columns, as upstream's default table convertor."""
