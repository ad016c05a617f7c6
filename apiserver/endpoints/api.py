"""What the verbs work with: the stores, the admission chain, the decoder and the patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from apiserver.endpoints.conversion import conversion_of
from apiserver.endpoints.options import Validation
from apiserver.storage.registry import Stores
from apiserver.storage.store import Store
from apiserver.types import AdmissionRequest, Authorizer, Object, Resource
from common.aside import aside


class Admission(Protocol):
    async def admit(self, request: AdmissionRequest) -> None: ...
    async def validate(self, request: AdmissionRequest) -> None: ...


class Decoded(Protocol):
    @property
    def object(self) -> Object: ...
    @property
    def warnings(self) -> Sequence[str]: ...


Decode = Callable[[bytes, str, Resource, Validation], Any]
"""(body, content type, resource, validation) -> Decoded."""
Conform = Callable[..., Any]
"""(patched object, resource, validation, patch, what came twice in it) -> Decoded."""
ApplyPatch = Callable[[str, Object | bytes, bytes, Resource], Object]
"""(content type, current object, patch, resource) -> the patched object."""


@dataclass(frozen=True)
class Api:
    stores: Stores
    admission: Admission
    decode: Decode
    conform: Conform
    apply_patch: ApplyPatch
    authorizer: Authorizer | None = None
    """For what a verb does beyond what it was authorised for: an apply that creates."""

    def store(self, resource: Resource) -> Store:
        return self.stores.store(resource.group, resource.plural)

    async def decode_object(
        self, body: bytes, content_type: str, resource: Resource, validation: Validation, warnings: list[str]
    ) -> Object:
        """The object of a body, in the form in which it is stored."""
        decoded: Decoded = await aside(len(body), self.decode, body, content_type, resource, validation)
        warnings.extend(decoded.warnings)
        return to_stored(resource, decoded.object)


def to_stored(resource: Resource, obj: Object) -> Object:
    obj.setdefault("metadata", {})
    conversion = conversion_of(resource)
    return obj if conversion is None else conversion.to_stored(obj)


def to_served(resource: Resource, obj: Object) -> Object:
    conversion = conversion_of(resource)
    return obj if conversion is None else conversion.to_served(obj)
