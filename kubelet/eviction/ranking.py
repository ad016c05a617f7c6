"""Who is evicted first, and what is said of it: pure functions of pods and what they use.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#pod-selection-for-kubelet-eviction
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lightkube.models.core_v1 import Volume
from lightkube.resources.core_v1 import Pod

from common.api.meta import meta_of
from common.api.pods import requests
from common.api.quantity import canonical, format_quantity, parse_bytes
from kubelet.eviction.signals import Observed
from kubelet.eviction.thresholds import NODE_FS, NODE_FS_INODES, RESOURCES, Threshold
from kubelet.pods.identity import all_containers, spec_of
from kubelet.types import DiskUsage


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    memory: int = 0
    """Working set, bytes."""
    processes: int = 0
    layer: DiskUsage | None = None
    """What the container has written into its own file system; None: not measured."""
    logs: DiskUsage | None = None


@dataclass(frozen=True, slots=True)
class PodUsage:
    containers: Mapping[str, ContainerUsage] = field(default_factory=dict)
    """By name; the sandbox too, whose memory and processes are the pod's."""
    volumes: Mapping[str, DiskUsage] = field(default_factory=dict)
    """By name; those in memory too."""

    @property
    def memory(self) -> int:
        return sum(container.memory for container in self.containers.values())

    @property
    def processes(self) -> int:
        return sum(container.processes for container in self.containers.values())

    def disk(self, pod: Pod, *, layers: bool = True, logs: bool = True, volumes: bool = True) -> DiskUsage:
        local = {volume.name for volume in spec_of(pod).volumes or () if is_local(volume)}
        parts: list[DiskUsage | None] = []
        for container in self.containers.values():
            parts += [container.layer if layers else None, container.logs if logs else None]
        parts += [used for name, used in self.volumes.items() if volumes and name in local]
        return total(parts)


def total(parts: Iterable[DiskUsage | None]) -> DiskUsage:
    known = [part for part in parts if part is not None]
    return sum(known, DiskUsage())


def is_local(volume: Volume) -> bool:
    """Whether a volume's content counts against the node's disk."""
    on_disk = volume.emptyDir is not None and not volume.emptyDir.medium
    return on_disk or volume.configMap is not None


def rank(
    threshold: Threshold, pods: Iterable[Pod], usages: Mapping[str, PodUsage], *, dedicated_images: bool
) -> list[Pod]:
    """The first goes first. A pod that could not be measured goes before any that could."""

    def key(pod: Pod) -> tuple[int, ...]:
        usage = usages.get(meta_of(pod).uid or "")
        priority = spec_of(pod).priority or 0
        if usage is None:
            return (0, 0, priority, 0)
        resource = RESOURCES[threshold.signal]
        if resource == "pids":
            return (1, 0, priority, -usage.processes)
        used = consumption(threshold.signal, pod, usage, dedicated_images)
        asked = requests(spec_of(pod)).get(resource, 0)
        over = asked if resource != "inodes" else requests(spec_of(pod)).get("ephemeral-storage", 0)
        return (1, 0 if used > asked else 1, priority, -(used - over))

    return sorted(pods, key=key)


def consumption(signal: str, pod: Pod, usage: PodUsage, dedicated_images: bool) -> int:
    """What a pod takes of what the signal is about. With a disk of the images' own, containers write there, and logs
    and volumes lie on the node's."""
    resource = RESOURCES[signal]
    if resource == "memory":
        return usage.memory
    if dedicated_images and signal in (NODE_FS, NODE_FS_INODES):
        disk = usage.disk(pod, layers=False)
    elif dedicated_images:
        disk = usage.disk(pod, logs=False, volumes=False)
    else:
        disk = usage.disk(pod)
    return disk.inodes if resource == "inodes" else disk.bytes


def message(
    resource: str, pod: Pod, usage: PodUsage | None, due: Sequence[Threshold], observed: Mapping[str, Observed]
) -> str:
    """Upstream's words: what was low, by how much, and which containers take more than they asked for."""
    text = f"The node was low on resource: {resource}. "
    for threshold in due:
        now = observed.get(threshold.signal)
        if RESOURCES[threshold.signal] == resource and now is not None:
            text += f"Threshold quantity: {threshold.least.shown(now.capacity)}, available: {now}. "
            break
    for name, used, asked in _exceeding(resource, pod, usage):
        text += f"Container {name} was using {format_quantity(used, binary=True)}, request is {canonical(asked)}, "
        text += f"has larger consumption of {resource}. "
    return text


def event_annotations(resource: str, pod: Pod, usage: PodUsage | None) -> dict[str, str]:
    """Of the Evicted event."""
    found = _exceeding(resource, pod, usage)
    return {
        "offending_containers": ",".join(name for name, _, _ in found),
        "offending_containers_usage": ",".join(format_quantity(used, binary=True) for _, used, _ in found),
        "starved_resource": resource,
    }


def _exceeding(resource: str, pod: Pod, usage: PodUsage | None) -> list[tuple[str, int, str | int]]:
    found: list[tuple[str, int, str | int]] = []
    for container in all_containers(spec_of(pod)) if usage is not None else ():
        known = usage.containers.get(container.name) if usage is not None else None
        if known is None:
            continue
        asked = ((container.resources.requests if container.resources else None) or {}).get(resource, "0")
        if resource == "memory":
            used = known.memory
        elif resource == "ephemeral-storage" and known.layer is not None and known.logs is not None:
            used = known.layer.bytes + known.logs.bytes
        else:
            continue
        if used > parse_bytes(asked):
            found.append((container.name, used, asked))
    return found


def reclaims_images(signal: str, dedicated_images: bool) -> bool:
    """Whether the disk that is low holds images and dead containers, which go before any pod does."""
    if RESOURCES[signal] not in ("ephemeral-storage", "inodes"):
        return False
    return not (dedicated_images and signal in (NODE_FS, NODE_FS_INODES))
