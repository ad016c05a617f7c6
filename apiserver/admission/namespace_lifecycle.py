"""NamespaceLifecycle: nothing is made in a namespace that is missing or going; three namespaces stay for ever."""

from __future__ import annotations

from apiserver.admission.plugin import refuse
from apiserver.types import AdmissionRequest, Object, Registry, Terms
from common.api.status import forbidden, not_found

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})

MOST_TERMS = 4096


class NamespaceLifecycle:
    name = "NamespaceLifecycle"

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store("", "namespaces")
        self._terms: dict[str, tuple[str, Terms]] = {}

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
        if request.operation == "CREATE":
            # Nothing may be made in it after another server was told to delete it.
            request.guards.append(self._unchanged(request.namespace, namespace["metadata"]["resourceVersion"]))
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

    def _unchanged(self, name: str, revision: str) -> Terms:
        known = self._terms.get(name)
        if known is None or known[0] != revision:
            if len(self._terms) >= MOST_TERMS:
                self._terms.clear()
            known = self._terms[name] = revision, self._store.unchanged("", name, revision)
        return known[1]

    async def _find(self, name: str) -> Object:
        cached = self._store.cached("", name)
        if cached is not None:
            return cached
        await self._store.fresh()  # made a moment ago, perhaps, and by another server
        cached = self._store.cached("", name)
        if cached is None:
            raise not_found("namespaces", name)
        return cached


def _is_terminating(namespace: Object) -> bool:
    phase = (namespace.get("status") or {}).get("phase")
    return phase == "Terminating" or "deletionTimestamp" in namespace["metadata"]
