"""A claim that a pod uses stays until the pod is gone; a volume until it is not bound."""

from __future__ import annotations

from lightkube.models.core_v1 import (
    Container,
    HostPathVolumeSource,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimVolumeSource,
    PersistentVolumeSpec,
    PodSpec,
    Volume,
    VolumeResourceRequirements,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from common.client import Client
from controller_manager.storage_protection import CLAIM_FINALIZER, VOLUME_FINALIZER
from tests.integration.controller_manager.conftest import eventually
from tests.integration.controller_manager.test_deletion import is_gone


async def make_claim(client: Client, namespace: str, name: str) -> None:
    size = VolumeResourceRequirements(requests={"storage": "1Gi"})
    spec = PersistentVolumeClaimSpec(accessModes=["ReadWriteOnce"], resources=size, storageClassName="")
    await client.create(PersistentVolumeClaim(metadata=ObjectMeta(name=name, namespace=namespace), spec=spec))


async def test_a_claim_waits_for_the_pod_that_uses_it(client: Client, namespace: str) -> None:
    await make_claim(client, namespace, "data")
    source = PersistentVolumeClaimVolumeSource(claimName="data")
    pod = Pod(
        metadata=ObjectMeta(name="user", namespace=namespace),
        spec=PodSpec(
            nodeName="nowhere",
            terminationGracePeriodSeconds=0,
            containers=[Container(name="c", image="x")],
            volumes=[Volume(name="v", persistentVolumeClaim=source)],
        ),
    )
    await client.create(pod)
    await client.delete(PersistentVolumeClaim, "data", namespace)
    # Another claim's deletion shows that the controller has had its turn.
    await make_claim(client, namespace, "idle")
    await client.delete(PersistentVolumeClaim, "idle", namespace)
    await eventually(lambda: is_gone(client, PersistentVolumeClaim, "idle", namespace))
    held = await client.get(PersistentVolumeClaim, "data", namespace)
    assert held.metadata.deletionTimestamp is not None
    assert held.metadata.finalizers == [CLAIM_FINALIZER]
    await client.delete(Pod, "user", namespace, grace_period_seconds=0)
    await eventually(lambda: is_gone(client, PersistentVolumeClaim, "data", namespace))


async def test_a_volume_waits_until_it_is_not_bound(client: Client, namespace: str) -> None:
    name = f"volume-of-{namespace}"
    source = HostPathVolumeSource(path="/tmp/x")
    spec = PersistentVolumeSpec(accessModes=["ReadWriteOnce"], capacity={"storage": "1Gi"}, hostPath=source)
    made = await client.create(PersistentVolume(metadata=ObjectMeta(name=name), spec=spec))
    assert made.metadata.finalizers == [VOLUME_FINALIZER]

    async def phase(value: str) -> None:
        await client.patch(PersistentVolume, name, {"status": {"phase": value}}, subresource="status")

    await phase("Bound")
    await client.delete(PersistentVolume, name)
    held = await client.get(PersistentVolume, name)
    assert held.metadata.deletionTimestamp is not None
    await phase("Released")
    await eventually(lambda: is_gone(client, PersistentVolume, name))
