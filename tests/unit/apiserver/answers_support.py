"""What a create or an update of one object answers, without a server around it: the tables in ``answers/`` are read
with this."""

from __future__ import annotations

import copy
import json
from typing import Any

from apiserver.endpoints import metadata
from apiserver.endpoints.api import to_served, to_stored
from apiserver.resources.table import RESOURCES
from apiserver.schema import decode
from apiserver.types import Resource

DELETED = "~"
TIME = "2026-01-01T00:00:00Z"


def resource_of(obj: dict[str, Any]) -> Resource:
    return next(r for r in RESOURCES if (r.api_version, r.kind) == (obj["apiVersion"], obj["kind"]))


def changed(base: dict[str, Any], changes: dict[str, Any]) -> Any:
    """The object with values set at paths such as ``spec/rules/0/verbs``; ``~`` takes a field away."""
    obj = copy.deepcopy(base)
    for path, value in changes.items():
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("/"))
        at: Any = obj
        for part in parents:
            at = at[part] if isinstance(at, list) else at.setdefault(part, {})
        if value == DELETED:
            at.pop(last, None)
        else:
            at[last] = copy.deepcopy(value)
    return obj


def decoded(obj: dict[str, Any], resource: Resource) -> dict[str, Any]:
    return to_stored(resource, decode(json.dumps(obj).encode(), "application/json", resource, "Ignore").object)


def created(obj: dict[str, Any], resource: Resource) -> Any:
    """The object before it is validated."""
    result = decoded(obj, resource)
    if resource.namespaced:
        result["metadata"]["namespace"] = "default"
    metadata.fill_for_create(result, resource)
    result["metadata"] |= {"uid": "u", "creationTimestamp": TIME}
    resource.strategy.default(result)
    resource.strategy.prepare_for_create(result)
    return result


def difference(before: Any, after: Any, path: str = "") -> dict[str, Any]:
    """Path -> what is there now, or ``~`` for what is not there any more."""
    if isinstance(before, dict) and isinstance(after, dict):
        found: dict[str, Any] = {}
        for key in sorted(before.keys() | after.keys()):
            at = f"{path}/{key}" if path else key
            if key not in after:
                found[at] = DELETED
            elif key not in before:
                found[at] = after[key]
            else:
                found |= difference(before[key], after[key], at)
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return {
            k: v
            for i, (a, b) in enumerate(zip(before, after, strict=True))
            for k, v in difference(a, b, f"{path}/{i}").items()
        }
    return {} if before == after else {path: after}


def answer(base: dict[str, Any], changes: dict[str, Any], operation: str) -> dict[str, Any]:
    """The causes of a refusal; or what the server makes of the object: of the base, the fields that it fills in; of a
    changed one, what differs from that; of an update, what it changes."""
    resource = resource_of(base)
    if operation == "create":
        before = created(base, resource) if changes else base
        obj = created(changed(base, changes), resource)
        errors = metadata.validate(obj, resource) + resource.strategy.validate(obj)
    else:
        subresource = operation.partition("/")[2]
        before = created(base, resource)
        obj = decoded(changed(to_served(resource, copy.deepcopy(before)), changes), resource)
        metadata.carry_over(obj, before, resource, subresource)
        resource.strategy.prepare_for_update(obj, before, subresource)
        resource.strategy.default(obj)
        metadata.raise_generation(obj, before, resource)
        errors = metadata.validate_update(obj, before) + resource.strategy.validate_update(obj, before, subresource)
    if errors:
        return {"causes": [[e.type, e.field, e.body] for e in errors]}
    status = obj.get("status") or {}
    if status.get("lastPhaseTransitionTime", TIME) > TIME:
        status["lastPhaseTransitionTime"] = TIME
    for condition in status.get("conditions") or ():
        if condition.get("lastTransitionTime", TIME) > TIME:
            condition["lastTransitionTime"] = TIME  # the server's clock said it
    known = ("metadata/creationTimestamp", "metadata/namespace", "metadata/uid")
    return {"makes": {k: v for k, v in difference(before, obj).items() if k not in known}}
