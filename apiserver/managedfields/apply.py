"""Server-side apply: an object, a partial one that somebody wants, and whose the fields are -> the merged object.

What is applied is merged in. What the manager applied before and does not any more goes, unless somebody else owns it
too. What another manager owns and this one would change is a conflict, unless forced; then it changes hands.
https://kubernetes.io/docs/reference/using-api/server-side-apply/ and KEP-555; upstream: managedfields/internal and
structured-merge-diff/merge/update.go, whose steps and their order these are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from apiserver.managedfields import versions
from apiserver.managedfields.compile import SERVERS_OWN, TYPE_META
from apiserver.managedfields.conflicts import Conflicts
from apiserver.managedfields.entries import (
    APPLY,
    UPDATE,
    Entry,
    decode,
    entry_of,
    fields_of,
    identity,
    put_in_order,
)
from apiserver.managedfields.last_applied import MANAGER, annotation_of, owned_by_client, update_annotation
from apiserver.managedfields.sets import (
    LEAF,
    Fields,
    FieldsError,
    difference,
    intersection,
    recursive_difference,
    union,
)
from apiserver.managedfields.tracking import Changes, Write
from apiserver.managedfields.typed import field_set, merge, remove, with_parents, without_nulls
from apiserver.managedfields.validate import check
from apiserver.types import Object
from common.api.status import BadRequest, StatusError

BEFORE = "before-first-apply"
"""Who owns what was there before anybody's fields were tracked."""
_STRIPPED: Fields = {
    **{f"f:{name}": LEAF for name in TYPE_META},
    "f:metadata": {".": LEAF, **{f"f:{name}": LEAF for name in SERVERS_OWN}},
}


@dataclass(frozen=True, slots=True)
class Apply:
    """A request to apply ``config``, in the served version of ``write``'s resource."""

    write: Write
    config: Object
    force: bool = False


def apply(request: Apply, live: Object | None) -> Object:
    """The object with its managedFields, in the stored form; without defaults and not yet checked as a whole.

    Raises Conflict, BadRequest, and a StatusError of code 500 for what is not of the kind's type, as upstream does.
    """
    resource = request.write.resource
    try:
        return _apply(request, live)
    except Conflicts as conflicts:
        raise conflicts.to_error() from None
    except FieldsError as error:
        raise StatusError(f"failed to apply {resource.kind}: {error}", code=500, reason="") from None


def _apply(request: Apply, live: Object | None) -> Object:
    write, config = request.write, request.config
    version = versions.version_of(write.resource)
    _check(version, config)
    if live is None:
        metadata: Object = {}
        current: Object = {"kind": write.resource.kind, "apiVersion": version.name, "metadata": metadata}
        entries: list[Entry] = []
    else:
        current = version.served(live)
        try:
            entries = decode(live["metadata"].get("managedFields") or [])
        except FieldsError as error:
            raise StatusError(f"failed to decode managed fields: {error}", code=500, reason="") from None
        entries = _reconciled(write, live, entries)
        current = {**current, "metadata": {k: v for k, v in current["metadata"].items() if k != "managedFields"}}
        if not entries:
            fields = version.tracked(write.subresource).created(current)
            if fields:
                entries = [entry_of(BEFORE, UPDATE, version.name, fields, write.time, write.subresource)]
    try:
        merged, entries = _merged(request, version, current, entries)
    except Conflicts as conflicts:
        if write.manager != MANAGER or not annotation_of(current):
            raise
        left = conflicts.without(owned_by_client(version.kind.whole, current))
        if left.found:
            raise left from None
        merged, entries = _merged(replace(request, force=True), version, current, entries)
    if write.manager == MANAGER:
        update_annotation(merged, config)
    obj = without_nulls(merged)
    stored: Object = version.stored(obj)
    if entries:
        stored["metadata"]["managedFields"] = entries
    return stored


def _reconciled(write: Write, live: Object, entries: list[Entry]) -> list[Entry]:
    changes = Changes(write.resource, live, live)
    found = ((entry, changes.reconciled(entry)) for entry in entries)
    return [
        entry if fields is entry["fieldsV1"] else {**entry, "fieldsV1": fields} for entry, fields in found if fields
    ]


def _check(version: versions.Version, config: Object) -> None:
    resource = version.resource
    api_version, kind = config.get("apiVersion") or "", config.get("kind") or ""
    if (api_version, kind) != (version.name, resource.kind):
        raise BadRequest(f"invalid object type: {api_version}, Kind={kind}")
    metadata = config.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    problem = check(version.kind.whole, config)
    if problem:
        name, namespace = (str((metadata or {}).get(f) or "") for f in ("name", "namespace"))
        text = f"failed to create typed patch object ({namespace}/{name}; {api_version}, Kind={kind}): {problem}"
        raise StatusError(text, code=500, reason="")


def _merged(
    request: Apply, version: versions.Version, current: Object, entries: list[Entry]
) -> tuple[Object, list[Entry]]:
    """The merged object and the entries, in the request's version. Raises Conflicts."""
    write, config, kind = request.write, request.config, version.kind.whole
    config = {**config, "metadata": config.get("metadata") or {}}
    applied = recursive_difference(field_set(kind, config), _ignored(version, write.subresource))
    last: Entry | None = None
    others: list[Entry] = []
    mine = (write.manager, APPLY, "", write.subresource)
    for entry in entries:
        if identity(entry) == mine:
            last = entry
        else:
            others.append(entry)
    own = entry_of(write.manager, APPLY, version.name, applied, None, write.subresource)
    merged = merge(kind, current, config)
    if last is not None and fields_of(last):
        merged = _prune(version, merged, [*others, own], last)
    kept = _take_over(request, current, merged, others)
    fields = difference(applied, _STRIPPED)
    if fields:
        changed = merged != current
        time = write.time if changed else (last or {}).get("time")
        kept.append(entry_of(write.manager, APPLY, version.name, fields, time, write.subresource))
    return merged, put_in_order(kept)


def _ignored(version: versions.Version, subresource: str) -> Fields:
    return {f"f:{name}": LEAF for name in version.tracked(subresource).skipped - set(TYPE_META)}


def _take_over(request: Apply, current: Object, merged: Object, others: list[Entry]) -> list[Entry]:
    """The entries of others without what this apply changes or removes. Raises Conflicts when it may not."""
    write = request.write
    changes = Changes(write.resource, current, merged, write.subresource, served=True)
    conflicts: list[tuple[Entry, Fields]] = []
    kept: list[Entry] = []
    for entry in others:
        changed, removed = changes.of(entry["apiVersion"]) or (None, None)
        fields = fields_of(entry)
        if changed:
            taken = intersection(fields, changed)
            if taken:
                conflicts.append((entry, taken))
                fields = difference(fields, taken)
        if removed:
            fields = difference(fields, removed)
        if fields:
            kept.append(entry if fields is entry.get("fieldsV1") else {**entry, "fieldsV1": fields})
    if conflicts and not request.force:
        raise Conflicts.of(conflicts)
    return kept


def _prune(version: versions.Version, merged: Object, managers: list[Entry], last: Entry) -> Object:
    """Takes out what ``last`` applied and nobody owns now. ``managers`` are all, with the new entry of the applier."""
    by_version: dict[str, Fields] = {}
    for entry in managers:
        api_version = entry["apiVersion"]
        by_version[api_version] = union(by_version.get(api_version, LEAF), fields_of(entry))
    then = versions.find(version.resource, last["apiVersion"])
    if then is None:
        return merged
    kind, whole = then.kind.whole, _convert(merged, version, then)
    lost = with_parents(kind, fields_of(last))
    pruned = remove(kind, whole, lost)
    at = then
    order = sorted(by_version, key=lambda name: name != then.name)
    present = whole
    for name in order:
        other = versions.find(version.resource, name)
        if other is None:
            continue
        of = other.kind.whole
        present, pruned = _convert(present, at, other), _convert(pruned, at, other)
        at = other
        owned = with_parents(of, by_version[name])
        left = with_parents(of, field_set(of, pruned))
        all_of_it = with_parents(of, field_set(of, present))
        pruned = remove(of, present, difference(all_of_it, union(left, owned)))
    left = with_parents(kind, field_set(kind, _convert(pruned, at, then)))
    all_of_it = with_parents(kind, field_set(kind, whole))
    gone = intersection(difference(all_of_it, left), lost)
    kept: Object = remove(kind, whole, gone) if gone else whole
    return _convert(kept, then, version)


def _convert(obj: Object, source: versions.Version, target: versions.Version) -> Object:
    if source.name == target.name:
        return obj
    return target.served(source.stored(without_nulls(obj)))
