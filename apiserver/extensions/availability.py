"""Whether aggregated servers answer: the condition Available of APIServices, by upstream's checks and reasons.

Every check asks the far end for its discovery document, which is kept: it is what discovery shows of that group.
Upstream: kube-aggregator/pkg/controllers/status/remote.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from apiserver.extensions.services import (
    AVAILABLE,
    GROUP,
    PLURAL,
    Backend,
    Unresolved,
    backend_of,
    condition_of,
    endpoints_of,
    port_name,
    resolve,
    slices_of,
)
from apiserver.extensions.transport import AGGREGATOR, Transport, identity
from apiserver.managedfields.tracking import Write, track_update
from apiserver.subresources import upstream
from apiserver.subresources.relay import reason
from apiserver.subresources.upstream import Target
from apiserver.types import Object, Registry
from common.api.status import NotFound
from common.api.time import now_text
from common.controller import Controller

log = logging.getLogger(__name__)

MANAGER = "kube-apiserver"
RESYNC = 30.0
"""Seconds between two checks of a server that is well."""
RETRY = 5.0
"""Seconds until one that is not well is looked at again."""
PATIENCE = 5.0
MOST = 1 << 20
"""Bytes of a discovery document that are read."""
ATTEMPTS = 3
"""Endpoints that are tried: one well is enough."""


@dataclass(frozen=True, slots=True)
class Documents:
    """What a server says of a group version: its resources, and where its OpenAPI is ("" for nowhere)."""

    resources: list[Object]
    openapi: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    status: str
    reason: str
    message: str


PASSED = Verdict("True", "Passed", "all checks passed")
LOCAL = Verdict("True", "Local", "Local APIServices are always available")


class Availability:
    """``found`` is told what a backend serves (None: it does not answer)."""

    def __init__(
        self, registry: Registry, transport: Transport, found: Callable[[Backend, Documents | None], None]
    ) -> None:
        self._registry = registry
        self._transport = transport
        self._found = found
        self._store = registry.store(GROUP, PLURAL)
        self._controller = Controller("apiservice-availability", self._reconcile)
        self._store.on_change(lambda kind, obj: self._controller.queue.add(obj["metadata"]["name"]))
        registry.store("", "services").on_change(lambda kind, obj: self._service_changed(obj, _name(obj)))
        slices = registry.store("discovery.k8s.io", "endpointslices")
        slices.on_change(lambda kind, obj: self._service_changed(obj, _service_of(obj)))

    async def run(self) -> None:
        """Until cancelled. The cache must be there."""
        for obj in self._store.cached_list():
            self._controller.queue.add(obj["metadata"]["name"])
        await self._controller.run()

    def _service_changed(self, obj: Object, service: str) -> None:
        namespace = obj["metadata"].get("namespace", "")
        for each in self._store.cached_list():
            ref = (each.get("spec") or {}).get("service") or {}
            if ref.get("name") == service and ref.get("namespace") == namespace:
                self._controller.queue.add(each["metadata"]["name"])

    async def _reconcile(self, name: str) -> float | None:
        obj = self._store.cached("", name)
        if obj is None:
            return None
        backend = backend_of(obj)
        if backend is None:
            await self._write(name, LOCAL)
            return None
        verdict, documents = await self.check(backend)
        self._found(backend, documents)
        await self._write(name, verdict)
        return RESYNC if verdict.status == "True" else RETRY

    async def check(self, backend: Backend) -> tuple[Verdict, Documents | None]:
        problem = self._problem(backend)
        if problem is not None:
            return problem, None
        failure = ""
        for _ in range(ATTEMPTS):
            try:
                return PASSED, await self._ask(backend)
            except _Failed as error:
                failure = str(error)
        return Verdict("False", "FailedDiscoveryCheck", failure), None

    def _problem(self, backend: Backend) -> Verdict | None:
        """What is wrong before anybody is asked."""
        name, namespace = backend.service, backend.namespace
        service = self._registry.store("", "services").cached(namespace, name)
        if service is None:
            return Verdict("False", "ServiceNotFound", f'service/{name} in "{namespace}" is not present')
        if (service.get("spec") or {}).get("type", "ClusterIP") != "ClusterIP":
            return None
        port = port_name(service, backend.port)
        if port is None:
            text = f'service/{name} in "{namespace}" is not listening on port {backend.port}'
            return Verdict("False", "ServicePortError", text)
        slices = slices_of(self._registry, namespace, name)
        if not slices:
            text = f'cannot find endpointslices for service/{name} in "{namespace}"'
            return Verdict("False", "EndpointsNotFound", text)
        if not endpoints_of(slices, port):
            where = f'endpointslices for service/{name} in "{namespace}"'
            text = f"{where} have no addresses with port name {json.dumps(port)}"
            return Verdict("False", "MissingEndpoints", text)
        return None

    async def _ask(self, backend: Backend) -> Documents:
        try:
            endpoint = resolve(self._registry, backend)
        except Unresolved as error:
            raise _Failed(str(error)) from None
        try:
            # Whose certificate it is does not matter for this question (upstream does not look either).
            target = self._transport.target(backend, endpoint, verify=False)
        except (OSError, ValueError) as error:
            raise _Failed(str(error)) from None
        url = f"https://{target.authority}{backend.path}"
        status, body = await _get(target, backend.path, url)
        if not 200 <= status < 300:
            raise _Failed(f"failing or missing response from {url}: bad status from {url}: {status}")
        try:
            document = orjson.loads(body)
            resources = document.get("resources") or []
        except (ValueError, AttributeError):
            resources = []  # it answers: that is what was asked
        return Documents(resources, await self._openapi(target, backend))

    async def _openapi(self, target: Target, backend: Backend) -> str:
        """Where the document of this group version is; a server need not have one."""
        try:
            status, body = await _get(target, "/openapi/v3", "")
            paths = orjson.loads(body)["paths"] if status == 200 else {}
            return str(paths[backend.path[1:]]["serverRelativeURL"])
        except (_Failed, ValueError, LookupError, TypeError):
            return ""

    async def _write(self, name: str, verdict: Verdict) -> None:
        """Only what differs: several servers say the same."""

        def change(obj: Object) -> Object | None:
            before = condition_of(obj) or {}
            wanted: dict[str, Any] = {"status": verdict.status, "reason": verdict.reason, "message": verdict.message}
            if all(before.get(key) == value for key, value in wanted.items()):
                return None
            since = before.get("lastTransitionTime")
            if before.get("status") != verdict.status or not since:
                since = now_text()
            condition = {"type": AVAILABLE, **wanted, "lastTransitionTime": since}
            others = [c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") != AVAILABLE]
            live: Object = orjson.loads(orjson.dumps(obj))
            made = {**obj, "metadata": dict(obj["metadata"]), "status": {"conditions": [*others, condition]}}
            track_update(Write(self._store.resource, MANAGER, now_text(), "status"), live, made)
            log.info("APIService %s: %s (%s) %s", name, verdict.status, verdict.reason, verdict.message)
            return made

        try:
            await self._store.update("", name, change)
        except NotFound:
            return


class _Failed(Exception):
    """The text says why, in upstream's words."""


async def _get(target: Target, path: str, url: str) -> tuple[int, bytes]:
    headers = [*identity(AGGREGATOR), (b"accept", b"application/json"), (b"user-agent", b"kube-apiserver")]
    try:
        async with asyncio.timeout(PATIENCE), upstream.request(target, "GET", path, headers) as answer:
            body = bytearray()
            async for chunk in answer.chunks():
                body += chunk
                if len(body) > MOST:
                    raise _Failed(f"failing or missing response from {url}: it is too long")
            return answer.status, bytes(body)
    except OSError as error:
        detail = "context deadline exceeded" if isinstance(error, TimeoutError) else reason(target, error)
        raise _Failed(f'failing or missing response from {url}: Get "{url}": {detail}') from None


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def _service_of(obj: Object) -> str:
    return str((obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name") or "")
