"""VolumeBinding: a pod waits until every PersistentVolumeClaim that it names exists and is bound.

A claim that is not bound yet holds a pod back whatever its class's volumeBindingMode says: this scheduler chooses no
volumes, so `WaitForFirstConsumer` claims are waited for like immediate ones.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lightkube.resources.core_v1 import PersistentVolumeClaim

from scheduler.framework import ClusterEvent, Unschedulable
from scheduler.nodes import NodeTable
from scheduler.podinfo import PodInfo

Claims = Callable[[str], PersistentVolumeClaim | None]
"""A claim by its key, as far as it is known."""


class VolumeBinding:
    name = "VolumeBinding"
    events = frozenset((ClusterEvent.PVC_ADD, ClusterEvent.PVC_UPDATE))

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def pre_filter(self, pod: PodInfo, nodes: NodeTable) -> None:
        """Raises Unschedulable: no node could help."""
        found = [self._claim(pod, name, ephemeral=ephemeral) for name, ephemeral in claim_names(pod)]
        if not all(is_bound(claim) for claim in found):
            raise Unschedulable(self.name, "pod has unbound immediate PersistentVolumeClaims")

    def _claim(self, pod: PodInfo, name: str, *, ephemeral: bool) -> PersistentVolumeClaim:
        claim = self._claims(f"{pod.namespace}/{name}")
        problem = _missing(name, ephemeral=ephemeral) if claim is None else _unusable(claim, name)
        if not problem and ephemeral and not belongs_to(claim, pod):
            problem = f"PVC {pod.namespace}/{name} was not created for pod {pod.key} (pod is not owner)"
        if claim is None or problem:
            raise Unschedulable(self.name, problem)
        return claim


def claim_names(pod: PodInfo) -> Iterator[tuple[str, bool]]:
    """The claims of the pod's volumes, and whether they are generic ephemeral ones, named after pod and volume."""
    for volume in pod.spec.volumes or ():
        if volume.persistentVolumeClaim is not None:
            yield volume.persistentVolumeClaim.claimName, False
        elif volume.ephemeral is not None:
            yield f"{pod.name}-{volume.name}", True


def is_bound(claim: PersistentVolumeClaim) -> bool:
    return claim.status is not None and claim.status.phase == "Bound"


def belongs_to(claim: PersistentVolumeClaim | None, pod: PodInfo) -> bool:
    """Whether the pod is the claim's controller: another's volume must never be taken for an ephemeral one."""
    owners = (claim.metadata.ownerReferences if claim is not None and claim.metadata else None) or ()
    return any(owner.controller and owner.uid == pod.uid for owner in owners)


def _missing(name: str, *, ephemeral: bool) -> str:
    if ephemeral:
        return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
    return f'persistentvolumeclaim "{name}" not found'


def _unusable(claim: PersistentVolumeClaim, name: str) -> str:
    if claim.status is not None and claim.status.phase == "Lost":
        volume = claim.spec.volumeName if claim.spec else ""
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume or ""}"'
    if claim.metadata is not None and claim.metadata.deletionTimestamp is not None:
        return f'persistentvolumeclaim "{name}" is being deleted'
    return ""
