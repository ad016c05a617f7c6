"""NamespaceLifecycle: nothing is made in a namespace that is missing or going; three namespaces stay for ever."""

from __future__ import annotations

import asyncio

from apiserver.admission.plugin import refuse
from apiserver.types import AdmissionRequest, Object, Registry
from common.api.status import NotFound, forbidden, not_found

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
CACHE_WAIT_SECONDS = 0.05
"""A namespace made a moment ago may not be in the cache: a second look comes after this, then etcd is asked."""


class NamespaceLifecycle:
    name = "NamespaceLifecycle"

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store("", "namespaces")

    def handles(self, request: AdmissionRequest) -> bool:
        if request.resource.group == "" and request.resource.plural == "namespaces":
            return request.operation == "DELETE"
        # Access reviews tell what would be allowed; they make nothing.
        reviews = request.resource.group == "authorization.k8s.io"
        return bool(request.namespace) and not reviews and request.operation in ("CREATE", "UPDATE")

    async def admit(self, request: AdmissionRequest) -> None:
        if request.operation == "DELETE":
            return
        namespace = await self._find(request.namespace)
        if request.operation == "CREATE" and _is_terminating(namespace):
            text = f"unable to create new content in namespace {request.namespace} because it is being terminated"
            error = refuse(request, text)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {request.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            error.details = {**(error.details or {}), "causes": [cause]}
            raise error

    async def validate(self, request: AdmissionRequest) -> None:
        if request.operation == "DELETE" and request.name in IMMORTAL:
            raise forbidden("namespaces", request.name, "", "this namespace may not be deleted")

    async def _find(self, name: str) -> Object:
        cached = self._store.cached("", name)
        if cached is not None:
            return cached
        await asyncio.sleep(CACHE_WAIT_SECONDS)
        cached = self._store.cached("", name)
        if cached is not None:
            return cached
        try:
            return await self._store.get("", name)
        except NotFound:
            raise not_found("namespaces", name) from None


def _is_terminating(namespace: Object) -> bool:
    phase = (namespace.get("status") or {}).get("phase")
    return phase == "Terminating" or "deletionTimestamp" in namespace["metadata"]
