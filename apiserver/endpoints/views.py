"""How objects are written for one client: as they are, as a Table, or their metadata alone.

The client's Accept header says which (https://kubernetes.io/docs/reference/using-api/api-concepts/
#receiving-resources-as-tables). The plain view never parses: it sends the cache's bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from apiserver.endpoints.conversion import Conversion, conversion_of
from apiserver.endpoints.negotiation import (
    MEDIA_TYPES,
    STREAMED,
    STREAMED_TYPES,
    Accepted,
    not_acceptable,
    parse_accept,
)
from apiserver.endpoints.request import Request
from apiserver.storage.cache import Entry
from apiserver.storage.watchers import Encoder
from apiserver.types import Column, Object, Resource
from common.api.status import BadRequest, NotAcceptable, invalid_value

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


def list_head(kind: str, api_version: str, meta: ListMeta) -> bytes:
    """A list's body up to its items."""
    return b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
        kind.encode(),
        api_version.encode(),
        orjson.dumps(meta.to_dict()),
    )


def list_bytes(kind: str, api_version: str, items: Iterable[bytes], meta: ListMeta) -> bytes:
    """A list's body, copied once: large lists are mostly memory traffic."""
    head = list_head(kind, api_version, meta)
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


def partial(obj: Object, version: str) -> Object:
    """PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": f"{META}/{version}", "metadata": obj["metadata"]}


@dataclass(frozen=True)
class MetadataView:
    """PartialObjectMetadata: what controllers that look at every kind ask for."""

    version: str
    listed: bool
    """The list form was asked for, which single objects do not have."""
    package: str = "core"
    kind: str = ""

    @property
    def name(self) -> str:
        return f"metadata:{self.version}"

    def entry(self, entry: Entry) -> bytes:
        return self.object(entry.parse())

    def object(self, obj: Object) -> bytes:
        if self.listed:
            raise self.mismatch(self.kind)
        return orjson.dumps(partial(obj, self.version))

    def collection(self, entries: Iterable[Entry], meta: ListMeta) -> bytes:
        if not self.listed:
            raise self.mismatch(f"{self.kind}List")
        items = [orjson.dumps(partial(e.parse(), self.version)) for e in entries]
        return list_bytes("PartialObjectMetadataList", f"{META}/{self.version}", items, meta)

    def mismatch(self, kind: str) -> NotAcceptable:
        """Upstream names its own types in this text."""
        asked, what = ("List", "not a list") if self.listed else ("", "a list")
        return NotAcceptable(
            f"you requested PartialObjectMetadata{asked}, but the requested object is {what} (*{self.package}.{kind})"
        )


@dataclass(frozen=True)
class TableView:
    """Rows of cells, which kubectl prints as they are."""

    columns: tuple[Column, ...]
    version: str
    include: str
    conversion: Conversion | None = None
    conditions: Callable[[Object], list[Object]] | None = None

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

    def rows(self, entry: Entry) -> bytes:
        """Without the columns: of a watch's events."""
        return orjson.dumps(self._table([entry.parse()], ListMeta(entry.revision), columns=False))

    def definitions(self) -> list[Object]:
        return [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            }
            for column in self.columns
        ]

    def _table(self, objects: list[Object], meta: ListMeta, *, served: bool = False, columns: bool = True) -> Object:
        return {
            "kind": "Table",
            "apiVersion": f"{META}/{self.version}",
            "metadata": meta.to_dict(),
            "columnDefinitions": self.definitions() if columns else [],
            "rows": [self._row(obj, served=served) for obj in objects],
        }

    def _row(self, obj: Object, *, served: bool) -> Object:
        row: Object = {"cells": [column.cell(obj) for column in self.columns]}
        if self.conditions is not None and (conditions := self.conditions(obj)):
            row["conditions"] = conditions
        if self.include == "Metadata":
            row["object"] = partial(obj, self.version)
        elif self.include == "Object":
            row["object"] = self.conversion.to_served(obj) if self.conversion is not None and not served else obj
        return row


def view_for(
    request: Request, resource: Resource, columns: tuple[Column, ...] | None = None, *, stream: bool = False
) -> View:
    """The first form that the client accepts and the server has. ``stream`` is for a watch's events."""
    for form in parse_accept(request.header(b"accept")):
        if form.stream not in ("", "watch"):
            continue
        view = _view_of(form, request, resource, columns)
        if view is None:
            continue
        if stream and form.media not in STREAMED:
            raise not_acceptable(STREAMED_TYPES)
        if stream and isinstance(view, MetadataView) and view.listed:
            raise view.mismatch(resource.kind)
        request.form = form
        return view
    raise not_acceptable(STREAMED_TYPES if stream else MEDIA_TYPES)


def _view_of(form: Accepted, request: Request, resource: Resource, columns: tuple[Column, ...] | None) -> View | None:
    """None for a form that the server does not have."""
    if not form.kind:
        return plain_view(resource)
    if form.group != META or form.version not in ("v1", "v1beta1"):
        return None
    if form.kind == "Table":
        include = request.param("includeObject") or "Metadata"
        if include not in INCLUDES:
            error = invalid_value("includeObject", include, "must be 'Metadata', 'Object', 'None', or empty")
            raise BadRequest(f"Unable to convert to Table as requested: {error.message()}")
        shown = tuple(resource.columns if columns is None else columns) or NAME_AND_AGE
        return TableView(shown, form.version, include, conversion_of(resource), resource.row_conditions)
    if form.kind in ("PartialObjectMetadata", "PartialObjectMetadataList"):
        package = resource.group.partition(".")[0] or "core"
        return MetadataView(form.version, form.kind.endswith("List"), package, resource.kind)
    return None


def plain_view(resource: Resource) -> View:
    conversion = conversion_of(resource)
    return PlainView(resource) if conversion is None else ConvertedView(resource, conversion)


def encoder_of(view: View) -> Encoder:
    return Encoder(view.name, view.rows if isinstance(view, TableView) else view.entry)


def _created(obj: Object) -> Any:
    return obj["metadata"].get("creationTimestamp")


NAME_AND_AGE = (
    Column("Name", "string", lambda obj: obj["metadata"]["name"], format="name"),
    Column("Created At", "date", _created),
)
"""For resources that say no columns, as upstream's default table convertor."""
