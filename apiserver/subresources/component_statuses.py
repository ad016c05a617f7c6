"""componentstatuses: how the scheduler, the controller-manager and etcd are, looked up when somebody asks.

Upstream calls /healthz of the first two on its own address, where they often are not. Here their leader's Lease says
whether they live: whoever leads renews it every few seconds, wherever it runs.
https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/component-status-v1/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import orjson

from apiserver.endpoints.options import list_options
from apiserver.endpoints.request import Answer, Request, Send
from apiserver.endpoints.views import ListMeta, view_for
from apiserver.storage.cache import Entry
from apiserver.subresources.context import Context
from apiserver.types import Connection, Object
from common.api.status import StatusError, not_found
from common.api.time import now, parse_rfc3339

LEASES = {"scheduler": "kube-scheduler", "controller-manager": "kube-controller-manager"}
NAMESPACE = "kube-system"
DEPRECATED = "v1 ComponentStatus is deprecated in v1.19+"


def lease_problem(lease: Object | None, name: str) -> str:
    """Why the holder of a Lease is not well; "" when it is."""
    spec = (lease or {}).get("spec") or {}
    if not spec.get("holderIdentity") or not spec.get("renewTime"):
        return f'nobody holds lease "{name}" in {NAMESPACE}'
    ago = now() - parse_rfc3339(spec["renewTime"])
    if ago > timedelta(seconds=spec.get("leaseDurationSeconds") or 15):
        return f'{spec["holderIdentity"]} renewed lease "{name}" {int(ago.total_seconds())}s ago'
    return ""


def status_of(name: str, problem: str) -> Object:
    condition = {"type": "Healthy", "status": "True", "message": "ok"}
    if problem:
        condition = {"type": "Healthy", "status": "False", "message": problem}
    metadata = {"name": name, "creationTimestamp": None}
    return {"kind": "ComponentStatus", "apiVersion": "v1", "metadata": metadata, "conditions": [condition]}


def _checks(context: Context) -> dict[str, Callable[[], Awaitable[str]]]:
    async def etcd() -> str:
        try:
            await context.api.stores.etcd.check_version()
        except StatusError as error:
            return error.message
        return ""

    def lease(name: str) -> Callable[[], Awaitable[str]]:
        async def check() -> str:
            return lease_problem(context.store("coordination.k8s.io", "leases").cached(NAMESPACE, name), name)

        return check

    return {**{name: lease(of) for name, of in LEASES.items()}, "etcd-0": etcd}


async def handle(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    view = view_for(request, connection.resource)
    request.warnings.append(DEPRECATED)
    checks = _checks(context)
    if connection.name:
        if connection.name not in checks:
            raise not_found(connection.resource.plural, connection.name)
        return Answer(view.object(status_of(connection.name, await checks[connection.name]())))
    fields = list_options(request, connection.resource).fields
    found = []
    for name, check in checks.items():
        if fields.matches({"metadata.name": name}):
            obj = status_of(name, await check())
            found.append(Entry("", name, 0, orjson.dumps(obj), obj, {}))
    return Answer(view.collection(found, ListMeta(0)))
