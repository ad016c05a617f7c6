"""The scale subresource: the number of replicas of anything that has some, in one shape.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/ (autoscaling/v1 Scale).
"""

from __future__ import annotations

from typing import Any

from apiserver.endpoints.api import Api
from apiserver.endpoints.options import write_options
from apiserver.endpoints.patch import patch_type
from apiserver.endpoints.request import Answer, Request, Target, json_answer
from apiserver.endpoints.update import change_object, check_revision
from apiserver.schema import sent_kind
from apiserver.storage.cache import Entry
from apiserver.types import Object, ScalePaths
from common.api.selectors import label_selector_from, selector_of_map
from common.api.status import BadRequest, StatusError, invalid, invalid_value

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
    obj = (await api.store(target.resource).entry(target.namespace, target.name)).object
    return json_answer(scale_of(obj, _paths(target)))


async def update_scale(api: Api, request: Request, target: Target) -> Answer:
    options = write_options(request, "UpdateOptions")
    body, content_type = await request.body(), request.header(b"content-type")
    sent = api.decode_object(body, content_type, SCALE, options.validation, request.warnings)
    name = sent["metadata"].get("name") or target.name
    if name != target.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({target.name})")

    def produce(entry: Entry, warnings: list[str]) -> Object:
        return with_scale(entry.parse(), sent, target)

    stored = await change_object(api, target, request.user, options, produce, request.warnings)
    return json_answer(scale_of(stored, _paths(target)))


async def patch_scale(api: Api, request: Request, target: Target) -> Answer:
    options = write_options(request, "PatchOptions")
    content_type = patch_type(request.header(b"content-type"))
    body = await request.body()

    def produce(entry: Entry, warnings: list[str]) -> Object:
        current = entry.parse()
        scale = api.apply_patch(content_type, scale_of(current, _paths(target)), body, SCALE)
        decoded = api.conform(scale, SCALE, options.validation, body.decode(errors="replace"))
        return with_scale(current, decoded.object, target)

    stored = await change_object(api, target, request.user, options, produce, request.warnings)
    return json_answer(scale_of(stored, _paths(target)))


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
