"""OpenAPI of the group, for ``kubectl explain``."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from addons.metrics_server.objects import API_VERSION, GROUP, VERSION

Schema = dict[str, Any]
_PREFIX = "io.k8s.metrics.pkg.apis.metrics.v1beta1"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"


def index() -> Schema:
    name = f"apis/{API_VERSION}"
    return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={_hash()}"}}}


def document() -> Schema:
    return _DOCUMENT


def _hash() -> str:
    return hashlib.sha512(orjson.dumps(_DOCUMENT)).hexdigest().upper()


def _object(description: str, required: list[str], properties: dict[str, Schema], kind: str = "") -> Schema:
    made: Schema = {
        "description": description,
        "type": "object",
        "required": required,
        "properties": properties,
    }
    if kind:
        made["x-kubernetes-group-version-kind"] = [{"group": GROUP, "version": VERSION, "kind": kind}]
        made["properties"] = {
            "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
            "kind": {"type": "string", "description": "What this object is."},
            **properties,
        }
    return made


def _ref(name: str, description: str) -> Schema:
    return {"description": description, "default": {}, "allOf": [{"$ref": f"#/components/schemas/{name}"}]}


def _usage() -> Schema:
    quantity = {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"}
    return {
        "description": "CPU in cores over the window, and the working set of memory in bytes at its end.",
        "type": "object",
        "additionalProperties": quantity,
    }


def _list_of(kind: str) -> Schema:
    items = {"type": "array", "items": {"default": {}, "allOf": [{"$ref": f"#/components/schemas/{_PREFIX}.{kind}"}]}}
    properties: dict[str, Schema] = {"metadata": _ref(f"{_META}.ListMeta", "Metadata of the list."), "items": items}
    return _object(f"A list of {kind}.", ["items"], properties, f"{kind}List")


def _schemas() -> dict[str, Schema]:
    when: dict[str, Schema] = {
        "metadata": _ref(f"{_META}.ObjectMeta", "Metadata of the object."),
        "timestamp": _ref(f"{_META}.Time", "The end of the window."),
        "window": _ref(f"{_META}.Duration", "How long the interval is that the CPU figures are about."),
    }
    container = f"{_PREFIX}.ContainerMetrics"
    containers = {
        "description": "Every container of the pod that ran in the window.",
        "type": "array",
        "items": {"default": {}, "allOf": [{"$ref": f"#/components/schemas/{container}"}]},
    }
    return {
        f"{_PREFIX}.NodeMetrics": _object(
            "What a node uses.", ["timestamp", "window", "usage"], {**when, "usage": _usage()}, "NodeMetrics"
        ),
        f"{_PREFIX}.NodeMetricsList": _list_of("NodeMetrics"),
        f"{_PREFIX}.PodMetrics": _object(
            "What the containers of a pod use.",
            ["timestamp", "window", "containers"],
            {**when, "containers": containers},
            "PodMetrics",
        ),
        f"{_PREFIX}.PodMetricsList": _list_of("PodMetrics"),
        container: _object(
            "What one container uses.",
            ["name", "usage"],
            {"name": {"type": "string", "description": "The container's name in its pod."}, "usage": _usage()},
        ),
        "io.k8s.apimachinery.pkg.api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        f"{_META}.Time": {"type": "string", "format": "date-time"},
        f"{_META}.Duration": {"type": "string"},
        f"{_META}.ObjectMeta": {"type": "object", "description": "Name, namespace, labels and time of creation."},
        f"{_META}.ListMeta": {"type": "object", "description": "Nothing: lists are not paged."},
    }


def _operation(kind: str, action: str, schema: str, parameters: list[str]) -> Schema:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{_PREFIX}.{schema}"}}}
    get: Schema = {
        "operationId": f"{action}MetricsV1beta1{kind}",
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": kind},
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
    }
    needed = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters]
    return {"get": get, **({"parameters": needed} if needed else {})}


def _paths() -> Schema:
    base = f"/apis/{API_VERSION}"
    pods = f"{base}/namespaces/{{namespace}}/pods"
    return {
        f"{base}/nodes": _operation("NodeMetrics", "list", "NodeMetricsList", []),
        f"{base}/nodes/{{name}}": _operation("NodeMetrics", "get", "NodeMetrics", ["name"]),
        f"{base}/pods": _operation("PodMetrics", "list", "PodMetricsList", []),
        pods: _operation("PodMetrics", "list", "PodMetricsList", ["namespace"]),
        f"{pods}/{{name}}": _operation("PodMetrics", "get", "PodMetrics", ["name", "namespace"]),
    }


_DOCUMENT: Schema = {
    "openapi": "3.0.0",
    "info": {"title": "Coxswain metrics-server", "version": VERSION},
    "paths": _paths(),
    "components": {"schemas": _schemas()},
}
