"""APIServices as they are stored: which group versions are another server's, and how to reach it."""

from __future__ import annotations

import base64
import binascii
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from apiserver.types import Object, Registry

GROUP, PLURAL = "apiregistration.k8s.io", "apiservices"
AVAILABLE = "Available"


@dataclass(frozen=True, slots=True)
class Backend:
    """A group version that another server serves."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    authority: str
    """PEM; "" for what this machine trusts."""
    insecure: bool
    group_priority: int
    version_priority: int
    available: bool

    @property
    def server_name(self) -> str:
        return f"{self.service}.{self.namespace}.svc"

    @property
    def path(self) -> str:
        """Of its discovery document."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int


class Unresolved(Exception):
    """Nobody serves the Service; the text says why."""


def backend_of(obj: Object) -> Backend | None:
    """None for an APIService of this server's own."""
    spec = obj.get("spec") or {}
    service = spec.get("service")
    if not service:
        return None
    try:
        authority = base64.b64decode(spec.get("caBundle") or "").decode()
    except (binascii.Error, UnicodeDecodeError):
        authority = ""
    return Backend(
        name=obj["metadata"]["name"],
        group=spec.get("group") or "",
        version=spec.get("version") or "",
        namespace=service.get("namespace") or "",
        service=service.get("name") or "",
        port=int(service.get("port") or 443),
        authority=authority,
        insecure=bool(spec.get("insecureSkipTLSVerify")),
        group_priority=int(spec.get("groupPriorityMinimum") or 0),
        version_priority=int(spec.get("versionPriority") or 0),
        available=(condition_of(obj) or {}).get("status") == "True",
    )


def condition_of(obj: Object) -> Object | None:
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == AVAILABLE:
            found: Object = condition
            return found
    return None


class Table:
    """The backends by group and version, read again when an APIService has changed."""

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store(GROUP, PLURAL)
        self._backends: dict[tuple[str, str], Backend] = {}
        self._stale = True
        self.revision = 0
        """Raised with every change."""
        self._store.on_change(self._changed)

    def _changed(self, kind: str, obj: Object) -> None:
        self._stale = True
        self.revision += 1

    @property
    def backends(self) -> Mapping[tuple[str, str], Backend]:
        if self._stale:
            self._stale = False
            found = [each for obj in self._store.cached_list() if (each := backend_of(obj)) is not None]
            self._backends = {(each.group, each.version): each for each in found}
        return self._backends


def slices_of(registry: Registry, namespace: str, service: str) -> list[Object]:
    slices = registry.store("discovery.k8s.io", "endpointslices").cached_list(namespace)
    return [
        each for each in slices if (each["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service
    ]


def port_name(service: Object, port: int) -> str | None:
    """The name of a Service's port; None when it does not listen there."""
    for each in (service.get("spec") or {}).get("ports") or ():
        if each.get("port") == port:
            return str(each.get("name") or "")
    return None


def endpoints_of(slices: Iterable[Object], name: str) -> list[Endpoint]:
    """The ready ones, for the port of that name."""
    return [
        Endpoint(address, int(port["port"]))
        for each in slices
        for port in each.get("ports") or ()
        if (port.get("name") or "") == name and port.get("port")
        for endpoint in each.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint.get("addresses") or ()
    ]


def resolve(registry: Registry, backend: Backend) -> Endpoint:
    """Where to connect: one of the ready endpoints (this server is not behind the nodes' service rules). Raises
    Unresolved. Upstream: --enable-aggregator-routing."""
    service = registry.store("", "services").cached(backend.namespace, backend.service)
    if service is None:
        raise Unresolved(f'service "{backend.service}" not found')
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return Endpoint(str(spec.get("externalName") or ""), backend.port)
    name = port_name(service, backend.port)
    if name is None:
        raise Unresolved(f'no service port {backend.port} found for service "{backend.service}"')
    found: Sequence[Endpoint] = endpoints_of(slices_of(registry, backend.namespace, backend.service), name)
    if not found:
        raise Unresolved(f'no endpoints available for service "{backend.service}"')
    return random.choice(found)
