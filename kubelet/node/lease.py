"""The node's heartbeat: a Lease in kube-node-lease, renewed four times in its duration: by default every ten seconds.

https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
"""

from __future__ import annotations

import asyncio
import logging
import time

from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node

from common.api.meta import clone, meta_of
from common.api.status import AlreadyExists, Conflict, NotFound
from common.api.time import now_micro
from common.client import Client

log = logging.getLogger("kubelet.node")

NAMESPACE = "kube-node-lease"
DURATION = 40
RENEWALS = 4
"""In one duration."""
_TRIES = 5
_BACKOFF_START, _BACKOFF_LIMIT = 0.2, 7.0


class NodeLease:
    """Renews the Lease until cancelled, whatever happens to the API server meanwhile."""

    def __init__(self, client: Client, node_name: str, duration: int = DURATION) -> None:
        """``duration`` in seconds."""
        self._duration = duration
        self._pause = duration / RENEWALS
        self._client = client
        self._name = node_name
        self._held: Lease | None = None

    async def run(self) -> None:
        delay, due = _BACKOFF_START, time.monotonic()
        while True:
            try:
                async with asyncio.timeout(self._pause):
                    await self.renew()
                delay = _BACKOFF_START
                due = max(due + self._pause, time.monotonic())
                await asyncio.sleep(due - time.monotonic())
            except Exception as error:
                log.warning("lease of node %s not renewed, again in %.1f s: %s", self._name, delay, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _BACKOFF_LIMIT)

    async def renew(self) -> None:
        """Writes the time; makes the Lease when there is none; reads it again when someone else wrote."""
        for _ in range(_TRIES):
            try:
                held = self._held
                if held is None:
                    held = await self._client.get(Lease, self._name, NAMESPACE)
                self._held = await self._client.replace(
                    renewed(held, self._name, await self._owner_of(held), self._duration)
                )
                return
            except Conflict:
                self._held = None
            except NotFound:
                self._held = None
                await self._create()
                return
        raise Conflict(f"the lease {self._name} was written by others {_TRIES} times in a row")

    async def _create(self) -> None:
        fresh = Lease(metadata=ObjectMeta(name=self._name, namespace=NAMESPACE))
        try:
            self._held = await self._client.create(renewed(fresh, self._name, await self._owner(), self._duration))
        except AlreadyExists:
            log.info("lease of node %s was made by someone else", self._name)

    async def _owner_of(self, lease: Lease) -> OwnerReference | None:
        return None if meta_of(lease).ownerReferences else await self._owner()

    async def _owner(self) -> OwnerReference | None:
        """The Node, so that the Lease goes with it; none while the node is not registered."""
        try:
            node = await self._client.get(Node, self._name)
        except NotFound:
            return None
        return OwnerReference(apiVersion="v1", kind="Node", name=self._name, uid=meta_of(node).uid or "")


def renewed(lease: Lease, holder: str, owner: OwnerReference | None, duration: int = DURATION) -> Lease:
    """A copy that is held now."""
    copy = clone(lease)
    meta = copy.metadata or ObjectMeta(name=holder, namespace=NAMESPACE)
    if owner is not None and not meta.ownerReferences:
        meta.ownerReferences = [owner]
    copy.metadata = meta
    spec = copy.spec or LeaseSpec()
    spec.holderIdentity = holder
    spec.leaseDurationSeconds = duration
    spec.renewTime = now_micro()
    copy.spec = spec
    return copy
