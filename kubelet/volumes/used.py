"""Which volumes of a pod its containers use, of what type they are, and what objects they are made of."""

from __future__ import annotations

from collections.abc import Iterator

from lightkube.models.core_v1 import Volume
from lightkube.resources.core_v1 import Pod

from common.api.meta import meta_of

Reference = tuple[str, str, str]
"""("configmap" or "secret", namespace, name)."""


def type_of(volume: Volume) -> str:
    """The volume's type as its field is called, "" for none."""
    for name in volume.__struct_fields__:
        if name != "name" and getattr(volume, name) is not None:
            return str(name)
    return ""


def used_names(pod: Pod) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the volumes that containers of any sort mount, and of those that they use as block devices."""
    spec = pod.spec
    groups = (spec.initContainers, spec.containers, spec.ephemeralContainers) if spec else ()
    containers = [container for group in groups for container in group or ()]
    mounted = frozenset(mount.name for container in containers for mount in container.volumeMounts or ())
    devices = frozenset(device.name for container in containers for device in container.volumeDevices or ())
    return mounted, devices


def used_volumes(pod: Pod) -> list[Volume]:
    """The volumes that a container uses: others are never set up."""
    mounted, devices = used_names(pod)
    return [volume for volume in (pod.spec.volumes if pod.spec else None) or [] if volume.name in mounted | devices]


def references(pod: Pod) -> frozenset[Reference]:
    """The ConfigMaps and Secrets whose content is in the pod's volumes."""
    namespace = meta_of(pod).namespace or "default"
    found = (each for volume in used_volumes(pod) for each in _of_volume(volume))
    return frozenset((kind, namespace, name) for kind, name in found if name)


def _of_volume(volume: Volume) -> Iterator[tuple[str, str]]:
    if volume.configMap is not None:
        yield "configmap", volume.configMap.name or ""
    if volume.secret is not None:
        yield "secret", volume.secret.secretName or ""
    for source in (volume.projected.sources if volume.projected else None) or ():
        if source.configMap is not None:
            yield "configmap", source.configMap.name or ""
        if source.secret is not None:
            yield "secret", source.secret.name or ""
