"""The operations of what is no plain kind: subresources with a handler of their own, old watch paths, discovery.

Parameters are those of the kinds PodExecOptions, PodLogOptions and so on, which are never sent as objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from apiserver.schema.operations import (
    ANYTHING,
    LIST_PARAMETERS,
    META,
    PATCH_TYPES,
    WRITE_PARAMETERS,
    Operation,
    Parameter,
    base_path,
    group_name,
)
from apiserver.types import Resource

Path = tuple[str, tuple[Parameter, ...], list[Operation]]


class Spec(Protocol):
    """What is known of a subresource (:class:`apiserver.subresources.table.ConnectHandlerSpec`)."""

    @property
    def kind(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def methods(self) -> tuple[str, ...]: ...


Specs = Mapping[tuple[str, str, str], Spec]
Names = Mapping[tuple[str, str, str], str]
"""The definition of each group, version and kind."""

_STREAMS = ("container", "stderr", "stdin", "stdout", "tty")
_QUERY: dict[str, tuple[str, ...]] = {
    "exec": ("command", *_STREAMS),
    "attach": _STREAMS,
    "portforward": ("ports",),
    "proxy": ("path",),
    "log": (
        "container",
        "follow",
        "insecureSkipTLSVerifyBackend",
        "limitBytes",
        "previous",
        "sinceSeconds",
        "stream",
        "tailLines",
        "timestamps",
    ),
}
_STREAMED = ("exec", "attach", "portforward", "proxy")
_ACTIONS = {"GET": ("get", "read"), "POST": ("post", "create"), "PUT": ("put", "replace"), "PATCH": ("patch", "patch")}


def subresource_paths(resource: Resource, specs: Specs, names: Names) -> Iterator[Path]:
    for (group, plural, subresource), spec in specs.items():
        if not subresource or (group, plural) != (resource.group, resource.plural):
            continue
        namespace = (Parameter("namespace", "path"),) if resource.namespaced else ()
        root = base_path(resource) + ("/namespaces/{namespace}" if namespace else "")
        path = f"{root}/{resource.plural}/{{name}}/{subresource}"
        own = [Parameter(name) for name in _QUERY.get(subresource, ("pretty",))]
        parameters = (Parameter("name", "path"), *namespace, *own)
        yield path, parameters, [_operation(resource, subresource, spec, method, names) for method in spec.methods]
        if subresource == "proxy":
            operations = [_operation(resource, subresource, spec, m, names, "WithPath") for m in spec.methods]
            yield path + "/{path}", (*parameters, Parameter("path", "path")), operations


def _operation(
    resource: Resource, subresource: str, spec: Spec, method: str, names: Names, suffix: str = ""
) -> Operation:
    own = (resource.group, resource.version)
    gvk = (*own, spec.kind) if spec.kind == resource.kind or not spec.version else (spec.group, spec.version, spec.kind)
    scope = "Namespaced" if resource.namespaced else ""
    name = f"{scope}{resource.kind}{subresource.capitalize()}{suffix}"
    if subresource in _STREAMED:
        identity = f"connect{group_name(resource)}{method.capitalize()}{name}"
        return Operation(method.lower(), "connect", identity, gvk, (), "", "", ANYTHING, produces=ANYTHING)
    action, prefix = _ACTIONS[method]
    definition = "" if subresource == "log" else names[gvk]
    writes = method != "GET"
    parameters = (*WRITE_PARAMETERS, "force") if method == "PATCH" else WRITE_PARAMETERS if writes else ()
    return Operation(
        method.lower(),
        action,
        f"{prefix}{group_name(resource)}{name}",
        gvk,
        tuple(map(Parameter, parameters)),
        f"{META}Patch" if method == "PATCH" else definition if writes else "",
        definition,
        PATCH_TYPES if method == "PATCH" else ANYTHING,
        created=writes,
        produces=("text/plain",) if subresource == "log" else Operation.produces,
    )


def watch_paths(resource: Resource) -> Iterator[Path]:
    """The old form; new clients say ``watch`` in a list's query."""
    if "watch" not in resource.verbs:
        return
    gvk = (resource.group, resource.version, resource.kind)
    everywhere = f"{base_path(resource)}/watch/{resource.plural}"
    query = tuple(map(Parameter, (*LIST_PARAMETERS, "pretty")))

    def operation(action: str, name: str) -> list[Operation]:
        identity = f"watch{group_name(resource)}{name}"
        streamed = ("application/json", "application/json;stream=watch")
        return [Operation("get", action, identity, gvk, (), "", f"{META}WatchEvent", ANYTHING, produces=streamed)]

    scope, inner = "", everywhere
    namespace: tuple[Parameter, ...] = ()
    if resource.namespaced:
        yield everywhere, query, operation("watchlist", f"{resource.kind}ListForAllNamespaces")
        scope, namespace = "Namespaced", (Parameter("namespace", "path"),)
        inner = f"{base_path(resource)}/watch/namespaces/{{namespace}}/{resource.plural}"
    yield inner, (*namespace, *query), operation("watchlist", f"{scope}{resource.kind}List")
    named = (Parameter("name", "path"), *namespace, *query)
    yield f"{inner}/{{name}}", named, operation("watch", f"{scope}{resource.kind}")


def discovery_paths(resources: Iterable[Resource]) -> dict[str, list[Path]]:
    """By the documents that they are in: ``api``, ``apis/apps``, and a group version's own."""
    found: dict[str, list[Path]] = {
        "api": [_document("/api/", "getCoreAPIVersions", f"{META}APIVersions")],
        "apis": [_document("/apis/", "getAPIVersions", f"{META}APIGroupList")],
        "version": [_document("/version/", "getCodeVersion", "io.k8s.apimachinery.pkg.version.Info")],
    }
    for resource in resources:
        base = base_path(resource)
        name = group_name(resource)
        if resource.group and f"apis/{resource.group}" not in found:
            group = name.removesuffix(resource.version.capitalize())
            path = f"/apis/{resource.group}"
            found[path[1:]] = [_document(f"{path}/", f"get{group}APIGroup", f"{META}APIGroup")]
        if base[1:] not in found:
            found[base[1:]] = [_document(f"{base}/", f"get{name}APIResources", f"{META}APIResourceList")]
    return found


def _document(path: str, identity: str, definition: str) -> Path:
    return path, (), [Operation("get", "", identity, ("", "", ""), (), "", definition)]
