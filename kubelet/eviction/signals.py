"""What is left of the machine's memory, disks and process numbers, by eviction signal.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#eviction-signals
"""

from __future__ import annotations

from dataclasses import dataclass

from common.api.quantity import format_quantity
from kubelet.eviction import thresholds as signal
from kubelet.node.machine import FileSystem, Machine, Usage


@dataclass(frozen=True, slots=True)
class Observed:
    available: int
    capacity: int
    counted: bool = False
    """Pieces, not bytes."""

    def __str__(self) -> str:
        return format_quantity(self.available, binary=not self.counted)


def observe(machine: Machine, usage: Usage) -> dict[str, Observed]:
    """A disk that cannot be seen has no signals: nothing is evicted for it."""
    image_fs = usage.image_fs or usage.node_fs
    found = {
        signal.MEMORY: Observed(usage.memory_available, machine.memory),
        **_disk(usage.node_fs, signal.NODE_FS, signal.NODE_FS_INODES),
        **_disk(image_fs, signal.IMAGE_FS, signal.IMAGE_FS_INODES),
        **_disk(image_fs, signal.CONTAINER_FS, signal.CONTAINER_FS_INODES),
        signal.PIDS: Observed(usage.pids_max - usage.pids, usage.pids_max, counted=True),
    }
    if usage.pods_memory is not None:
        found[signal.MEMORY_OF_PODS] = Observed(*usage.pods_memory)
    return {name: observed for name, observed in found.items() if observed.capacity > 0}


def _disk(disk: FileSystem, space: str, inodes: str) -> dict[str, Observed]:
    return {
        space: Observed(disk.available, disk.capacity),
        inodes: Observed(disk.inodes_free, disk.inodes, counted=True),
    }
