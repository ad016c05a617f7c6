"""The routes: discovery, NodeMetrics and PodMetrics, OpenAPI, health and metrics. An ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson
import prometheus_client

from addons.metrics_server import objects, openapi
from addons.metrics_server.access import OPEN_PATHS, Access, Attributes, User, not_found
from addons.metrics_server.objects import API_VERSION, GROUP, Object
from addons.metrics_server.storage import Storage, Usage
from common.api.selectors import Selector, parse_field_selector, parse_label_selector
from common.api.status import BadRequest, InternalError, MethodNotAllowed, NotFound, StatusError
from common.process import Health, version_info

log = logging.getLogger("metrics-server")

BASE = f"/apis/{API_VERSION}"
TABLES = {"v1", "v1beta1"}
FIELDS = ("metadata.name", "metadata.namespace")


@dataclass(frozen=True, slots=True)
class Known:
    """A node or pod of the cluster."""

    namespace: str
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    status: int = 200
    content_type: bytes = b"application/json"


@dataclass(frozen=True, slots=True)
class Asked:
    """A path below the group version."""

    resource: str
    namespace: str = ""
    name: str = ""

    @property
    def kind(self) -> str:
        return "NodeMetrics" if self.resource == "nodes" else "PodMetrics"


def parse_path(path: str) -> Asked | None:
    """None for what is not served."""
    parts = path.removeprefix(BASE).strip("/").split("/")
    match parts:
        case ["nodes" | "pods" as resource]:
            return Asked(resource)
        case ["nodes", name]:
            return Asked("nodes", "", name)
        case ["namespaces", namespace, "pods"]:
            return Asked("pods", namespace)
        case ["namespaces", namespace, "pods", name]:
            return Asked("pods", namespace, name)
    return None


class App:
    """``nodes`` and ``pods`` give what there is, by namespace ("" for all)."""

    def __init__(
        self,
        storage: Storage,
        access: Access,
        health: Health,
        nodes: Callable[[], Iterable[Known]],
        pods: Callable[[str], Iterable[Known]],
    ) -> None:
        self._storage = storage
        self._access = access
        self._health = health
        self._nodes = nodes
        self._pods = pods

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope)
        except StatusError as error:
            answer = Answer(orjson.dumps(error.to_status()), error.code)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            status = InternalError("Internal Server Error: the server met an unexpected condition").to_status()
            answer = Answer(orjson.dumps(status), 500)
        headers = [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            (b"cache-control", b"no-cache, private"),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _answer(self, scope: Any) -> Answer:
        path, method = scope["path"], scope["method"]
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if path.strip("/").partition("/")[0] in {each[1:] for each in OPEN_PATHS}:
            return await self._probe(path.strip("/"), query)
        user = await self._access.user((scope.get("state") or {}).get("peer"), list(scope["headers"]))
        if not path.startswith(f"{BASE}/") or path.rstrip("/") == BASE:
            return await self._other(user, path, method)
        asked = parse_path(path)
        if asked is None:
            raise NotFound("the server could not find the requested resource", {})
        verb = verb_of(method, asked, query)
        await self._access.authorize(user, Attributes(verb, asked.resource, asked.namespace, asked.name))
        if verb not in ("get", "list"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource", {})
        form = table_version(dict(scope["headers"]).get(b"accept", b"").decode("latin-1"))
        return Answer(orjson.dumps(self._metrics(asked, query, form)))

    # -- metrics ----------------------------------------------------------------------------------------------------

    def _metrics(self, asked: Asked, query: Mapping[str, Sequence[str]], form: str) -> Object:
        rows = self._selected(asked, query)
        found = [(item, usage) for known in rows if (made := self._made(asked, known)) for item, usage in [made]]
        if asked.name and not found:
            shown = f"{asked.namespace}/{asked.name}" if asked.namespace else asked.name
            raise not_found(asked.kind.lower(), shown)
        items = [item for item, _ in found]
        if form:
            include = first(query, "includeObject") or "Metadata"
            return objects.table(asked.kind, items, [usage for _, usage in found], include, form)
        return objects.single(asked.kind, items[0]) if asked.name else objects.listed(asked.kind, items)

    def _selected(self, asked: Asked, query: Mapping[str, Sequence[str]]) -> list[Known]:
        """What is there and asked for, in the order of an API server."""
        there = self._nodes() if asked.resource == "nodes" else self._pods(asked.namespace)
        if asked.name:
            return [known for known in there if known.name == asked.name]
        labels, fields = selectors(query)
        matching = [
            known
            for known in there
            if labels.matches(known.labels)
            and fields.matches({"metadata.name": known.name, "metadata.namespace": known.namespace})
        ]
        return sorted(matching, key=lambda known: (known.namespace, known.name))

    def _made(self, asked: Asked, known: Known) -> tuple[Object, Usage] | None:
        if asked.resource == "nodes":
            usage = self._storage.node(known.name)
            return (objects.node_metrics(known.name, known.labels, usage), usage) if usage is not None else None
        containers = self._storage.pod((known.namespace, known.name))
        if not containers:
            return None
        made = objects.pod_metrics(known.namespace, known.name, known.labels, containers)
        return made, objects.total(list(containers.values()))

    # -- beside them ------------------------------------------------------------------------------------------------

    async def _other(self, user: User, path: str, method: str) -> Answer:
        await self._access.authorize(user, Attributes(method.lower(), path=path))
        if method not in ("GET", "HEAD"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource", {})
        if path == "/metrics":
            return Answer(prometheus_client.generate_latest(), content_type=b"text/plain; version=0.0.4; charset=utf-8")
        documents: Mapping[str, Callable[[], Object]] = {
            "/apis": objects.api_versions,
            f"/apis/{GROUP}": objects.api_group,
            BASE: objects.resource_list,
            "/version": version_info,
            "/openapi/v3": openapi.index,
            f"/openapi/v3{BASE}": openapi.document,
        }
        make = documents.get(path.rstrip("/"))
        if make is None:
            raise NotFound("the server could not find the requested resource", {})
        return Answer(orjson.dumps(make()))

    async def _probe(self, path: str, query: Mapping[str, Sequence[str]]) -> Answer:
        name, _, check = path.partition("/")
        plain = b"text/plain; charset=utf-8"
        if check:
            if check not in self._health.names(ready=name == "readyz"):
                raise NotFound("the server could not find the requested resource", {})
            failure = await self._health.failure(check)
            text = "ok" if failure is None else f"internal server error: {failure}\n"
            return Answer(text.encode(), 200 if failure is None else 500, plain)
        well, lines = await self._health.report(ready=name == "readyz", exclude=query.get("exclude", ()))
        if well and "verbose" not in query:
            return Answer(b"ok", 200, plain)
        text = "\n".join([*lines, f"{name} check {'passed' if well else 'failed'}", ""])
        return Answer(text.encode(), 200 if well else 500, plain)


def verb_of(method: str, asked: Asked, query: Mapping[str, Sequence[str]]) -> str:
    if method in ("GET", "HEAD"):
        watch = first(query, "watch").lower() not in ("", "0", "false") and not asked.name
        return "watch" if watch else "get" if asked.name else "list"
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    verb = verbs.get(method, method.lower())
    return "deletecollection" if verb == "delete" and not asked.name else verb


def selectors(query: Mapping[str, Sequence[str]]) -> tuple[Selector, Selector]:
    """Raises BadRequest."""
    try:
        labels = parse_label_selector(first(query, "labelSelector"))
    except ValueError as error:
        raise BadRequest(f"unable to parse requirement: {error}") from None
    text = first(query, "fieldSelector")
    try:
        fields = parse_field_selector(text)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    for requirement in fields.requirements:
        if requirement.key not in FIELDS:
            raise BadRequest(
                f'Unable to find "metrics.k8s.io/v1beta1" that match label selector "", field selector "{text}": '
                f"field label not supported: {requirement.key}"
            )
    return labels, fields


def first(query: Mapping[str, Sequence[str]], name: str) -> str:
    values = query.get(name)
    return values[0] if values else ""


def table_version(accept: str) -> str:
    """The version of Table that is asked for before anything else; "" for the objects themselves."""
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        values = dict(part.partition("=")[::2] for part in parameters)
        if media not in ("application/json", "*/*", "application/*"):
            continue
        if values.get("as") == "Table" and values.get("g") == "meta.k8s.io" and values.get("v") in TABLES:
            return values["v"]
        if "as" not in values:
            return ""
    return ""
