"""What the plugins share: telling whether a request is theirs, and refusing it in upstream's words."""

from __future__ import annotations

from apiserver.types import AdmissionRequest, Object, Operation
from common.api.status import Forbidden, forbidden


def concerns(
    request: AdmissionRequest, group: str, plural: str, operations: tuple[Operation, ...], subresource: str = ""
) -> bool:
    return (
        request.operation in operations
        and request.subresource == subresource
        and request.resource.plural == plural
        and request.resource.group == group
    )


def refuse(request: AdmissionRequest, message: str) -> Forbidden:
    """The 403 of a plugin: ``pods "x" is forbidden: …``."""
    metadata = (request.object or {}).get("metadata") or {}
    name = metadata.get("name") or request.name or metadata.get("generateName") or "Unknown"
    return forbidden(request.resource.plural, name, request.resource.group, message)


def new_object(request: AdmissionRequest) -> Object:
    """The object of a create or update. Raises ValueError for a request without one (a delete)."""
    if request.object is None:
        raise ValueError(f"{request.operation} of {request.resource.qualified} carries no object")
    return request.object


class Mutates:
    """For a plugin that refuses nothing after validation."""

    async def validate(self, request: AdmissionRequest) -> None:
        return None


class Refuses:
    """For a plugin that changes nothing."""

    async def admit(self, request: AdmissionRequest) -> None:
        return None
