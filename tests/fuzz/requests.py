"""Requests of any shape: paths, queries, headers and bodies that are almost right, or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
import yaml

from apiserver.resources.table import RESOURCES
from apiserver.types import Resource
from tests.fuzz.objects import STRANGE, TEXTS, Maker

METHODS = ["GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"]
SUBRESOURCES = [
    "status",
    "scale",
    "eviction",
    "binding",
    "token",
    "resize",
    "ephemeralcontainers",
    "finalize",
    "approval",
]
ELSEWHERE = [
    "/",
    "/api",
    "/apis",
    "/apis/apps",
    "/api/v1",
    "/apis/apps/v1",
    "/version",
    "/healthz",
    "/livez/ping",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/api/v1",
    "/docs",
    "/apis/none/v1/none",
    "/api/v1/watch/pods",
    "/.well-known/openid-configuration",
    "/openid/v1/jwks",
    "/logs",
    "/debug/pprof",
]
ACCEPTS = [
    "application/json",
    "*/*",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "text/html",
    ";;;",
    "",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json",
    "application/json;q=x",
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "application/cbor",
    "application/json;stream=watch",
]
KINDS = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "text/plain",
    "",
    "application/json; charset=utf-8",
    "application/cbor",
]
PATCHES = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
]
SELECTORS = [
    "a=b",
    "a!=b",
    "a in (b,c)",
    "a notin (b)",
    "!a",
    "a",
    "a in ()",
    "a in (",
    ",",
    "a==b,,c",
    "=",
    "a=b=c",
    "é=1",
    "metadata.name=a",
    "spec.nodeName!=x",
    "status.phase=Running",
    "metadata.namespace=",
    "x" * 300,
]
REVISIONS = ["0", "1", "", "-1", "abc", "99999999", str(2**63), str(2**64), "1.5", "01"]

ODD = [
    ("authorization", "Bearer x"),
    ("authorization", "Bearer eyJhbGciOiJub25lIn0.e30."),
    ("authorization", "Basic YTpi"),
    ("accept-encoding", "gzip"),
    ("if-none-match", '"x"'),
    ("upgrade", "websocket"),
    ("upgrade", "h2c"),
    ("expect", "100-continue"),
    ("x-forwarded-for", "::1"),
    ("x", "\xff" * 1000),
]


@dataclass
class Wire:
    """One request."""

    method: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def shown(self) -> str:
        return f"{self.method} {self.path}?{self.query} {self.headers} {self.body[:2000]!r}"


class Requests:
    def __init__(self, seed: int) -> None:
        self.maker = Maker(seed)
        self.random = self.maker.random

    def one(self) -> Wire:
        pick, rand = self.random.choice, self.random.random
        method = pick(METHODS)
        resource = pick(RESOURCES)
        subresource = pick(SUBRESOURCES) if rand() < 0.2 else ""
        path = self._path(resource, method, subresource)
        if rand() < 0.05:
            path = pick(ELSEWHERE) + pick(["", "", "/", "/a", "?"])
        headers = [("accept", pick(ACCEPTS))] if rand() < 0.4 else []
        body = b""
        if method in ("POST", "PUT", "PATCH", "DELETE", "BREW") and rand() < 0.95:
            kind, body = self._body(method, resource, subresource)
            headers.append(("content-type", kind))
        if rand() < 0.1:
            headers += self._header()
        return Wire(method, path, self._query() if rand() < 0.5 else [], headers, body)

    def _path(self, resource: Resource, method: str, subresource: str) -> str:
        rand = self.random.random
        root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
        if resource.namespaced == (rand() < 0.97) and (method != "GET" or rand() < 0.8):
            root += f"/namespaces/{'default' if rand() < 0.9 else self._segment()}"
        root += f"/{resource.plural}"
        if subresource or (method != "POST" and rand() < 0.8):
            root += f"/{self._name()}"
        if subresource:
            root += f"/{subresource}"
        return root + (f"/{self._segment()}" if rand() < 0.02 else "")

    def _name(self) -> str:
        """Few names, so that requests meet what others made."""
        return f"o{self.random.randrange(3)}" if self.random.random() < 0.9 else self._segment()

    def _segment(self) -> str:
        return quote(self.random.choice([*STRANGE, *TEXTS, "%2e%2e", "a%00b"]), safe="%")

    def _query(self) -> list[tuple[str, str]]:
        pick = self.random.choice
        flags = ["true", "false", "1", "", "x", "All"]
        values = {
            "labelSelector": SELECTORS,
            "fieldSelector": SELECTORS,
            "limit": ["0", "1", "-1", "abc", "500", str(2**63)],
            "continue": [
                "",
                "abc",
                "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0",
                "e30",
                "====",
                "é",
            ],
            "resourceVersion": REVISIONS,
            "resourceVersionMatch": ["Exact", "NotOlderThan", "", "x"],
            "sendInitialEvents": flags,
            "allowWatchBookmarks": flags,
            "watch": flags,
            "timeoutSeconds": ["1", "0", "-1", "abc", "1.5"],
            "dryRun": flags,
            "fieldManager": ["m", "", "x" * 200, "\0"],
            "fieldValidation": ["Strict", "Warn", "Ignore", "x", ""],
            "force": flags,
            "pretty": flags,
            "gracePeriodSeconds": ["0", "-1", "30", "abc", str(2**63)],
            "propagationPolicy": ["Orphan", "Foreground", "Background", "x", ""],
            "orphanDependents": flags,
            "includeObject": ["None", "Metadata", "Object", "x"],
            "preconditions.uid": ["x"],
            "timeout": ["1s", "x", "-1s", "1000h", ""],
            "x": STRANGE,
        }
        names = self.random.sample(sorted(values), self.random.choice([1, 1, 2, 3, 5]))
        return [(name, pick(values[name])) for name in names] + (
            [("watch", "1")] if self.random.random() < 0.05 else []
        )

    def _header(self) -> list[tuple[str, str]]:
        """One that is odd. (Impersonating a group and no user is answered with 500 by upstream, and here.)"""
        if self.random.random() < 0.3:
            more = [("group", "g"), ("uid", "\xe9"), ("extra-a%2", "b"), ("group", ""), ("extra-", "\xff")]
            user = self.random.choice(
                ["u", "system:serviceaccount:a", "system:serviceaccount:a:b", "system:node:", "\xe9"]
            )
            name, value = self.random.choice(more)
            return [("impersonate-user", user), (f"impersonate-{name}", value)]
        return [self.random.choice(ODD)]

    # -- bodies

    def _body(self, method: str, resource: Resource, subresource: str) -> tuple[str, bytes]:
        pick, rand = self.random.choice, self.random.random
        obj = self._object(method, resource, subresource)
        if method == "PATCH":
            kind = pick(PATCHES) if rand() < 0.95 else pick(KINDS)
            return kind, self._damaged(_json(self._patch(kind, obj)))
        kind = "application/json" if rand() < 0.8 else pick(KINDS)
        if kind == "application/yaml":
            return kind, self._damaged(yaml.safe_dump(orjson.loads(_json(obj)), allow_unicode=True).encode())
        if kind.endswith("protobuf"):
            return kind, self._damaged(b"k8s\0" + self.random.choice(_ENVELOPES))
        return kind, self._damaged(_json(obj))

    def _object(self, method: str, resource: Resource, subresource: str) -> Any:
        name = self._name()
        if method == "DELETE":
            made: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
            for key, values in _DELETE.items():
                if self.random.random() < 0.3:
                    made[key] = self.random.choice(values)
            return made
        if subresource in _SENT and self.random.random() < 0.8:
            return {"metadata": {"name": name}, **self.random.choice(_SENT[subresource])}
        return self.maker.object(resource, name=name)

    def _patch(self, kind: str, obj: Any) -> Any:
        if kind == PATCHES[0]:
            paths = [
                "",
                "/metadata/labels",
                "/metadata/annotations/a",
                "/spec",
                "/status",
                "/spec/template/spec",
                "/x/0/y",
            ]
            operations = ["add", "remove", "replace", "move", "copy", "test", "x"]
            pick = self.random.choice
            return [
                {
                    "op": pick(operations),
                    "path": pick(paths),
                    "from": pick(paths),
                    "value": pick([obj, {}, None, "x", 1]),
                }
                for _ in range(pick([0, 1, 2, 3]))
            ]
        parts = self.random.sample(sorted(obj), self.random.randrange(len(obj) + 1)) if isinstance(obj, dict) else []
        return {key: obj[key] for key in parts} if self.random.random() < 0.9 else obj

    def _damaged(self, body: bytes) -> bytes:
        """As it is, mostly; or with some bytes lost, doubled or changed."""
        if self.random.random() < 0.85 or not body:
            return body
        damaged = bytearray(body)
        for _ in range(self.random.choice([1, 1, 2, 8])):
            at = self.random.randrange(len(damaged) + 1)
            act = self.random.randrange(4)
            if act == 0:
                damaged[at : at + self.random.choice([1, 5, 50])] = b""
            elif act == 1:
                damaged[at:at] = self.random.choice(_PIECES)
            elif act == 2 and at < len(damaged):
                damaged[at] = self.random.randrange(256)
            else:
                damaged[at:at] = damaged[at : at + 30]
        return bytes(damaged)


def _json(value: Any) -> bytes:

    return json.dumps(value).encode()


_PIECES = [
    b"{",
    b"}",
    b"[" * 50,
    b'"',
    b"\0",
    b"\xff\xfe",
    b"null",
    b"1e999",
    b"NaN",
    b",",
    b":",
    b"&a *a",
    b"!!python/x ",
    b"\n- ",
    b"99999999999999999999",
    b'"kind":"Pod",',
    b"\xc3",
    b"[" * 3000,
]
_ENVELOPES = [
    b"",
    b"\n\x0b\n\x02v1\x12\x05Event\x12\x00",
    b"\n\x0b\n\x02v1\x12\x03Pod\x12\x10\n\x05\n\x01aa\x12\x07\x12\x05\n\x01c",
    b"\n\x09\n\x02v1\x12\x03Pod\x12\x0a\n\x08\n\x02o1\x12\x00\x1a\x00",
    b"\xff" * 20,
    b"\n\xff\xff\xff\xff\x0f",
    b"\n\x0f\n\x02v1\x12\x09ConfigMap\x12\x06\n\x04\n\x02o1",
]
_DELETE: dict[str, list[Any]] = {
    "gracePeriodSeconds": [0, -1, 30, 2**63 - 1, -(2**63), "x", None],
    "propagationPolicy": ["Orphan", "Foreground", "Background", "x", 1],
    "orphanDependents": [True, "x"],
    "preconditions": [{"uid": "x"}, {"resourceVersion": "1"}, {}, [], None],
    "dryRun": [["All"], ["x"], "All", []],
    "kind": ["DeleteOptions", "Pod"],
}
_SENT: dict[str, list[dict[str, Any]]] = {
    "eviction": [
        {"kind": "Eviction", "apiVersion": "policy/v1"},
        {"kind": "Eviction", "apiVersion": "policy/v1", "deleteOptions": 1},
    ],
    "binding": [
        {"kind": "Binding", "apiVersion": "v1", "target": {"kind": "Node", "name": "n"}},
        {"kind": "Binding", "apiVersion": "v1"},
    ],
    "token": [
        {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": {"audiences": ["a"], "expirationSeconds": 600},
        },
        {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"expirationSeconds": 2**40}},
        {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": {"boundObjectRef": {"kind": "Pod", "name": "o1"}},
        },
    ],
    "scale": [
        {"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 1}},
        {"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": -1}},
        {"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {}},
        {"kind": "Scale", "apiVersion": "v1"},
    ],
}
