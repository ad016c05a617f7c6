"""What the server serves, in upstream's documents: /api, /apis, groups, versions, and all of it in one (aggregated).

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api. The documents depend on the
table and on what aggregated servers serve: they are made once, and anew when the latter changes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from apiserver.endpoints.negotiation import JSON, not_acceptable, parse_accept
from apiserver.endpoints.request import Answer, Request, json_answer
from apiserver.resources.priorities import priority
from apiserver.types import Object, Resource

STATUS_VERBS = ("get", "patch", "update")
AGGREGATED = "apidiscovery.k8s.io"
_VERSION = re.compile(r"v([0-9]{1,9})(?:(alpha|beta)([0-9]{1,9}))?")


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


class RemoteVersion(Protocol):
    """A group version of another server (:class:`apiserver.extensions.aggregator.RemoteVersion`)."""

    @property
    def group(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def group_priority(self) -> int: ...
    @property
    def version_priority(self) -> int: ...
    @property
    def resources(self) -> Sequence[Object]: ...
    @property
    def fresh(self) -> bool: ...


class Remote(Protocol):
    @property
    def revision(self) -> int: ...
    def versions(self) -> Sequence[RemoteVersion]: ...


@dataclass(frozen=True)
class Version:
    """A version of a group: this server's, or another's."""

    name: str
    group_priority: int
    priority: int
    local: Sequence[Resource] = ()
    remote: RemoteVersion | None = None


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
    def __init__(self, resources: Iterable[Resource], specs: Specs, remote: Remote | None = None) -> None:
        self._specs = specs
        self._remote = remote
        self._local: dict[tuple[str, str], list[Resource]] = {}
        for resource in resources:
            self._local.setdefault((resource.group, resource.version), []).append(resource)
        self._revision = -1
        self._groups: dict[str, list[Version]] = {}
        self._documents: dict[str, bytes] = {}

    def _refresh(self) -> None:
        revision = self._remote.revision if self._remote is not None else 0
        if revision == self._revision:
            return
        self._revision = revision
        self._documents.clear()
        found = {key: Version(key[1], *priority(*key), local=rows) for key, rows in self._local.items()}
        for each in self._remote.versions() if self._remote is not None else ():
            found[each.group, each.version] = Version(
                each.version, each.group_priority, each.version_priority, remote=each
            )
        groups: dict[str, list[Version]] = {}
        for (group, _), version in found.items():
            groups.setdefault(group, []).append(version)
        for versions in groups.values():
            versions.sort(key=lambda each: (-each.priority, *_rank(each.name), each.name))
        order = sorted(groups, key=lambda group: (-max(each.group_priority for each in groups[group]), group))
        self._groups = {group: groups[group] for group in order}

    def answer(self, request: Request) -> Answer | None:
        """None when the path names no document of this server's."""
        self._refresh()
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
        rows = self._local.get((group, version))
        return json_answer(self._resource_list(group, version, rows)) if rows else None

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

    def _group(self, group: str) -> Object:
        names = [each.name for each in self._groups[group]]
        versions = [{"groupVersion": f"{group}/{name}", "version": name} for name in names]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resource_list(self, group: str, version: str, rows: Sequence[Resource]) -> Object:
        resources: list[Object] = []
        for resource in sorted(rows, key=lambda r: r.plural):
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
            groups = [group for group in self._groups if bool(group) == (path == "/apis")]
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
        versions = [self._aggregated_version(each) for each in self._groups[group]]
        metadata: dict[str, Any] = {"creationTimestamp": None}
        if group:
            metadata["name"] = group
        return {"metadata": metadata, "versions": versions}

    def _aggregated_version(self, version: Version) -> Object:
        if version.remote is not None:
            freshness = "Current" if version.remote.fresh else "Stale"
            return {"version": version.name, "resources": _converted(version.remote), "freshness": freshness}
        rows = sorted(version.local, key=lambda row: row.plural)
        resources = [self._aggregated_resource(row) for row in rows]
        return {"version": version.name, "resources": resources, "freshness": "Current"}

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


def _converted(remote: RemoteVersion) -> list[Object]:
    """The entries of an APIResourceList in the aggregated form (upstream: ConvertGroupVersionIntoToDiscovery)."""
    found: dict[str, Object] = {}
    below: dict[str, list[Object]] = {}
    for entry in remote.resources:
        name, _, subresource = str(entry.get("name") or "").partition("/")
        kind = _gvk(
            entry.get("group") or remote.group, entry.get("version") or remote.version, str(entry.get("kind") or "")
        )
        verbs = list(entry.get("verbs") or ())
        if subresource:
            below.setdefault(name, []).append({"subresource": subresource, "responseKind": kind, "verbs": verbs})
            continue
        item: Object = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
            "singularResource": entry.get("singularName") or "",
            "verbs": verbs,
        }
        for field in ("shortNames", "categories"):
            if entry.get(field):
                item[field] = entry[field]
        found[name] = item
    for name, subresources in below.items():
        if name in found:
            found[name]["subresources"] = subresources
    return list(found.values())


def _gvk(group: str, version: str, kind: str) -> Object:
    return {"group": group, "version": version, "kind": kind}


def _storage_hash(resource: Resource) -> str:
    text = f"{resource.group}/{resource.version}/{resource.kind}".lstrip("/")
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _rank(version: str) -> tuple[int, int]:
    """v2 before v1 before v1beta1 before v1alpha1 before what looks like none of these."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return 3, 0
    weight = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return weight, -(int(match[1]) * 1000 + int(match[3] or 0))
