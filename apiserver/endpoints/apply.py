"""PATCH with ``application/apply-patch+yaml``: server-side apply, which creates what is not there.

https://kubernetes.io/docs/reference/using-api/server-side-apply/. Whose the fields are is decided in ``managedfields``;
here is the request.
"""

from __future__ import annotations

from dataclasses import replace

import orjson

from apiserver.endpoints.api import Api, to_served, to_stored
from apiserver.endpoints.create import create_object, may_create, settled
from apiserver.endpoints.options import WriteOptions, write_options
from apiserver.endpoints.request import Answer, Request, Target
from apiserver.endpoints.update import change_object, check_identity
from apiserver.endpoints.views import view_for
from apiserver.managedfields.apply import Apply
from apiserver.managedfields.apply import apply as merge_applied
from apiserver.managedfields.tracking import Write
from apiserver.schema import yaml
from apiserver.schema.decode import duplicate_fields
from apiserver.storage.cache import Entry
from apiserver.types import Object, Resource
from common.api.status import AlreadyExists, BadRequest, NotFound, conflict
from common.api.time import now_text
from common.aside import aside

APPLY_PATCH = "application/apply-patch+yaml"
ATTEMPTS = 8
"""How often an object may appear and vanish between a look and a write."""


async def apply(api: Api, request: Request, target: Target) -> Answer:
    resource = target.resource
    options = write_options(request, "PatchOptions", apply=True)
    view = view_for(request, resource)
    body = await request.body()
    options = options.of_size(len(body))
    config = await read_config(body, options, request.warnings)
    write = Write(resource, options.manager, now_text(), target.subresource)
    wanted = Apply(write, config, options.force)
    said = list(request.warnings)

    def produce(entry: Entry, warnings: list[str]) -> Object:
        obj = merge_applied(wanted, entry.parse())
        obj = conformed(api, resource, options, obj, body, warnings)
        check_identity(obj, target)
        return obj

    for attempt in range(ATTEMPTS):
        try:
            stored = await change_object(api, target, request.user, options, produce, request.warnings, tracked=False)
            return Answer(view.object(to_served(resource, stored)))
        except NotFound:
            if target.subresource:
                raise
        request.warnings[:] = said
        try:
            stored = await _create(api, request, target, options, wanted, body)
            return Answer(view.object(to_served(resource, stored)), 201)
        except AlreadyExists:
            if attempt == ATTEMPTS - 1:
                raise
    raise conflict(resource.plural, target.name, resource.group)


async def read_config(body: bytes, options: WriteOptions, warnings: list[str]) -> Object:
    """The applied object, as the client wrote it. Raises BadRequest."""
    config, duplicates = await aside(len(body), _parse, body)
    if not isinstance(config, dict):
        kind = {list: "array", str: "string", bool: "bool", type(None): "null"}.get(type(config), "number")
        text = f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        raise BadRequest(f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {text}")
    if not isinstance(config.get("metadata", {}), dict | None):
        raise BadRequest("error decoding YAML: metadata is no object")
    if duplicates and options.validation != "Ignore":
        text = "error converting YAML to JSON: yaml: unmarshal errors:\n  " + "\n  ".join(duplicates)
        if options.validation == "Strict":
            raise BadRequest(f"error strict decoding YAML: {text}")
        warnings.append(text)
    return config


def _parse(body: bytes) -> tuple[object, list[str]]:
    """Most clients send JSON, which is YAML too but read a hundred times as fast."""
    if body.lstrip().startswith(b"{"):
        try:
            config = orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
        else:
            if not duplicate_fields(body, config):
                return config, []
    try:
        config, duplicates = yaml.load(body)
    except yaml.YAMLError as error:
        raise BadRequest(f"error decoding YAML: error converting YAML to JSON: {error}") from None
    return config, duplicates


def conformed(
    api: Api, resource: Resource, options: WriteOptions, obj: Object, body: bytes, warnings: list[str]
) -> Object:
    """The merged object by the schema: the server's form of quantities and times, and no nulls."""
    served = to_served(resource, obj)
    decoded = api.conform(served, resource, options.validation, body.decode(errors="replace"))
    warnings.extend(decoded.warnings)
    return to_stored(resource, decoded.object)


async def _create(
    api: Api, request: Request, target: Target, options: WriteOptions, wanted: Apply, body: bytes
) -> Object:
    resource, config = target.resource, wanted.config
    may_create(api, request, target)
    uid = (config.get("metadata") or {}).get("uid")
    if uid:
        text = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise conflict(resource.plural, target.name, resource.group, text)
    as_create = replace(options, kind="CreateOptions")

    pristine = orjson.dumps(config)

    def create_from(anew: Apply) -> Object:
        return conformed(api, resource, options, merge_applied(anew, None), body, request.warnings)

    async def attempt() -> Object:
        anew = replace(wanted, config=orjson.loads(pristine))  # what is created is changed in place
        obj = await aside(options.size, create_from, anew)
        check_identity(obj, target)
        return await create_object(
            api, resource, target.namespace, obj, request.user, as_create, request.warnings, tracked=False
        )

    return await settled(api, resource, request.warnings, attempt)
