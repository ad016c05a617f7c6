"""Who owns what after a create, an update or a patch: the writer owns what it changed, and nobody what is gone.

This is on the path of every write. A create by one manager makes no sets to compute with, it only walks; an update
compares old and new once and leaves the entries that it does not concern as they are.
Upstream: managedfieldsupdater.go and merge/update.go's Update.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from apiserver.managedfields import versions
from apiserver.managedfields.entries import (
    UNKNOWN,
    UPDATE,
    Entry,
    base,
    cap_updaters,
    check_entries,
    entry_of,
    fields_of,
    put_in_order,
    with_fields,
)
from apiserver.managedfields.reconcile import reconcile
from apiserver.managedfields.sets import LEAF, Fields, FieldsError, difference, union
from apiserver.managedfields.types import Change
from apiserver.types import Object, Resource
from common.api.status import FieldError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Write:
    """A write that is tracked, by a request for ``resource``. ``time`` is RFC 3339."""

    resource: Resource
    manager: str
    time: str
    subresource: str = ""


def track_create(write: Write, obj: Object) -> list[FieldError]:
    """Sets managedFields of an object to be created. What is wrong with those that the client sent."""
    metadata = obj["metadata"]
    given = metadata.pop("managedFields", None)
    live: Object = {"metadata": {}}
    entries = base(given, [], "") if given else []
    if entries:
        if errors := check_entries(entries):
            return errors
        _set(obj, _updated(write, live, obj, entries))
        return []
    version = versions.version_of(write.resource)
    try:
        fields = version.tracked(write.subresource).created(version.served(obj))
    except FieldsError as error:
        _failed(write, error)
        return []
    if fields:
        metadata["managedFields"] = [entry_of(write.manager, UPDATE, version.name, fields, write.time)]
    return []


def track_update(write: Write, live: Object, obj: Object) -> list[FieldError]:
    """Sets managedFields of a changed object. An object that nobody owns anything of stays so, until it is applied."""
    metadata = obj["metadata"]
    given = metadata.pop("managedFields", None)
    before = live["metadata"].get("managedFields") or []
    entries = base(given, before, write.subresource)
    if not entries:
        return []
    if entries is not before and (errors := check_entries(entries)):
        return errors
    _set(obj, _updated(write, live, obj, entries))
    return []


def _set(obj: Object, entries: list[Entry] | None) -> None:
    if entries:
        obj["metadata"]["managedFields"] = entries


def _failed(write: Write, error: FieldsError) -> None:
    """An element without its key (``secrets: [{}]`` of a ServiceAccount) has no path: the object is owned by nobody.

    The write goes on, as upstream's does.
    """
    log.debug("managedFields of a %s are lost: %s", write.resource.kind, error)


def _updated(write: Write, live: Object, obj: Object, entries: list[Entry]) -> list[Entry] | None:
    try:
        return updated(write, live, obj, entries)
    except FieldsError as error:
        _failed(write, error)
        return None


def updated(write: Write, live: Object, obj: Object, entries: list[Entry]) -> list[Entry]:
    """The entries after a write made ``obj`` of ``live``. Raises FieldsError."""
    mine = (write.manager or UNKNOWN, UPDATE, write.resource.api_version, write.subresource)
    changes = Changes(write.resource, live, obj, write.subresource)
    changed, removed = changes.of(mine[2]) or (None, None)
    if changed is None and removed is None:
        return entries
    out: list[Entry] = []
    own: Entry | None = None
    touched = False
    for entry in entries:
        change = changes.of(entry["apiVersion"])
        if change is None:  # a version that is not served any more: nobody can say what its fields are
            touched = True
            continue
        fields = changes.reconciled(entry)
        if entry["operation"] == UPDATE and _identity(entry) == mine:
            own, left = entry, _without(fields, change[1])
            if changed:
                left = union(left, changed)
        else:
            left = _without(_without(fields, change[0]), change[1])
        if left is entry.get("fieldsV1") and (entry is not own or not changed):
            out.append(entry)
            continue
        touched = True
        if left:
            out.append(with_fields(entry, left, write.time if entry is own and changed else None))
    if changed and own is None:
        touched = True
        out.append(entry_of(mine[0], UPDATE, mine[2], changed, write.time, write.subresource))
    return put_in_order(cap_updaters(out)) if touched else entries


def _identity(entry: Entry) -> tuple[str, str, str, str]:
    return entry.get("manager") or "", UPDATE, entry["apiVersion"], entry.get("subresource") or ""


def _without(fields: Fields, gone: Fields | None) -> Fields:
    return difference(fields, gone) if gone else fields


class Changes:
    """What a write changed, in each version that is asked for.

    ``served``: the objects are in the resource's version, not in the stored one.
    """

    def __init__(
        self, resource: Resource, live: Object, obj: Object, subresource: str = "", *, served: bool = False
    ) -> None:
        self._resource, self._live, self._obj, self._subresource = resource, live, obj, subresource
        self._known: dict[str, Change | None] = {}
        if served:
            own = versions.version_of(resource)
            self._known[own.name] = own.tracked(subresource).compare(live, obj)
            self._live, self._obj = own.stored(live), own.stored(obj)

    def reconciled(self, entry: Entry) -> Fields:
        """An entry's fields by the present schema; none of a version that is not served."""
        version = versions.find(self._resource, entry["apiVersion"])
        return LEAF if version is None else reconcile(version.kind.whole, fields_of(entry), version.served(self._live))

    def of(self, api_version: str) -> Change | None:
        """(changed or added, removed); None for a version that is not served."""
        if api_version not in self._known:
            version = versions.find(self._resource, api_version)
            self._known[api_version] = (
                None
                if version is None
                else version.tracked(self._subresource).compare(version.served(self._live), version.served(self._obj))
            )
        return self._known[api_version]
