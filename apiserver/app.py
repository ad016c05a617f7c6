"""The application: authenticate, authorise, route to a resource and a verb, answer.

The resource verbs are routed here, by splitting the path: a framework's route costs more than many of the verbs do.
What people look at (health, version, metrics, docs) are FastAPI endpoints on the application behind it (``web``).
Whatever happens, the answer is a Status object.
https://kubernetes.io/docs/concepts/security/controlling-access/
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, cast

from apiserver import depth
from apiserver.authn import impersonation
from apiserver.authz.messages import forbidden_error
from apiserver.endpoints import paths
from apiserver.endpoints.answers import finish, refusal
from apiserver.endpoints.api import Api
from apiserver.endpoints.create import create
from apiserver.endpoints.delete import delete
from apiserver.endpoints.deletecollection import delete_collection
from apiserver.endpoints.discovery import Discovery, Spec
from apiserver.endpoints.get import get
from apiserver.endpoints.list import list_objects
from apiserver.endpoints.patch import patch
from apiserver.endpoints.paths import ResourcePath
from apiserver.endpoints.request import PIECE, Answer, Receive, Request, Scope, Send, Target, send_answer
from apiserver.endpoints.scale import get_scale, patch_scale, update_scale
from apiserver.endpoints.update import update
from apiserver.endpoints.watch import watch
from apiserver.extensions import Aggregator
from apiserver.limits import PROBES, Limits, Pool, is_long_running, too_late
from apiserver.metrics import Metrics
from apiserver.storage.figures import figures
from apiserver.types import Attributes, Authenticator, Authorizer, Connection, Resource
from apiserver.wire import transcode
from common.api.selectors import parse_field_selector
from common.api.status import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    StatusError,
    method_not_supported,
)
from common.aside import aside

log = logging.getLogger(__name__)

Verb = Callable[[Api, Request, Target], Awaitable[Answer]]
Connect = Callable[[Connection, Any, Any, Any], Awaitable[None]]
SYNC_TIMEOUT = 10.0
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
CONNECTED = frozenset(("attach", "exec", "portforward", "proxy"))
"""Subresources that are reported as CONNECT, whatever the method."""
LONG_SELECTOR = 2048
"""Characters of a field selector in which no name is looked for: to read it would take long, and a name is shorter."""
UNSYNCED = ("/version", "/healthz", "/livez", "/readyz")
"""What is answered before the caches are there."""

_COLLECTION: Mapping[str, str] = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_OBJECT: Mapping[str, str] = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}
_VERBS: Mapping[str, Verb] = {
    "get": get,
    "list": list_objects,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}
_STATUS_VERBS: Mapping[str, Verb] = {"get": get, "update": update, "patch": patch}
_SCALE_VERBS: Mapping[str, Verb] = {"get": get_scale, "update": update_scale, "patch": patch_scale}


def _unknown(request: Request) -> tuple[str, ...]:
    """What a request is counted by that is about no resource."""
    return (request.method if request.method in METHODS else "",)


def not_served() -> NotFound:
    return NotFound("the server could not find the requested resource", {})


def verb_of(request: Request, path: ResourcePath) -> str:
    """The verb that is authorised and counted; "" for a method that there is no verb for."""
    if path.watch:
        return "watch" if request.method == "GET" else ""
    if request.method == "GET" and not path.name and request.flag("watch"):
        return "watch"
    verbs = _OBJECT if path.name else _COLLECTION
    return verbs.get("GET" if request.method == "HEAD" else request.method, "")


class ApiServer:
    """The ASGI application."""

    def __init__(
        self,
        api: Api,
        *,
        resources: Iterable[Resource],
        authenticator: Authenticator,
        authorizer: Authorizer,
        specs: Mapping[tuple[str, str, str], Spec],
        handlers: Mapping[tuple[str, str, str], Connect],
        web: Any,
        metrics: Metrics,
        limits: Limits | None = None,
        aggregator: Aggregator | None = None,
    ) -> None:
        self._api = api
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._handlers = handlers
        self._web = web
        self._metrics = metrics
        self._limits = limits or Limits()
        metrics.sources += [self._limits.figures, lambda: figures(api.stores.stores())]
        self._subresources = {"status", "scale"} | {subresource for _, _, subresource in handlers}
        self._resources: dict[tuple[str, str, str], Resource] = {(r.group, r.version, r.plural): r for r in resources}
        self._aggregator = aggregator
        self._discovery = Discovery(self._resources.values(), specs, aggregator)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} connections are not served")
        request, loop = Request(scope, receive), asyncio.get_running_loop()
        request.began = loop.time()
        sent = _Sent(send)
        self._limits.begin(request)
        code, size, stuck = 200, 0, False
        try:
            try:
                answer = await self._respond(request, sent)
                if answer is not None:
                    answer = await finish(request, answer)
            except StatusError as error:
                answer = await refusal(request, error)
            except RecursionError:
                answer = await refusal(request, BadRequest(depth.TEXT))
            except asyncio.CancelledError:
                if not request.expired:
                    raise
                cast("asyncio.Task[None]", asyncio.current_task()).uncancel()
                answer = await self._ended(request, too_late())
            except Exception:
                log.exception("%s %s failed", request.method, request.path)
                text = "Internal Server Error: the server met an unexpected condition"
                answer = await refusal(request, InternalError(text))
            if answer is not None and not sent.status:
                code, size = answer.status, len(answer.body)
                await send_answer(scope, sent, answer, request.warnings)
            else:
                # What was sent by itself; if it broke off, the connection ends there.
                code = sent.status or 200
        except asyncio.CancelledError:
            if not request.expired:
                raise
            code, stuck = 504, True  # the client does not take its answer
        finally:
            self._limits.end(request)
            if request.pool is not None:
                request.pool.leave()
        if stuck:
            request.abort()
        self._metrics.series(request.kind or _unknown(request)).observe(code, loop.time() - request.began, size)

    async def _ended(self, request: Request, error: StatusError) -> Answer:
        """The answer of a request that the server ends to defend itself."""
        self._metrics.terminated(request.kind or _unknown(request), error.code)
        answer = await refusal(request, error)
        answer.headers = [*answer.headers, (b"connection", b"close")]
        return answer

    async def _respond(self, request: Request, send: _Sent) -> Answer | None:
        """The answer, or None when it has been sent."""
        request.user = await self._authenticator.authenticate(request.scope)
        path = paths.parse(request.path) if request.path.startswith("/api") else None
        if impersonation.asked(request.scope["headers"]):
            await self._act_as_another(request)
        if path is None or not path.resource:
            return await self._outside(request, send)
        verb = verb_of(request, path)
        if not self._api.stores.feed.synced.is_set():
            await self._wait_for_sync()
        backend = self._aggregator.backend(path.group, path.version) if self._aggregator is not None else None
        resource = self._resources.get((path.group, path.version, path.resource)) if backend is None else None
        if resource is not None:
            request.kind = self._kind(request, path, verb)
        lasts = is_long_running(verb, path.subresource)
        if lasts:
            self._limits.end(request)
        else:
            self._admit(request, self._limits.pool(verb))
        self._authorize(request, path, verb)
        if backend is not None and self._aggregator is not None:
            return await self._aggregator.serve(backend, request, send)
        if resource is None:
            raise not_served()
        if (not verb or request.method == "HEAD") and path.subresource != "proxy":
            raise _not_allowed()
        if not lasts:
            return await self._resource(request, send, path, resource, verb)
        series = self._metrics.series(request.kind)
        series.running += 1
        try:
            return await self._resource(request, send, path, resource, verb)
        finally:
            series.running -= 1

    def _kind(self, request: Request, path: ResourcePath, verb: str) -> tuple[str, ...]:
        """The values of a metrics.Kind: only what is served, since each makes a row for good."""
        subresource = path.subresource if path.subresource in self._subresources else ""
        if subresource in CONNECTED:
            verb = "connect"
        elif verb == "patch" and request.header(b"content-type").startswith("application/apply-patch+"):
            verb = "apply"
        scope = "resource" if path.name else "namespace" if path.namespace else "cluster"
        dry_run = "All" if b"dryRun=All" in request.scope["query_string"] else ""
        return verb, path.group, path.version, path.resource, subresource, scope, dry_run

    def _admit(self, request: Request, pool: Pool) -> None:
        """Counts a request that is not to last, and heeds the time that its client gives it."""
        if b"timeout=" in request.scope["query_string"]:
            self._limits.shorten(request)
        if pool.enter(request.user):
            request.pool = pool

    async def _resource(
        self, request: Request, send: _Sent, path: ResourcePath, resource: Resource, verb: str
    ) -> Answer | None:
        _check_scope(path, resource)
        if path.subresource != "proxy" and request.header(b"content-type").startswith(transcode.CONTENT_TYPE):
            await _as_json(request)
        handler = self._handlers.get((path.group, path.resource, path.subresource))
        if handler is not None:
            if verb == "watch":  # was authorised as a watch, and would be done as something else
                raise not_served() if path.watch else method_not_supported(resource.plural, resource.group, verb)
            connection = Connection(resource, path.subresource, path.namespace, path.name, request.user, path.rest)
            await handler(connection, request.scope, request.receive, send)
            return None
        namespace = path.namespace if resource.namespaced else ""
        target = Target(resource, namespace, path.name, path.subresource)
        if path.subresource:
            run = self._verbs_of(target).get(verb)
            if run is None:
                raise _not_allowed()
            return await run(self._api, request, target)
        if verb not in resource.verbs or (verb == "create" and path.name):
            raise _not_allowed()
        if resource.namespaced and not namespace and verb not in ("list", "watch", "deletecollection"):
            if verb != "create":
                raise not_served()
            raise BadRequest("an empty namespace may not be set during creation")
        if verb == "watch":
            await watch(self._api, request, target, send, self._limits.watch_seconds())
            return None
        return await _VERBS[verb](self._api, request, target)

    @staticmethod
    def _verbs_of(target: Target) -> Mapping[str, Verb]:
        """Of a subresource that every kind may have."""
        resource = target.resource
        if target.subresource == "status" and resource.status:
            return _STATUS_VERBS
        if target.subresource == "scale" and resource.scale is not None:
            return _SCALE_VERBS
        raise not_served()

    async def _outside(self, request: Request, send: _Sent) -> Answer | None:
        """Discovery, and what is no part of the API proper."""
        path = request.path
        if not path.startswith(PROBES):
            self._admit(request, self._limits.pool(request.method.lower()))
        if not self._api.stores.feed.synced.is_set() and not path.startswith(UNSYNCED):
            await self._wait_for_sync()
        attributes = Attributes(request.user, request.method.lower(), path=path, is_resource=False)
        allowed, reason = self._authorizer.authorize(attributes)
        if not allowed:
            raise forbidden_error(attributes, reason)
        if self._aggregator is not None and (found := _aggregated(path)) is not None:
            backend = self._aggregator.backend(*found)
            if backend is not None:
                serve = self._aggregator.serve_openapi if path.startswith("/openapi") else self._aggregator.serve
                return await serve(backend, request, send)
        if path.rstrip("/") in ("/api", "/apis") or path.startswith(("/api/", "/apis/")):
            if request.method not in ("GET", "HEAD"):
                raise _not_allowed()
            answer = self._discovery.answer(request)
            if answer is None:
                raise not_served()
            return answer
        await self._web(request.scope, request.receive, send)
        return None

    async def _act_as_another(self, request: Request) -> None:
        if not self._api.stores.feed.synced.is_set():
            await self._wait_for_sync()
        headers = request.scope["headers"]
        request.user = impersonation.impersonate(request.user, headers, self._authorizer)
        request.set_headers(impersonation.without(headers))

    def _authorize(self, request: Request, path: ResourcePath, verb: str) -> None:
        name = path.name
        selector = request.param("fieldSelector") if verb in ("list", "watch", "deletecollection") else ""
        if selector and not name:
            name = _selected_name(selector)
        attributes = Attributes(
            request.user,
            verb,
            path.group,
            path.version,
            path.resource,
            path.subresource,
            path.namespace,
            name,
            request.path,
            True,
            selector,
        )
        allowed, reason = self._authorizer.authorize(attributes)
        if not allowed:
            raise forbidden_error(attributes, reason)

    async def _wait_for_sync(self) -> None:
        """At the start, and only then: nothing can be authorised before the caches are there."""
        try:
            async with asyncio.timeout(SYNC_TIMEOUT):
                await self._api.stores.feed.synced.wait()
        except TimeoutError:
            raise ServiceUnavailable(
                "the server is currently unable to handle the request", {"retryAfterSeconds": 1}
            ) from None


async def _as_json(request: Request) -> None:
    """Replaces a protobuf body by its JSON, for everything that comes after."""
    body = await request.body()
    content = await aside(len(body), transcode.to_json, body) if body else b""
    headers = [(k, v) for k, v in request.scope["headers"] if k not in (b"content-type", b"content-length")]
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    request.set_headers(headers)
    request.replay(content)


def _check_scope(path: ResourcePath, resource: Resource) -> None:
    """A cluster's resource is not found below a namespace: there, the rights in that namespace would be enough for it.

    A Namespace is below itself, so that its own roles can be about it.
    """
    own = resource.plural == "namespaces" and path.namespace == path.name
    if path.namespace and not resource.namespaced and not own:
        raise not_served()


class _Sent:
    """``send`` that remembers whether, and with which status, an answer has begun, and sends a large body in pieces.

    A transport takes all it is given, and over TLS it says only at the next piece that it is too much. In pieces, the
    request is in flight, and its time runs, for as long as the server holds its answer.
    """

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif len(body := message.get("body", b"")) > PIECE:
            begin = len(body) - (len(body) % PIECE or PIECE)
            for at in range(0, begin, PIECE):
                piece = memoryview(body)[at : at + PIECE]
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            message = {**message, "body": body[begin:]}
        await self._send(message)


def _aggregated(path: str) -> tuple[str, str] | None:
    """The group version that a path is about which is about no resource: of discovery, or of OpenAPI."""
    parts = path.strip("/").removeprefix("openapi/v3/").split("/")
    if parts[0] == "apis" and len(parts) >= 3:
        return parts[1], parts[2]
    return ("", parts[1]) if parts[0] == "api" and len(parts) >= 2 else None


def _selected_name(field_selector: str) -> str:
    """The one object that a list or watch is limited to, so that a role for that name is enough."""
    if "metadata.name" not in field_selector or len(field_selector) > LONG_SELECTOR:
        return ""
    try:
        return parse_field_selector(field_selector).exact("metadata.name") or ""
    except ValueError:
        return ""


def _not_allowed() -> MethodNotAllowed:
    return MethodNotAllowed("the server does not allow this method on the requested resource", {})
