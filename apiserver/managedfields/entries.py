"""metadata.managedFields: the list that says which manager owns which fields.

An entry is of one manager, operation, subresource and, for updates, API version; that is its identity. Entries are
kept as the dicts that they are stored as, and whoever changes one makes a new one.
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/ and upstream's
managedfields/internal/managedfields.go, capmanagers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from apiserver.managedfields.sets import Fields, FieldsError, parse_root, union
from common.api.status import FieldError, invalid_value
from common.remember import remembered

Entry = dict[str, Any]
Identity = tuple[str, str, str, str]

APPLY, UPDATE = "Apply", "Update"
FIELDS_TYPE = "FieldsV1"
MAX_MANAGER = 128
MAX_SUBRESOURCE = 256
MAX_UPDATERS = 10
"""More updaters than this are folded together, the oldest first."""
ANCIENT = "ancient-changes"
UNKNOWN = "unknown"


def entry_of(
    manager: str, operation: str, api_version: str, fields: Fields, time: str | None, subresource: str = ""
) -> Entry:
    entry: Entry = {"manager": manager or UNKNOWN, "operation": operation, "apiVersion": api_version}
    if time is not None:
        entry["time"] = time
    entry["fieldsType"] = FIELDS_TYPE
    entry["fieldsV1"] = fields
    if subresource:
        entry["subresource"] = subresource
    return entry


def identity(entry: Entry) -> Identity:
    """An applier is the same whatever version it applies in."""
    operation = entry["operation"]
    version = "" if operation == APPLY else entry["apiVersion"]
    return entry.get("manager") or "", operation, version, entry.get("subresource") or ""


def fields_of(entry: Entry) -> Fields:
    return entry.get("fieldsV1") or {}


def with_fields(entry: Entry, fields: Fields, time: str | None = None) -> Entry:
    changed = {**entry, "fieldsV1": fields}
    if time is not None:
        changed["time"] = time
        if "time" not in entry:  # keeps the order in which upstream writes them
            return entry_of(
                entry.get("manager", ""), entry["operation"], entry["apiVersion"], fields, time, identity(entry)[3]
            )
    return changed


def put_in_order(entries: list[Entry]) -> list[Entry]:
    """Appliers first, then by age and name."""
    entries.sort(key=_order)
    return entries


def _order(entry: Entry) -> tuple[str, str, str, str, str]:
    return (
        entry["operation"],
        entry.get("time") or "",
        entry.get("manager") or "",
        entry["apiVersion"],
        entry.get("subresource") or "",
    )


def cap_updaters(entries: list[Entry]) -> list[Entry]:
    """Folds the oldest updaters of each version into one, until there are no more than MAX_UPDATERS."""
    updaters = [e for e in entries if e["operation"] != APPLY]
    count = len(updaters)
    if count <= MAX_UPDATERS:
        return entries
    updaters.sort(key=lambda e: (e.get("time") or "", orjson.dumps(identity(e))))
    first: dict[str, Entry] = {}
    kept = {identity(e): e for e in entries}
    for entry in updaters:
        if count <= MAX_UPDATERS:
            break
        version = entry["apiVersion"]
        bucket: Identity = (ANCIENT, UPDATE, version, "")
        if version not in first:
            first[version] = entry
            continue
        into = kept.pop(bucket) if bucket in kept and identity(entry) != bucket else kept.pop(identity(first[version]))
        kept.pop(identity(entry), None)
        fields = union(fields_of(entry), fields_of(into))
        kept[bucket] = entry_of(ANCIENT, UPDATE, version, fields, entry.get("time"))
        count -= 1
    return list(kept.values())


def is_reset(given: Any) -> bool:
    """Whether a client asks for the whole list to go: ``[]`` or ``[{}]``."""
    return given is not None and (given == [] or given == [{}])


def decode(given: Sequence[Entry]) -> list[Entry]:
    """Entries from a client, with canonical sets. Raises FieldsError for what upstream does not understand."""
    found: dict[Identity, Entry] = {}
    for index, entry in enumerate(given):
        if entry.get("operation") not in (APPLY, UPDATE):
            raise FieldsError("operation must be `Apply` or `Update`")
        if not entry.get("apiVersion"):
            raise FieldsError("apiVersion must not be empty")
        if not entry.get("fieldsType"):
            raise FieldsError(f"missing fieldsType in managed fields entry {index}")
        if entry["fieldsType"] != FIELDS_TYPE:
            raise FieldsError(f'invalid fieldsType "{entry["fieldsType"]}" in managed fields entry {index}')
        fields = parse_root(entry.get("fieldsV1") or {})
        found[identity(entry)] = {**entry, "fieldsV1": fields}
    return [entry for entry in found.values() if entry["fieldsV1"]]


def base(given: Any, live: list[Entry], subresource: str) -> list[Entry]:
    """The entries that a write starts from: the client's if it sent sensible ones, else those that are there.

    So a client that knows nothing of managedFields does not delete them. A subresource's client has no say.
    """
    if subresource or given is None or given == live:
        return live
    if is_reset(given):
        return []
    try:
        return decode(given) or live
    except FieldsError:
        return live


def check_entries(entries: Iterable[Entry], path: str = "metadata.managedFields") -> list[FieldError]:
    """What is wrong with entries that a client has set (upstream: ValidateManagedFields)."""
    errors: list[FieldError] = []
    for index, entry in enumerate(entries):
        at = f"{path}[{index}]"
        errors += check_manager(entry.get("manager") or "", f"{at}.manager")
        if len((entry.get("subresource") or "").encode()) > MAX_SUBRESOURCE:
            text = f"may not be more than {MAX_SUBRESOURCE} bytes"
            errors.append(FieldError("FieldValueTooLong", f"{at}.subresource", text))
    return errors


def check_manager(manager: str, path: str = "fieldManager") -> list[FieldError]:
    errors: list[FieldError] = []
    if len(manager.encode()) > MAX_MANAGER:
        errors.append(FieldError("FieldValueTooLong", path, f"may not be more than {MAX_MANAGER} bytes"))
    if not manager.isprintable():
        position = 0
        for letter in manager:
            if not letter.isprintable():
                text = f"invalid character U+{ord(letter):04X} (at position {position})"
                errors.append(invalid_value(path, manager, text))
            position += len(letter.encode())
    return errors


@remembered(256)
def manager_of_agent(agent: str) -> str:
    """The manager of a client that names none: what its User-Agent begins with."""
    name = ""
    for letter in agent.split("/", 1)[0]:
        if letter.isprintable():
            if len((name + letter).encode()) > MAX_MANAGER:
                break
            name += letter
    return name
