"""emptyDir, on disk or in memory: https://kubernetes.io/docs/concepts/storage/volumes/#emptydir."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightkube.models.core_v1 import EmptyDirVolumeSource
from lightkube.resources.core_v1 import Pod

from common.api.pods import limits
from common.api.quantity import parse_bytes
from kubelet.types import VolumeError
from kubelet.volumes import ownership
from kubelet.volumes.mounts import mount_hugetlbfs, mount_tmpfs

_MODE = 0o777
_HUGE = "HugePages"


def set_up(
    path: Path, source: EmptyDirVolumeSource, pod: Pod, allocatable: Mapping[str, int], group: int | None
) -> None:
    """Blocking. What is in the directory already stays: a restart of a container must not lose it."""
    medium = source.medium or ""
    page = _page_size(medium, pod) if medium.startswith(_HUGE) else ""
    if medium not in ("", "Memory") and not page:
        raise VolumeError(f'unknown storage medium "{medium}"')
    path.mkdir(parents=True, exist_ok=True)
    if page:
        mount_hugetlbfs(path, page)
    elif medium == "Memory":
        mount_tmpfs(path, size=memory_size(source, pod, allocatable), flags=0)
    else:
        path.chmod(_MODE)
    if group is not None:
        ownership.set_group(path, group, read_only=False)


def memory_size(source: EmptyDirVolumeSource | None, pod: Pod, allocatable: Mapping[str, int]) -> int | None:
    """The least of the node's allocatable memory, the pod's memory limit if there is one, and the volume's own
    sizeLimit (KEP-1967). Bytes; None: what the kernel gives."""
    sizes = [allocatable.get("memory", 0)]
    spec = pod.spec
    if spec is not None and all(_has_memory_limit(container) for container in spec.containers):
        sizes.append(limits(spec).get("memory", 0))
    if source is not None and source.sizeLimit is not None:
        sizes.append(parse_bytes(source.sizeLimit))
    return min((size for size in sizes if size > 0), default=None)


def _has_memory_limit(container: object) -> bool:
    resources = getattr(container, "resources", None)
    return bool(resources and (resources.limits or {}).get("memory") is not None)


def _page_size(medium: str, pod: Pod) -> str:
    """As the kernel writes it. All huge pages that the pod asks for must be of one size when the medium names none."""
    spec = pod.spec
    containers = [*spec.containers, *(spec.initContainers or ())] if spec else []
    names = {
        name.removeprefix("hugepages-")
        for container in containers
        for name in ((container.resources.requests if container.resources else None) or {})
        if name.startswith("hugepages-")
    }
    wanted = medium.removeprefix(_HUGE).removeprefix("-")
    if wanted:
        names &= {wanted}
    if len(names) > 1:
        raise VolumeError(f"medium: {medium} can't be used if container requests multiple huge page sizes")
    if not names:
        raise VolumeError(
            f"medium {medium}: hugePages storage requested, but there is no resource request for huge pages"
        )
    return str(names.pop()).removesuffix("i")
