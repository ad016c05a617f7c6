"""Hard eviction thresholds: below them the node says that it is under pressure, and what they hold back from pods.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#hard-eviction-thresholds
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.api.quantity import parse_bytes
from kubelet.node.machine import Machine, Usage

DEFAULT_EVICTION_HARD = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%"
SIGNALS = ("memory.available", "nodefs.available", "nodefs.inodesFree", "pid.available")


@dataclass(frozen=True, slots=True)
class Threshold:
    """An amount, or a share of the capacity."""

    amount: int = 0
    share: float = 0.0

    def of(self, capacity: int) -> int:
        return self.amount or int(capacity * self.share)


@dataclass(frozen=True, slots=True)
class Pressure:
    memory: bool = False
    disk: bool = False
    pid: bool = False


def parse_thresholds(text: str) -> Mapping[str, Threshold]:
    """``memory.available<100Mi,nodefs.available<10%``. Raises ValueError with upstream's words."""
    thresholds = {}
    for statement in filter(None, (part.strip() for part in text.split(","))):
        signal, sign, value = statement.partition("<")
        if not sign:
            raise ValueError(f"invalid eviction threshold syntax {statement}, expected <signal><operator><value>")
        if signal not in SIGNALS:
            raise ValueError(f"unsupported eviction signal {signal}")
        if value.endswith("%"):
            thresholds[signal] = Threshold(share=float(value.removesuffix("%")) / 100)
        else:
            thresholds[signal] = Threshold(amount=parse_bytes(value))
    return thresholds


def pressure(thresholds: Mapping[str, Threshold], machine: Machine, usage: Usage) -> Pressure:
    disk = usage.node_fs

    def below(signal: str, left: int, capacity: int) -> bool:
        return capacity > 0 and signal in thresholds and left < thresholds[signal].of(capacity)

    return Pressure(
        memory=below("memory.available", usage.memory_available, machine.memory),
        disk=below("nodefs.available", disk.available, disk.capacity)
        or below("nodefs.inodesFree", disk.inodes_free, disk.inodes),
        pid=below("pid.available", usage.pids_max - usage.pids, usage.pids_max),
    )
