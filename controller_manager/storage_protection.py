"""A claim outlives the pods that use it, and a volume the claim that is bound to it.

Admission puts a finalizer on both (StorageObjectInUseProtection); these controllers take it away when the object is
being deleted and nothing uses it any more.
https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from common.api.meta import clone, is_deleting
from common.api.status import NotFound
from common.client import Client
from controller_manager.context import Context
from controller_manager.objects import name_of, namespace_of, need

T = TypeVar("T", PersistentVolume, PersistentVolumeClaim)
CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


def claims_of(pod: Pod) -> Iterable[str]:
    """Keys of the claims that a pod names, those made for its ephemeral volumes among them."""
    for volume in (pod.spec and pod.spec.volumes) or []:
        if volume.persistentVolumeClaim is not None:
            yield f"{namespace_of(pod)}/{volume.persistentVolumeClaim.claimName}"
        elif volume.ephemeral is not None:
            yield f"{namespace_of(pod)}/{name_of(pod)}-{volume.name}"


def uses(pod: Pod, key: str) -> bool:
    """Only pods that have a node: the others are not started while their claim is being deleted."""
    return bool(pod.spec and pod.spec.nodeName) and key in claims_of(pod)


def is_bound(volume: PersistentVolume) -> bool:
    return bool(volume.status and volume.status.phase == "Bound")


def wanted(obj: T, finalizer: str, *, in_use: bool) -> T | None:
    """The object to write; None when it is right."""
    present: list[str] = need(obj.metadata).finalizers or []
    if is_deleting(obj) == (finalizer not in present) or (is_deleting(obj) and in_use):
        return None
    changed = clone(obj)
    without: list[str] = [each for each in present if each != finalizer]
    need(changed.metadata).finalizers = without if is_deleting(obj) else [*without, finalizer]
    return changed


class ClaimProtectionController:
    """PersistentVolumeClaims."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        informer = context.informers.informer(PersistentVolumeClaim)
        self._claims = informer.store
        loop = context.loop("pvcprotection", self.reconcile, workers=2)
        self._loop = loop
        informer.add_handler(loop.enqueue, lambda _, new: loop.enqueue(new))
        context.pods.add_handler(on_update=lambda _, new: self._freed(new), on_delete=self._freed)

    def _freed(self, pod: Pod) -> None:
        for key in claims_of(pod):
            if (claim := self._claims.get(key)) is not None and is_deleting(claim):
                self._loop.queue.add(key)

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    async def reconcile(self, key: str) -> None:
        """One round for one claim. The pods are asked of the server: a pod that the cache lacks may be there."""
        claim = self._claims.get(key)
        if claim is None:
            return
        in_use = False
        if is_deleting(claim):
            pods = (await self._client.list(Pod, namespace_of(claim))).items
            in_use = any(uses(pod, key) for pod in pods)
        await _write(self._client, wanted(claim, CLAIM_FINALIZER, in_use=in_use))


class VolumeProtectionController:
    """PersistentVolumes."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        informer = context.informers.informer(PersistentVolume)
        self._volumes = informer.store
        loop = context.loop("pvprotection", self.reconcile, workers=2)
        self._loop = loop
        informer.add_handler(loop.enqueue, lambda _, new: loop.enqueue(new))

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    async def reconcile(self, key: str) -> None:
        """One round for one volume."""
        volume = self._volumes.get(key)
        if volume is not None:
            await _write(self._client, wanted(volume, VOLUME_FINALIZER, in_use=is_bound(volume)))


async def _write(client: Client, changed: PersistentVolume | PersistentVolumeClaim | None) -> None:
    if changed is None:
        return
    try:
        await client.replace(changed)
    except NotFound:
        return
