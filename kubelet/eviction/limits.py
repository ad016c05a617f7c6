"""Limits of local ephemeral storage: a pod that uses more than it may is evicted, however much the node has left.

https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#local-ephemeral-storage
"""

from __future__ import annotations

from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from common.api.pods import limits
from common.api.quantity import canonical, format_quantity, parse_bytes
from kubelet.eviction.ranking import PodUsage, total
from kubelet.pods.identity import spec_of
from kubelet.types import DiskUsage

RESOURCE = "ephemeral-storage"


def is_limited(pod: Pod) -> bool:
    """Whether there is anything to measure."""
    return _has_sized_volume(pod) or RESOURCE in limits(spec_of(pod))


def _has_sized_volume(pod: Pod) -> bool:
    volumes = (volume.emptyDir for volume in spec_of(pod).volumes or () if volume.emptyDir is not None)
    return any(source.sizeLimit is not None and parse_bytes(source.sizeLimit) > 0 for source in volumes)


def violation(pod: Pod, usage: PodUsage, *, dedicated_images: bool) -> tuple[str, str] | None:
    """What the pod does wrong: by what name it is counted, and upstream's words; None when nothing."""
    checks = {
        "emptydirfs.limit": _volume(pod, usage),
        "ephemeralpodfs.limit": _pod(pod, usage),
        "ephemeralcontainerfs.limit": _container(pod, usage, dedicated_images),
    }
    return next(((signal, text) for signal, text in checks.items() if text is not None), None)


def _volume(pod: Pod, usage: PodUsage) -> str | None:
    for volume in spec_of(pod).volumes or ():
        size = volume.emptyDir.sizeLimit if volume.emptyDir is not None else None
        used = usage.volumes.get(volume.name)
        if size is not None and used is not None and 0 < parse_bytes(size) < used.bytes:
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{canonical(size)}". '
    return None


def _pod(pod: Pod, usage: PodUsage) -> str | None:
    limit = limits(spec_of(pod)).get(RESOURCE)
    if limit is None:
        return None
    if usage.disk(pod).bytes <= limit:
        return None
    spelled = [each for each in map(_limit, spec_of(pod).containers) if each is not None]
    shown = canonical(spelled[0]) if len(spelled) == 1 else format_quantity(limit, binary=True)
    return f"Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "


def _container(pod: Pod, usage: PodUsage, dedicated_images: bool) -> str | None:
    for container in spec_of(pod).containers:
        limit = _limit(container)
        known = usage.containers.get(container.name)
        if limit is None or known is None or not parse_bytes(limit):
            continue
        parts: list[DiskUsage | None] = [known.logs, None if dedicated_images else known.layer]
        if total(parts).bytes > parse_bytes(limit):
            return f'Container {container.name} exceeded its local ephemeral storage limit "{canonical(limit)}". '
    return None


def _limit(container: Container) -> str | None:
    return ((container.resources.limits if container.resources else None) or {}).get(RESOURCE)
