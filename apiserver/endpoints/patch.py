"""PATCH, on the object as it is when the patch is written: JSON patch, merge patch, strategic merge patch and apply."""

from __future__ import annotations

import orjson

from apiserver.endpoints import metadata
from apiserver.endpoints.api import Api, to_served, to_stored
from apiserver.endpoints.apply import APPLY_PATCH, apply
from apiserver.endpoints.conversion import conversion_of
from apiserver.endpoints.options import write_options
from apiserver.endpoints.request import Answer, Request, Target
from apiserver.endpoints.update import change_object, check_identity
from apiserver.endpoints.views import view_for
from apiserver.patch import STRATEGIC_MERGE_PATCH
from apiserver.schema.decode import duplicate_fields
from apiserver.storage.cache import Entry
from apiserver.types import Object, Resource
from common.api.status import BadRequest, UnsupportedMediaType
from common.aside import aside

PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    APPLY_PATCH,
)


async def patch(api: Api, request: Request, target: Target) -> Answer:
    resource = target.resource
    content_type = patch_type(request.header(b"content-type"))
    if content_type == APPLY_PATCH:
        return await apply(api, request, target)
    options = write_options(request, "PatchOptions")
    view = view_for(request, resource)
    body = await request.body()
    options = options.of_size(len(body))
    twice = await aside(len(body), repeated, body) if options.validation != "Ignore" else []

    def produce(entry: Entry, warnings: list[str]) -> Object:
        obj = patched(api, resource, content_type, entry, body)
        decoded = api.conform(obj, resource, options.validation, body.decode(errors="replace"), twice)
        warnings.extend(decoded.warnings)
        metadata.check_namespace(decoded.object, resource, target.namespace)
        check_identity(decoded.object, target)
        return to_stored(resource, decoded.object)

    stored = await change_object(api, target, request.user, options, produce, request.warnings)
    return Answer(view.object(to_served(resource, stored)))


def patch_type(header: str) -> str:
    content_type = header.split(";", 1)[0].strip()
    if content_type not in PATCH_TYPES:
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(PATCH_TYPES)}"
        )
    return content_type


def patched(api: Api, resource: Resource, content_type: str, entry: Entry, body: bytes) -> Object:
    """What the patch makes of the object, in the served form, still to be checked."""
    current = entry.data if conversion_of(resource) is None else to_served(resource, entry.parse())
    obj = api.apply_patch(content_type, current, body, resource)
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
        raise BadRequest("a patch must leave an object with its metadata")
    if content_type == STRATEGIC_MERGE_PATCH:  # what an object is, such a patch does not say
        obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version
    return obj


def repeated(body: bytes) -> list[str]:
    """Which fields came twice in a patch. Of what is no JSON none: that is refused where it is applied."""
    try:
        return duplicate_fields(body, orjson.loads(body))
    except orjson.JSONDecodeError:
        return []
