"""Eviction thresholds: how little may be left of what, for how long, and how much is taken back when it was too little.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#eviction-thresholds
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from common.api.duration import parse_duration
from common.api.quantity import canonical, format_quantity, parse_quantity

DEFAULT_EVICTION_HARD = (
    "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"
)
MEMORY, MEMORY_OF_PODS = "memory.available", "allocatableMemory.available"
NODE_FS, NODE_FS_INODES = "nodefs.available", "nodefs.inodesFree"
IMAGE_FS, IMAGE_FS_INODES = "imagefs.available", "imagefs.inodesFree"
CONTAINER_FS, CONTAINER_FS_INODES = "containerfs.available", "containerfs.inodesFree"
PIDS = "pid.available"

RESOURCES: Mapping[str, str] = {
    MEMORY: "memory",
    MEMORY_OF_PODS: "memory",
    NODE_FS: "ephemeral-storage",
    NODE_FS_INODES: "inodes",
    IMAGE_FS: "ephemeral-storage",
    IMAGE_FS_INODES: "inodes",
    CONTAINER_FS: "ephemeral-storage",
    CONTAINER_FS_INODES: "inodes",
    PIDS: "pids",
}
"""Signal -> what it is about, as messages call it."""
CONDITIONS: Mapping[str, str] = {
    signal: "MemoryPressure" if resource == "memory" else "PIDPressure" if resource == "pids" else "DiskPressure"
    for signal, resource in RESOURCES.items()
}
_CONTAINER_SIGNALS = (CONTAINER_FS, CONTAINER_FS_INODES)


@dataclass(frozen=True, slots=True)
class Amount:
    """A fixed amount, or a share of the capacity."""

    fixed: int = 0
    share: float = 0.0
    spelling: str = ""
    """Of a fixed amount."""

    def of(self, capacity: int) -> int:
        return int(capacity * self.share) if self.share else self.fixed

    def shown(self, capacity: int) -> str:
        return format_quantity(self.of(capacity), binary=True) if self.share else self.spelling


@dataclass(frozen=True, slots=True)
class Threshold:
    """Met while less than ``least`` is left."""

    signal: str
    least: Amount
    grace: float = 0.0
    """Seconds that it must be met before pods are evicted; 0 for a hard threshold."""
    reclaim: Amount = Amount()
    """Once it was met: so much more than ``least`` must be left again."""

    @property
    def hard(self) -> bool:
        return self.grace == 0


def parse_statements(text: str, sign: str) -> dict[str, str]:
    """``a<1,b<2`` -> {"a": "1", "b": "2"}. Raises ValueError."""
    found = {}
    for statement in filter(None, (part.strip() for part in text.split(","))):
        signal, separator, value = statement.partition(sign)
        if not separator:
            raise ValueError(f"malformed pair, expect string{sign}string: {statement}")
        found[signal.strip()] = value.strip()
    return found


def parse_thresholds(
    hard: str, soft: str = "", soft_grace_period: str = "", minimum_reclaim: str = ""
) -> tuple[Threshold, ...]:
    """The four flags of the same names. Raises ValueError with upstream's words."""
    graces = {signal: _grace(signal, value) for signal, value in parse_statements(soft_grace_period, "=").items()}
    reclaims = {signal: _reclaim(signal, value) for signal, value in parse_statements(minimum_reclaim, "=").items()}
    found = _thresholds(hard)
    for threshold in _thresholds(soft):
        if threshold.signal not in graces:
            raise ValueError(f"grace period must be specified for the soft eviction threshold {threshold.signal}")
        found.append(replace(threshold, grace=graces[threshold.signal]))
    return tuple(replace(each, reclaim=reclaims.get(each.signal, Amount())) for each in found)


def effective(thresholds: Sequence[Threshold], dedicated_images: bool) -> tuple[Threshold, ...]:
    """What counts on a machine: memory held by pods counts as memory does, and containers lie on the images' disk when
    there is one, else on the node's; thresholds for them that the flags give are ignored, as upstream ignores them."""
    like = {CONTAINER_FS: IMAGE_FS, CONTAINER_FS_INODES: IMAGE_FS_INODES}
    if not dedicated_images:
        like = {CONTAINER_FS: NODE_FS, CONTAINER_FS_INODES: NODE_FS_INODES}
    given = [each for each in thresholds if each.signal not in _CONTAINER_SIGNALS]
    copies = [replace(each, signal=signal) for signal, model in like.items() for each in given if each.signal == model]
    pods = [replace(each, signal=MEMORY_OF_PODS) for each in given if each.signal == MEMORY and each.hard]
    return (*given, *pods, *copies)


def reserved_for_eviction(thresholds: Sequence[Threshold], capacity: Mapping[str, int]) -> dict[str, int]:
    """What hard thresholds hold back from pods (upstream: hardEvictionReservation)."""
    held = {}
    for threshold in thresholds:
        name = {MEMORY: "memory", NODE_FS: "ephemeral-storage"}.get(threshold.signal)
        if name is not None and threshold.hard:
            held[name] = threshold.least.of(capacity.get(name, 0))
    return held


def _thresholds(text: str) -> list[Threshold]:
    found = []
    for signal, value in parse_statements(text, "<").items():
        _check(signal)
        if value in ("0%", "100%"):
            continue
        if value.endswith("%"):
            share = _percentage(value)
            if share < 0:
                raise ValueError(f"eviction percentage threshold {signal} must be >= 0%: {value}")
            if share > 1:
                raise ValueError(f"eviction percentage threshold {signal} must be <= 100%: {value}")
            found.append(Threshold(signal, Amount(share=share)))
            continue
        amount = parse_quantity(value)
        if amount.amount <= 0:
            raise ValueError(f"eviction threshold {signal} must be positive: {canonical(value)}")
        found.append(Threshold(signal, Amount(amount.value(), spelling=canonical(value))))
    return found


def _grace(signal: str, value: str) -> float:
    _check(signal)
    if value.startswith("-"):
        raise ValueError(f"invalid eviction grace period specified: {value}, must be a positive value")
    return parse_duration(value)


def _reclaim(signal: str, value: str) -> Amount:
    _check(signal)
    if value.endswith("%"):
        share = _percentage(value)
        if share <= 0:
            raise ValueError(f"eviction percentage minimum reclaim {signal} must be positive: {value}")
        return Amount(share=share)
    amount = parse_quantity(value)
    if amount.amount < 0:
        raise ValueError(f"negative eviction minimum reclaim specified for {signal}")
    return Amount(amount.value(), spelling=canonical(value))


def _check(signal: str) -> None:
    if signal not in RESOURCES:
        raise ValueError(f"unsupported eviction signal {signal}")


def _percentage(text: str) -> float:
    """In single precision, as upstream computes it: it shows in the node's allocatable ephemeral storage."""
    try:
        return _single(_single(float(text.removesuffix("%"))) / 100)
    except (ValueError, OverflowError):
        raise ValueError(f'strconv.ParseFloat: parsing "{text.removesuffix("%")}": invalid syntax') from None


def _single(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])
