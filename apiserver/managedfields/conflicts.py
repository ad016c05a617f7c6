"""Fields that an apply would take from other managers, and the 409 that says so.

Upstream: managedfields/internal/conflict.go.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from apiserver.managedfields.entries import UPDATE, Entry
from apiserver.managedfields.sets import Fields, display, has, of_path, paths, union
from common.api.status import Conflict

Path = tuple[str, ...]


@dataclass(frozen=True)
class FieldConflict:
    entry: Entry
    path: Path

    @property
    def manager(self) -> str:
        """As messages name it. Without its time: that says when the manager last wrote anything, not this field."""
        name = f'"{self.entry.get("manager") or ""}"'
        if subresource := self.entry.get("subresource"):
            name += f' with subresource "{subresource}"'
        return f"{name} using {self.entry['apiVersion']}" if self.entry["operation"] == UPDATE else name


class Conflicts(Exception):
    """What stands against an apply that is not forced."""

    def __init__(self, found: list[FieldConflict]) -> None:
        super().__init__(f"{len(found)} conflicts")
        self.found = found

    @staticmethod
    def of(sets: list[tuple[Entry, Fields]]) -> Conflicts:
        ordered = sorted(sets, key=lambda pair: _order(pair[0]))
        return Conflicts([FieldConflict(entry, path) for entry, fields in ordered for path in paths(fields)])

    def fields(self) -> Fields:
        fields: Fields = {}
        for conflict in self.found:
            fields = union(fields, of_path(conflict.path))
        return fields

    def without(self, allowed: Fields) -> Conflicts:
        return Conflicts([conflict for conflict in self.found if not has(allowed, conflict.path)])

    def to_error(self) -> Conflict:
        causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {conflict.manager}",
                "field": display(conflict.path),
            }
            for conflict in self.found
        ]
        return Conflict(self._message(), {"causes": causes})

    def _message(self) -> str:
        if len(self.found) == 1:
            only = self.found[0]
            return f"Apply failed with 1 conflict: conflict with {only.manager}: {display(only.path)}"
        lines: list[str] = []
        manager = None
        for conflict in self.found:
            if conflict.entry is not manager:
                manager = conflict.entry
                lines.append(f"conflicts with {conflict.manager}:")
            lines.append(f"- {display(conflict.path)}")
        text = "\n".join(lines)
        return f"Apply failed with {len(self.found)} conflicts: {text}"


def _order(entry: Entry) -> bytes:
    """Upstream sorts by the JSON of an entry's identity."""
    named = {k: entry[k] for k in ("manager", "operation", "apiVersion", "subresource") if entry.get(k)}
    if entry["operation"] != UPDATE:
        named.pop("apiVersion", None)
    return orjson.dumps(named)
