"""Puts into etcd what every cluster has, and keeps it there.

Everything is compared with what is stored and only what is missing is written, so that a restart writes nothing and
several servers may do it at once. Roles are looked at until they are complete once (upstream: a post-start hook);
namespaces and the ``kubernetes`` service are watched over for good.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import orjson

from apiserver.allocation.spec import node_ports_of
from apiserver.authz.policy.rules import RBAC
from apiserver.bootstrap import authentication_trust, flow_control, kubernetes_service, local_services, objects
from apiserver.bootstrap.kubernetes_service import ServiceSettings
from apiserver.bootstrap.members import Members
from apiserver.managedfields.tracking import Write, track_create, track_update
from apiserver.resources.flow_control import GROUP as FLOW_CONTROL
from apiserver.types import Object, ObjectStore, Registry
from common.api.status import AlreadyExists, Conflict, NotFound
from common.api.time import now_text
from common.api.uid import new_uid

log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 0.5, 15.0
MANAGER = "kube-apiserver"
"""Who owns what the server itself has put there."""
INTERVAL = 10.0
"""How often the lasting part is looked at again (upstream's --endpoint-reconciler interval)."""


class Event(Protocol):
    def set(self) -> None: ...


class BootstrapSettings(ServiceSettings, Protocol):
    @property
    def client_ca_file(self) -> str | None: ...
    @property
    def requestheader_client_ca_file(self) -> str | None: ...
    @property
    def requestheader_allowed_names(self) -> Sequence[str]: ...
    @property
    def requestheader_username_headers(self) -> Sequence[str]: ...
    @property
    def requestheader_group_headers(self) -> Sequence[str]: ...
    @property
    def requestheader_extra_headers_prefix(self) -> Sequence[str]: ...


class Bootstrap:
    def __init__(self, registry: Registry, settings: BootstrapSettings, members: Members) -> None:
        self._registry = registry
        self._settings = settings
        self._members = members

    async def everything(self) -> None:
        await self.lasting()
        for wanted in local_services.api_services():
            await self._ensure(local_services.GROUP, "apiservices", wanted)
        for wanted in objects.priority_classes():
            await self._ensure("scheduling.k8s.io", "priorityclasses", wanted)
        for wanted in flow_control.priority_levels():
            await self._ensure(FLOW_CONTROL, "prioritylevelconfigurations", wanted)
        for wanted in flow_control.flow_schemas(now_text()):
            await self._ensure(FLOW_CONTROL, "flowschemas", wanted)
        for plural, make in (
            ("clusterroles", objects.cluster_roles),
            ("clusterrolebindings", objects.cluster_role_bindings),
            ("roles", objects.roles),
            ("rolebindings", objects.role_bindings),
        ):
            for wanted in make():
                await self._ensure_rbac(plural, wanted)

    async def lasting(self) -> None:
        for name in objects.NAMESPACES:
            await self._ensure("", "namespaces", objects.namespace(name))
        if self._settings.client_ca_file or self._settings.requestheader_client_ca_file:
            trust = authentication_trust.config_map(_text(self._settings.client_ca_file), _proxies(self._settings))
            await self._ensure("", "configmaps", trust, authentication_trust.completed)
        await self._ensure("", "services", kubernetes_service.service(self._settings), _same_ports)
        address, port = kubernetes_service.advertised(self._settings), self._settings.secure_port
        await self._members.join(address, port)
        await self._endpoints(address)

    async def _endpoints(self, own: str, *, last: bool = False) -> None:
        """The service leads to every API server that lives; it is never left without one.

        ``last``: the cache does not follow etcd any more.
        """
        members = await self._members.present()
        if not members:
            return
        await self._ensure("", "endpoints", kubernetes_service.endpoints(members), _same_subsets, cached=not last)
        family = ipaddress.ip_address(own).version
        if any(ipaddress.ip_address(address).version == family for address in members):
            wanted = kubernetes_service.endpoint_slice(members, family)
            await self._ensure("discovery.k8s.io", "endpointslices", wanted, _same_endpoints, cached=not last)

    async def leave(self) -> None:
        """This server stops: nobody is to be led here any more."""
        address = kubernetes_service.advertised(self._settings)
        await self._members.leave(address, self._settings.secure_port)
        await self._endpoints(address, last=True)

    async def _ensure_rbac(self, plural: str, wanted: Object) -> None:
        store = self._registry.store(RBAC, plural)
        namespace, name = wanted["metadata"].get("namespace", ""), wanted["metadata"]["name"]
        stored = store.cached(namespace, name)
        if stored is not None and stored.get("roleRef") != wanted.get("roleRef"):
            log.warning("%s %s refers to another role than it should: made anew", plural, name)
            await _delete(store, stored)
        await self._ensure(RBAC, plural, wanted, objects.completed)

    async def _ensure(
        self,
        group: str,
        plural: str,
        wanted: Object,
        repair: Callable[[Object, Object], Object | None] | None = None,
        *,
        cached: bool = True,
    ) -> None:
        """Creates the object, or lets ``repair`` say what the stored one should be (None: as it is).

        ``cached``: when the cache says that all is well, etcd is not asked.
        """
        store = self._registry.store(group, plural)
        namespace, name = wanted["metadata"].get("namespace", ""), wanted["metadata"]["name"]
        stored = store.cached(namespace, name)
        if stored is None:
            if await _create(store, wanted):
                log.debug("created %s %s", plural, name)
                return
        elif repair is None or (cached and repair(stored, wanted) is None):
            return
        if repair is not None:
            await store.update(namespace, name, _tracked(store, repair, wanted))


def _tracked(
    store: ObjectStore, repair: Callable[[Object, Object], Object | None], wanted: Object
) -> Callable[[Object], Object | None]:
    """The repair, and who owns what it changes."""

    def change(current: Object) -> Object | None:
        live: Object = orjson.loads(orjson.dumps(current))
        repaired = repair(current, wanted)
        if repaired is not None:
            repaired = {**repaired, "metadata": dict(repaired["metadata"])}
            track_update(Write(store.resource, MANAGER, now_text()), live, repaired)
        return repaired

    return change


def _text(file: str | None) -> str:
    """Read anew each time: certificates may be renewed while the server runs."""
    return Path(file).read_text() if file else ""


def _proxies(settings: BootstrapSettings) -> Mapping[str, str | Sequence[str]]:
    if not settings.requestheader_client_ca_file:
        return {}
    return {
        authentication_trust.PROXY_KEY: _text(settings.requestheader_client_ca_file),
        "requestheader-allowed-names": settings.requestheader_allowed_names,
        "requestheader-username-headers": settings.requestheader_username_headers,
        "requestheader-group-headers": settings.requestheader_group_headers,
        "requestheader-extra-headers-prefix": settings.requestheader_extra_headers_prefix,
    }


async def _create(store: ObjectStore, obj: Object) -> bool:
    """False when it is there already."""
    metadata = {**obj["metadata"], "uid": new_uid(), "creationTimestamp": now_text()}
    made: Object = {**obj, "metadata": metadata}
    track_create(Write(store.resource, MANAGER, metadata["creationTimestamp"]), made)
    try:
        await store.create(made)
    except AlreadyExists:
        return False
    return True


async def _delete(store: ObjectStore, obj: Object) -> None:
    """This very object: what another server has put in its place meanwhile stays."""
    metadata = obj["metadata"]
    with suppress(NotFound, Conflict):
        await store.delete(metadata.get("namespace", ""), metadata["name"], uid=metadata["uid"])


def _same_ports(stored: Object, wanted: Object) -> Object | None:
    """The service leads to this server's port; an address once given stays."""
    if stored["spec"].get("ports") == wanted["spec"]["ports"] and not node_ports_of(stored["spec"]):
        return None
    return {**stored, "spec": {**stored["spec"], "ports": wanted["spec"]["ports"]}}


def _same_subsets(stored: Object, wanted: Object) -> Object | None:
    return None if stored.get("subsets") == wanted["subsets"] else {**stored, "subsets": wanted["subsets"]}


def _same_endpoints(stored: Object, wanted: Object) -> Object | None:
    fields = ("endpoints", "ports")
    if all(stored.get(field) == wanted[field] for field in fields):
        return None
    return {**stored, **{field: wanted[field] for field in fields}}


async def run(bootstrap: Bootstrap, *, ready: Event | None = None) -> None:
    """Until cancelled. ``ready`` is set when everything was there once; failures are tried again."""
    await _until_done(bootstrap.everything)
    if ready is not None:
        ready.set()
    log.info("bootstrap objects are complete")
    while True:
        await asyncio.sleep(INTERVAL)
        await _until_done(bootstrap.lasting)


async def _until_done(work: Callable[[], Awaitable[None]]) -> None:
    delay = FIRST_RETRY
    while True:
        try:
            await work()
            return
        except Exception as error:  # etcd may be gone for a while: nothing may end this loop but its cancellation
            log.warning("bootstrap: %s: again in %.1f s", error, delay)
        await asyncio.sleep(delay)
        delay = min(delay * 2, LONGEST_RETRY)
