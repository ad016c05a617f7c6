"""From a pod's claim to the persistent volume behind it, with the checks that upstream makes.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/ and
https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes. Nothing is remembered: a claim
is looked at when its volume is set up, and again each time that it could not be.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lightkube.models.core_v1 import Volume
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from common.api.meta import meta_of
from common.api.status import StatusError
from kubelet.types import VolumeError

T = TypeVar("T", PersistentVolume, PersistentVolumeClaim)


class ClaimClient(Protocol):
    """The part of common.client.Client that is used here."""

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T: ...


class Unprocessed(VolumeError):
    """A volume of which it is not known yet what it is: its claim is not there, not bound, or no plugin has it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    volume: PersistentVolume
    read_only: bool

    @property
    def block(self) -> bool:
        return _mode(self.volume) == "Block"


def claim_name(pod: Pod, volume: Volume) -> str:
    """The claim that a volume stands for, "" when it is of another type."""
    if volume.persistentVolumeClaim is not None:
        return volume.persistentVolumeClaim.claimName
    return f"{meta_of(pod).name}-{volume.name}" if volume.ephemeral is not None else ""


async def claimed(client: ClaimClient, pod: Pod, volume: Volume, mounted: Set[str], devices: Set[str]) -> Claimed:
    """``mounted``, ``devices``: names of the volumes that containers use as file systems and as block devices.

    Raises Unprocessed in upstream's words.
    """
    namespace, name = meta_of(pod).namespace or "", claim_name(pod, volume)
    try:
        claim = await _claim(client, namespace, name)
        if volume.ephemeral is not None and not _owned(claim, pod):
            raise Unprocessed(
                f"PVC {namespace}/{name} was not created for pod {namespace}/{meta_of(pod).name} (pod is not owner)"
            )
        assert claim.spec is not None
        found = await _volume(client, claim.spec.volumeName or "", meta_of(claim).uid or "")
    except _Problem as problem:
        raise Unprocessed(f"error processing PVC {namespace}/{name}: {problem}") from problem
    mode = _mode(found)
    if volume.name in mounted and mode != "Filesystem":
        raise Unprocessed(f"volume {volume.name} has volumeMode {mode}, but is specified in volumeMounts")
    if volume.name in devices and mode != "Block":
        raise Unprocessed(f"volume {volume.name} has volumeMode {mode}, but is specified in volumeDevices")
    source = volume.persistentVolumeClaim
    return Claimed(found, bool(source and source.readOnly))


class _Problem(Exception):
    pass


async def _claim(client: ClaimClient, namespace: str, name: str) -> PersistentVolumeClaim:
    try:
        claim = await client.get(PersistentVolumeClaim, name, namespace)
    except StatusError as error:
        raise _Problem(f"failed to fetch PVC from API server: {error}") from error
    if meta_of(claim).deletionTimestamp is not None:
        raise _Problem("PVC is being deleted")
    if claim.status is None or claim.status.phase != "Bound":
        raise _Problem("PVC is not bound")
    if claim.spec is None or not claim.spec.volumeName:
        raise _Problem("PVC has empty pvc.Spec.VolumeName")
    return claim


async def _volume(client: ClaimClient, name: str, claim_uid: str) -> PersistentVolume:
    try:
        found = await client.get(PersistentVolume, name)
    except StatusError as error:
        raise _Problem(f"failed to fetch PV {name} from API server: {error}") from error
    reference: Any = found.spec.claimRef if found.spec else None
    if reference is None:
        raise _Problem(
            f"found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        )
    if reference.uid != claim_uid:
        held = reference.uid or ""
        raise _Problem(
            f"found PV object {name} but its pv.Spec.ClaimRef.UID {held} does not point to claim.UID {claim_uid}"
        )
    return found


def _owned(claim: PersistentVolumeClaim, pod: Pod) -> bool:
    return any(owner.controller and owner.uid == meta_of(pod).uid for owner in meta_of(claim).ownerReferences or ())


def _mode(volume: PersistentVolume) -> str:
    return (volume.spec.volumeMode if volume.spec else None) or "Filesystem"
