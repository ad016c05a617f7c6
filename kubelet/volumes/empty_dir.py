"""emptyDir, on disk or in memory: https://kubernetes.io/docs/concepts/storage/volumes/#emptydir."""

from __future__ import annotations

from pathlib import Path

from lightkube.models.core_v1 import EmptyDirVolumeSource
from lightkube.resources.core_v1 import Pod

from common.api.quantity import parse_bytes
from kubelet.types import VolumeError
from kubelet.volumes.mounts import mount_tmpfs

_MODE = 0o777


def set_up(path: Path, source: EmptyDirVolumeSource, pod: Pod) -> None:
    """Blocking. What is in the directory already stays: a restart of a container must not lose it."""
    path.mkdir(parents=True, exist_ok=True)
    match source.medium or "":
        case "":
            path.chmod(_MODE)
        case "Memory":
            mount_tmpfs(path, size=memory_size(source, pod), mode=_MODE)
        case other:
            raise VolumeError(f"unknown storage medium {other!r}: only the default and Memory are supported")


def memory_size(source: EmptyDirVolumeSource, pod: Pod) -> int | None:
    """The smaller of the volume's sizeLimit and the pod's memory limit, if there is one (KEP-1967)."""
    sizes = [parse_bytes(source.sizeLimit)] if source.sizeLimit is not None else []
    containers = pod.spec.containers if pod.spec else []
    limits = [
        ((container.resources.limits if container.resources else None) or {}).get("memory") for container in containers
    ]
    if limits and all(limit is not None for limit in limits):
        sizes.append(sum(parse_bytes(limit) for limit in limits if limit is not None))
    return min((size for size in sizes if size > 0), default=None)
