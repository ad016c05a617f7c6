"""What the server serves, in upstream's documents: /api, /apis, groups, versions, and all of it in one (aggregated).

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api. The documents depend on the table alone:
they are made once.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from apiserver.endpoints.negotiation import JSON, not_acceptable, parse_accept
from apiserver.endpoints.request import Answer, Request, json_answer
from apiserver.types import Object, Resource

GROUP_ORDER = (
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
)
STATUS_VERBS = ("get", "patch", "update")
AGGREGATED = "apidiscovery.k8s.io"


class Spec(Protocol):
    """What is known of a subresource (:class:`apiserver.subresources.ConnectHandlerSpec`)."""

    @property
    def kind(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def verbs(self) -> tuple[str, ...]: ...


Specs = Mapping[tuple[str, str, str], Spec]


@dataclass(frozen=True, order=True)
class Subresource:
    name: str
    kind: tuple[str, str, str]
    """Group, version and kind of the object."""
    verbs: tuple[str, ...]


def subresources_of(resource: Resource, specs: Specs) -> list[Subresource]:
    own = (resource.group, resource.version, resource.kind)
    found = []
    for (group, plural, name), spec in specs.items():
        if name and (group, plural) == (resource.group, resource.plural):
            if spec.kind == resource.kind:
                kind = own
            else:
                kind = (spec.group, spec.version or "v1", spec.kind)
            found.append(Subresource(name, kind, spec.verbs))
    if resource.status:
        found.append(Subresource("status", own, STATUS_VERBS))
    if resource.scale is not None:
        found.append(Subresource("scale", ("autoscaling", "v1", "Scale"), STATUS_VERBS))
    return sorted(found)


class Discovery:
    def __init__(self, resources: Iterable[Resource], specs: Specs) -> None:
        self._specs = specs
        self._groups: dict[str, dict[str, list[Resource]]] = {group: {} for group in GROUP_ORDER}
        for resource in resources:
            self._groups.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        self._groups = {group: versions for group, versions in self._groups.items() if versions}
        self._documents: dict[str, bytes] = {}

    def answer(self, request: Request) -> Answer | None:
        """None when the path names no document."""
        path = request.path.rstrip("/")
        forms = parse_accept(request.header(b"accept"))
        if path in ("/api", "/apis"):
            for form in forms:
                if form.kind == "APIGroupDiscoveryList" and form.group == AGGREGATED:
                    if form.version in ("v2", "v2beta1") and form.media == JSON:
                        return self._aggregated(request, path, form.version)
                elif not form.kind:
                    request.form = form
                    return json_answer(self._api_versions() if path == "/api" else self._api_groups())
            raise not_acceptable()
        if all(form.kind for form in forms):
            raise not_acceptable()
        parts = path.strip("/").split("/")
        group = "" if parts[0] == "api" else parts[1]
        versions = self._groups.get(group)
        if versions is None:
            return None
        if parts[0] == "apis" and len(parts) == 2:
            return json_answer({"kind": "APIGroup", "apiVersion": "v1", **self._group(group)})
        version = parts[-1]
        return json_answer(self._resource_list(group, version)) if version in versions else None

    @staticmethod
    def _api_versions() -> Object:
        return {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
        }

    def _api_groups(self) -> Object:
        groups = [self._group(group) for group in self._groups if group]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def _versions(self, group: str) -> list[str]:
        """The preferred version first."""
        return sorted(self._groups[group], key=_rank)

    def _group(self, group: str) -> Object:
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in self._versions(group)]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resource_list(self, group: str, version: str) -> Object:
        resources: list[Object] = []
        for resource in sorted(self._groups[group][version], key=lambda r: r.plural):
            resources.append(self._resource(resource))
            for subresource in subresources_of(resource, self._specs):
                g, v, kind = subresource.kind
                item: Object = {
                    "name": f"{resource.plural}/{subresource.name}",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                }
                if (g, v) != (resource.group, resource.version):
                    item |= {"group": g, "version": v}
                resources.append(item | {"kind": kind, "verbs": subresource.verbs})
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": resources,
        }

    @staticmethod
    def _resource(resource: Resource) -> Object:
        item: Object = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": sorted(resource.verbs),
        }
        if resource.short_names:
            item["shortNames"] = list(resource.short_names)
        if resource.categories:
            item["categories"] = list(resource.categories)
        if "watch" in resource.verbs:
            item["storageVersionHash"] = _storage_hash(resource)
        return item

    def _aggregated(self, request: Request, path: str, version: str) -> Answer:
        key = f"{path}:{version}"
        body = self._documents.get(key)
        if body is None:
            groups = [""] if path == "/api" else [group for group in self._groups if group]
            body = self._documents[key] = orjson.dumps(
                {
                    "kind": "APIGroupDiscoveryList",
                    "apiVersion": f"{AGGREGATED}/{version}",
                    "metadata": {},
                    "items": [self._aggregated_group(group) for group in groups],
                }
            )
        etag = hashlib.sha512(body).hexdigest().upper()
        content_type = f"application/json;g={AGGREGATED};v={version};as=APIGroupDiscoveryList".encode()
        headers = [(b"etag", f'"{etag}"'.encode()), (b"vary", b"Accept")]
        if request.header(b"if-none-match").strip('"') == etag:
            return Answer(b"", 304, content_type, headers)
        return Answer(body, 200, content_type, headers)

    def _aggregated_group(self, group: str) -> Object:
        versions = [
            {
                "version": version,
                "resources": [
                    self._aggregated_resource(r) for r in sorted(self._groups[group][version], key=lambda r: r.plural)
                ],
                "freshness": "Current",
            }
            for version in self._versions(group)
        ]
        metadata: dict[str, Any] = {"creationTimestamp": None}
        if group:
            metadata["name"] = group
        return {"metadata": metadata, "versions": versions}

    def _aggregated_resource(self, resource: Resource) -> Object:
        item: Object = {
            "resource": resource.plural,
            "responseKind": _gvk(resource.group, resource.version, resource.kind),
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "singularResource": resource.singular,
            "verbs": sorted(resource.verbs),
        }
        if resource.short_names:
            item["shortNames"] = list(resource.short_names)
        if resource.categories:
            item["categories"] = list(resource.categories)
        subresources = [
            {"subresource": sub.name, "responseKind": _gvk(*sub.kind), "verbs": sub.verbs}
            for sub in subresources_of(resource, self._specs)
        ]
        if subresources:
            item["subresources"] = subresources
        return item


def paths(resources: Iterable[Resource]) -> set[str]:
    """Those of the documents, for whoever lists what there is."""
    found = {"/api", "/apis", "/apis/"}
    for resource in resources:
        group = f"/apis/{resource.group}" if resource.group else "/api"
        found |= {group, f"{group}/{resource.version}"}
    return found


def _gvk(group: str, version: str, kind: str) -> Object:
    return {"group": group, "version": version, "kind": kind}


def _storage_hash(resource: Resource) -> str:
    text = f"{resource.group}/{resource.version}/{resource.kind}".lstrip("/")
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _rank(version: str) -> tuple[int, int]:
    """v2 before v1 before v1beta1 before v1alpha1."""
    for weight, word in ((1, "beta"), (2, "alpha")):
        if word in version:
            major, _, minor = version.removeprefix("v").partition(word)
            return weight, -(int(major) * 100 + int(minor or 0))
    return 0, -int(version.removeprefix("v"))
