"""The operations that OpenAPI documents list for a row of the table: which verbs, with which parameters.

Clients read more than the shapes from these documents: kubectl looks whether PATCH knows ``fieldValidation`` before it
leaves validation to the server, and tools find the kind behind a path in ``x-kubernetes-group-version-kind``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from apiserver.types import Resource

JSON, YAML = "application/json", "application/yaml"
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
ANYTHING = ("*/*",)
"""Of bodies: the server says itself which it cannot read."""
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
LIST_PARAMETERS = ("allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
         "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch")  # fmt: skip
WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_TYPES = {
    "allowWatchBookmarks": "boolean",
    "sendInitialEvents": "boolean",
    "watch": "boolean",
    "force": "boolean",
    "orphanDependents": "boolean",
    "limit": "integer",
    "timeoutSeconds": "integer",
    "gracePeriodSeconds": "integer",
    **dict.fromkeys(("follow", "insecureSkipTLSVerifyBackend", "previous", "timestamps"), "boolean"),
    **dict.fromkeys(("stderr", "stdin", "stdout", "tty"), "boolean"),
    **dict.fromkeys(("limitBytes", "ports", "sinceSeconds", "tailLines"), "integer"),
}


@dataclass(frozen=True)
class Parameter:
    name: str
    place: str = "query"

    @property
    def type(self) -> str:
        return _TYPES.get(self.name, "string")


@dataclass(frozen=True)
class Operation:
    method: str
    action: str
    """x-kubernetes-action."""
    id: str
    gvk: tuple[str, str, str]
    parameters: tuple[Parameter, ...]
    body: str
    """The definition of the request's body, none when empty."""
    answer: str
    """The definition of what is answered, plain text when empty."""
    consumes: tuple[str, ...] = ANYTHING
    created: bool = False
    produces: tuple[str, ...] = (JSON, YAML)


@dataclass(frozen=True)
class Verb:
    """How a verb of the table appears as an operation."""

    method: str
    action: str
    prefix: str
    parameters: tuple[str, ...] = ()


_COLLECTION = {
    "list": Verb("get", "list", "list", LIST_PARAMETERS),
    "create": Verb("post", "post", "create", WRITE_PARAMETERS),
    "deletecollection": Verb("delete", "deletecollection", "deleteCollection", (*LIST_PARAMETERS[1:], *_DELETE)),
}
_ITEM = {
    "get": Verb("get", "get", "read"),
    "update": Verb("put", "put", "replace", WRITE_PARAMETERS),
    "patch": Verb("patch", "patch", "patch", (*WRITE_PARAMETERS, "force")),
    "delete": Verb("delete", "delete", "delete", _DELETE),
}
_SUBRESOURCE = {name: _ITEM[name] for name in ("get", "update", "patch")}


def base_path(resource: Resource) -> str:
    return f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"


def group_name(resource: Resource) -> str:
    """As operations are named after it: CoreV1, RbacAuthorizationV1."""
    group = "".join(part.capitalize() for part in resource.group.removesuffix(".k8s.io").split(".")) or "Core"
    return group + resource.version.capitalize()


def paths(resource: Resource, definition: str) -> Iterator[tuple[str, tuple[Parameter, ...], list[Operation]]]:
    """(path, its own parameters, operations). ``definition`` is the name of the kind's definition."""
    namespace = (Parameter("namespace", "path"),) if resource.namespaced else ()
    root = base_path(resource) + ("/namespaces/{namespace}" if namespace else "")
    collection = f"{root}/{resource.plural}"
    served = frozenset(resource.verbs)
    yield collection, (*namespace, Parameter("pretty")), list(_operations(_COLLECTION, resource, definition, served))
    item = (Parameter("name", "path"), *namespace, Parameter("pretty"))
    if served & _ITEM.keys():
        yield f"{collection}/{{name}}", item, list(_operations(_ITEM, resource, definition, served))
    if resource.namespaced and "list" in served:
        everywhere = list(_operations({"list": _COLLECTION["list"]}, resource, definition, served, "ForAllNamespaces"))
        yield f"{base_path(resource)}/{resource.plural}", (Parameter("pretty"),), everywhere
    if resource.status:
        yield (
            f"{collection}/{{name}}/status",
            item,
            list(_operations(_SUBRESOURCE, resource, definition, served, "Status")),
        )
    if resource.scale is not None:
        scale = "io.k8s.api.autoscaling.v1.Scale"
        yield f"{collection}/{{name}}/scale", item, list(_operations(_SUBRESOURCE, resource, scale, served, "Scale"))


def _operations(
    verbs: dict[str, Verb], resource: Resource, definition: str, served: Iterable[str], suffix: str = ""
) -> Iterator[Operation]:
    scale = suffix == "Scale"
    gvk = ("autoscaling", "v1", "Scale") if scale else (resource.group, resource.version, resource.kind)
    scope = "Namespaced" if resource.namespaced and suffix != "ForAllNamespaces" else ""
    name = f"{group_name(resource)}{scope}{resource.kind}{suffix}"
    for verb, shape in verbs.items():
        if verb not in served:
            continue
        deletes = shape.method == "delete"
        answers_status = verb == "deletecollection" or (deletes and resource.plural != "pods")
        listed = f"{definition}List"
        yield Operation(
            shape.method,
            shape.action,
            f"{shape.prefix}{name}",
            gvk,
            tuple(map(Parameter, shape.parameters)),
            _body(verb, definition),
            listed if verb == "list" else f"{META}Status" if answers_status else definition,
            PATCH_TYPES if verb == "patch" else ANYTHING,
            created=verb in ("create", "update", "patch"),
            produces=(JSON, YAML, f"{JSON};stream=watch") if verb == "list" else (JSON, YAML),
        )


def _body(verb: str, definition: str) -> str:
    if verb in ("delete", "deletecollection"):
        return f"{META}DeleteOptions"
    if verb == "patch":
        return f"{META}Patch"
    return definition if verb in ("create", "update") else ""
