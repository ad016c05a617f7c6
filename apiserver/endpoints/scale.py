"""The scale subresource: the number of replicas of anything that has some, in one shape.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/ (autoscaling/v1 Scale).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from apiserver.endpoints.api import Api
from apiserver.endpoints.apply import APPLY_PATCH, read_config
from apiserver.endpoints.options import WriteOptions, write_options
from apiserver.endpoints.patch import patch_type
from apiserver.endpoints.request import Answer, Request, Target, json_answer
from apiserver.endpoints.update import change_object, check_identity, check_revision
from apiserver.managedfields.apply import Apply
from apiserver.managedfields.apply import apply as merge_applied
from apiserver.managedfields.scale import path_of, to_parent, to_scale
from apiserver.managedfields.tracking import Write, track_update
from apiserver.schema import sent_kind
from apiserver.storage.cache import Entry
from apiserver.types import Object, ScalePaths
from common.api.selectors import label_selector_from, selector_of_map
from common.api.status import StatusError, invalid, invalid_value
from common.api.time import now_text

SCALE = sent_kind("Scale", "autoscaling/v1")


def read_path(obj: Object, path: str) -> Any:
    value: Any = obj
    for part in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def write_path(obj: Object, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value


def scale_of(obj: Object, paths: ScalePaths) -> Object:
    """The Scale of an object."""
    metadata = {
        key: obj["metadata"][key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in obj["metadata"]
    }
    status: Object = {"replicas": read_path(obj, paths.status_replicas) or 0}
    if selector := _selector_text(read_path(obj, paths.selector)):
        status["selector"] = selector
    spec: Object = {}
    if replicas := read_path(obj, paths.spec_replicas):
        spec["replicas"] = replicas
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


def _selector_text(selector: Any) -> str:
    if isinstance(selector, str):
        return selector
    if not isinstance(selector, dict):
        return ""
    if "matchLabels" in selector or "matchExpressions" in selector:
        return str(label_selector_from(selector))
    return str(selector_of_map(selector))


async def get_scale(api: Api, request: Request, target: Target) -> Answer:
    obj = await api.store(target.resource).get(target.namespace, target.name)
    return json_answer(scale_of(obj, _paths(target)))


async def update_scale(api: Api, request: Request, target: Target) -> Answer:
    options = write_options(request, "UpdateOptions")
    body, content_type = await request.body(), request.header(b"content-type")
    options = options.of_size(len(body))
    sent = await api.decode_object(body, content_type, SCALE, options.validation, request.warnings)
    check_identity(sent, target)
    pristine = orjson.dumps(sent)

    def change(scale: Object) -> Object:
        changed: Object = orjson.loads(pristine)
        return _tracked(options, scale, changed)

    return await _write(api, request, target, options, change)


async def patch_scale(api: Api, request: Request, target: Target) -> Answer:
    content_type = patch_type(request.header(b"content-type"))
    is_apply = content_type == APPLY_PATCH
    options = write_options(request, "PatchOptions", apply=is_apply)
    body = await request.body()
    options = options.of_size(len(body))
    config = await read_config(body, options, request.warnings) if is_apply else {}

    def change(scale: Object) -> Object:
        if is_apply:
            patched = merge_applied(Apply(_write_of(options), config, options.force), scale)
        else:
            patched = api.apply_patch(content_type, scale, body, SCALE)
        conform: Object = api.conform(patched, SCALE, options.validation, body.decode(errors="replace")).object
        check_identity(conform, target)
        return conform if is_apply else _tracked(options, scale, conform)

    return await _write(api, request, target, options, change)


async def _write(
    api: Api, request: Request, target: Target, options: WriteOptions, change: Callable[[Object], Object]
) -> Answer:
    """Writes what ``change`` makes of the object's Scale, and puts who owns the replicas into the object's entries."""
    resource, paths = target.resource, _paths(target)
    path = path_of(paths)

    def produce(entry: Entry, warnings: list[str]) -> Object:
        current = entry.parse()
        entries = current["metadata"].get("managedFields") or []
        scale = scale_of(current, paths)
        if owners := to_scale(entries, path):
            scale["metadata"]["managedFields"] = owners
        changed = change(scale)
        obj = with_scale(current, changed, target)
        if entries:
            owners = changed["metadata"].get("managedFields") or []
            obj["metadata"]["managedFields"] = to_parent(resource, entries, owners, path)
        return obj

    stored = await change_object(api, target, request.user, options, produce, request.warnings, tracked=False)
    return json_answer(scale_of(stored, paths))


def _write_of(options: WriteOptions) -> Write:
    return Write(SCALE, options.manager, now_text(), "scale")


def _tracked(options: WriteOptions, scale: Object, changed: Object) -> Object:
    track_update(_write_of(options), scale, changed)
    return changed


def with_scale(obj: Object, scale: Object, target: Target) -> Object:
    """The object with the replicas of a Scale. Raises Invalid, and Conflict for another revision or uid."""
    check_revision({"metadata": scale.get("metadata") or {}}, obj, target.resource)
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        error = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid("Scale", target.name, "autoscaling", [error])
    write_path(obj, _paths(target).spec_replicas, replicas)
    return obj


def _paths(target: Target) -> ScalePaths:
    if target.resource.scale is None:
        raise StatusError("the server could not find the requested resource", code=404, reason="NotFound")
    return target.resource.scale
