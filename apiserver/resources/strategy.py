"""How one kind differs from the others, put together from small pure functions.

Upstream has a strategy type per kind (pkg/registry/<group>/<kind>/strategy.go), almost all of it equal. Here the equal
part is this class and a kind brings only the functions that it needs: defaults, checks and preparation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from apiserver.types import Object
from common.api.status import FieldError

IDENTITY = frozenset({"apiVersion", "kind", "metadata", "status"})


def _nothing(_obj: Object) -> None:
    return None


def _no_errors(_obj: Object) -> list[FieldError]:
    return []


def _no_update_errors(_obj: Object, _old: Object, _subresource: str) -> list[FieldError]:
    return []


def _no_preparation(_obj: Object, _old: Object, _subresource: str) -> None:
    return None


def _no_warnings(_obj: Object) -> list[str]:
    return []


@dataclass(frozen=True)
class KindStrategy:
    """The strategy of a kind. ``status`` says that status belongs to the /status subresource alone."""

    status: bool = False
    zero_status: Mapping[str, Any] = field(default_factory=dict)
    """What a status says even when it says nothing: the fields that Go writes without omitempty."""
    defaults: Callable[[Object], None] = _nothing
    on_create: Callable[[Object], None] = _nothing
    on_update: Callable[[Object, Object, str], None] = _no_preparation
    checks: Callable[[Object], list[FieldError]] = _no_errors
    update_checks: Callable[[Object, Object, str], list[FieldError]] = _no_update_errors
    """Checks of an update beside those of the new object."""
    status_checks: Callable[[Object], list[FieldError]] = _no_errors
    update: Callable[[Object, Object], list[FieldError]] | None = None
    """All checks of an update, for kinds where those of the new object alone are not the first part of them."""
    status_update: Callable[[Object, Object], list[FieldError]] | None = None
    """All checks of a write to /status."""
    parts: Mapping[str, Callable[[Object, Object], list[FieldError]]] = field(default_factory=dict)
    """All checks of a write to another subresource; what it leaves as it was, ``on_update`` says."""
    warn: Callable[[Object], list[str]] = _no_warnings
    warn_update: Callable[[Object], list[str]] | None = None
    """What the author of an update is told, where that is less."""

    def default(self, obj: Object) -> None:
        self.defaults(obj)
        if self.status:
            status = obj.get("status")
            if status is None:
                obj["status"] = dict(self.zero_status)
            else:
                for name, value in self.zero_status.items():
                    status.setdefault(name, value)

    def prepare_for_create(self, obj: Object) -> None:
        if self.status:
            obj["status"] = dict(self.zero_status)
        self.on_create(obj)

    def prepare_for_update(self, obj: Object, old: Object, subresource: str) -> None:
        if subresource == "status":
            _keep_all_but_status(obj, old)
        elif self.status and subresource not in self.parts:
            _keep(obj, old, "status")
        self.on_update(obj, old, subresource)

    def validate(self, obj: Object) -> list[FieldError]:
        return self.checks(obj)

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[FieldError]:
        if subresource == "status":
            if self.status_update is not None:
                return self.status_update(obj, old)
            errors = self.status_checks(obj)
        elif subresource in self.parts:
            return self.parts[subresource](obj, old)
        elif self.update is not None:
            return self.update(obj, old)
        else:
            errors = self.checks(obj)
        return errors + self.update_checks(obj, old, subresource)

    def warnings(self, obj: Object) -> list[str]:
        return self.warn(obj)

    def update_warnings(self, obj: Object, old: Object, subresource: str) -> list[str]:
        """Those of a new object, if what is wanted changes: of kinds that count that, the generation says so."""
        generation = obj["metadata"].get("generation")
        if subresource or (generation is not None and generation == old["metadata"].get("generation")):
            return []
        return (self.warn_update or self.warn)(obj)


def _keep(obj: Object, old: Object, field: str) -> None:
    if field in old:
        obj[field] = old[field]
    else:
        obj.pop(field, None)


def _keep_all_but_status(obj: Object, old: Object) -> None:
    """A write to /status changes nothing else (of the metadata, the generic verbs keep what is theirs)."""
    for name in (obj.keys() | old.keys()) - IDENTITY:
        _keep(obj, old, name)


_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


def keep_metadata(obj: Object, old: Object, subresource: str) -> None:
    """For kinds whose /status leaves the metadata alone too (upstream: metav1.ResetObjectMetaForStatus)."""
    if subresource == "status":
        for name in _METADATA:
            _keep(obj["metadata"], old["metadata"], name)
