"""What a PATCH makes of an object, by the type of the patch."""

from __future__ import annotations

from typing import Any

import jsonpatch
import orjson

from apiserver.patch.strategic import PatchError, strategic_merge
from apiserver.schema.compile import type_of_resource
from apiserver.schema.gojson import syntax_error
from apiserver.schema.model import Struct
from apiserver.types import Object, Resource
from common.api.merge_patch import merge_patch
from common.api.status import BadRequest, Invalid, RequestEntityTooLarge, UnsupportedMediaType

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024
"""Bytes that all copy operations of a patch may add: each could double the object."""
_REJECTED = "the server rejected our request due to an error in our request"

__all__ = ["JSON_PATCH", "MERGE_PATCH", "STRATEGIC_MERGE_PATCH", "apply_patch"]


def apply_patch(content_type: str, current: Object | bytes, body: bytes, resource: Resource) -> Object:
    """The patched object, not yet checked against the schema (``schema.conform`` does).

    ``current`` stays as it is; as bytes, the way it is stored, it costs the least.
    https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply
    """
    media_type = content_type.partition(";")[0].strip().lower()
    kind = type_of_resource(resource)
    if media_type == JSON_PATCH:
        return _json_patch(_copy(current), _decode(body))
    if media_type == MERGE_PATCH:
        return merge_patch(_copy(current), _map(body))  # type: ignore[no-any-return]
    if media_type == STRATEGIC_MERGE_PATCH and isinstance(kind, Struct):
        try:
            return strategic_merge(_copy(current), _map(body), kind)
        except PatchError as error:
            raise BadRequest(str(error)) from None
        except (TypeError, AttributeError):  # a map where the schema has a string, and the like
            raise BadRequest("invalid JSON document") from None
    accepted = [JSON_PATCH, MERGE_PATCH] + [STRATEGIC_MERGE_PATCH] * isinstance(kind, Struct)
    raise UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    )


def _copy(obj: Object | bytes) -> Object:
    return orjson.loads(obj if isinstance(obj, bytes) else orjson.dumps(obj))  # type: ignore[no-any-return]


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest(f"error decoding patch: {syntax_error(body)}") from None


def _map(body: bytes) -> Object:
    patch = _decode(body)
    if not isinstance(patch, dict):
        found = "array" if isinstance(patch, list) else "string" if isinstance(patch, str) else "number"
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        )
    return patch


def _json_patch(obj: Object, operations: Any) -> Object:
    """RFC 6902. An operation that cannot be done (a failed test too) is a 422 without details, as upstream's."""
    if not isinstance(operations, list):
        raise BadRequest("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        )
    copied, patched = 0, obj
    try:
        for operation in operations:
            if operation["op"] == "copy":
                copied += len(orjson.dumps(jsonpatch.JsonPointer(operation["from"]).resolve(patched)))
                if copied > MAX_COPIED:
                    raise Invalid(_REJECTED, {})
            patched = jsonpatch.JsonPatch([operation]).apply(patched, in_place=True)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError, AttributeError):
        raise Invalid(_REJECTED, {}) from None
    if not isinstance(patched, dict):
        raise Invalid(_REJECTED, {})
    return patched
