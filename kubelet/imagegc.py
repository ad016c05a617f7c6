"""Removes images that nothing uses when the disk that holds them is full: the one that was used longest ago first.

From ``--image-gc-high-threshold`` percent on, down to ``--image-gc-low-threshold``; and whatever the disk,
what nobody has used for ``--image-maximum-gc-age`` (upstream: pkg/kubelet/images/image_gc_manager.go). One thing
differs: an image that came from no registry (loaded or built on the node) is kept, since nobody could bring it back.
https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-lifecycle
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.api.time import now
from kubelet.cri import ImageStatus, Runtime, RuntimeFailure

log = logging.getLogger("kubelet.images")

PERIOD_SECONDS = 300.0
Tell = Callable[[str, str], None]
"""A warning about the node: reason and message."""


@dataclass(frozen=True, slots=True)
class GCPolicy:
    high_percent: int = 85
    low_percent: int = 80
    min_age: timedelta = timedelta(minutes=2)
    max_age: timedelta = timedelta(0)
    """What nobody has used for so long goes even if the disk is not full; 0: it stays."""

    def __post_init__(self) -> None:
        for name, value in (("HighThresholdPercent", self.high_percent), ("LowThresholdPercent", self.low_percent)):
            if not 0 <= value <= 100:
                raise ValueError(f"invalid {name} {value}, must be in range [0-100]")
        if self.max_age < timedelta(0) or (self.max_age and self.max_age < self.min_age):
            raise ValueError(f"invalid MaxAge {self.max_age}, must not be less than the minimum age {self.min_age}")
        if self.low_percent > self.high_percent:
            text = f"can not be higher than HighThresholdPercent {self.high_percent}"
            raise ValueError(f"LowThresholdPercent {self.low_percent} {text}")


@dataclass(frozen=True, slots=True)
class Disk:
    capacity: int
    available: int


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of an image that is there."""

    image: ImageStatus
    first_detected: datetime
    last_used: datetime | None = None
    settled: bool = False
    """It was there before the kubelet: nobody knows its age, and it is old enough, as upstream."""


def bytes_to_free(disk: Disk, policy: GCPolicy) -> int:
    """0 while the disk is not full."""
    used_percent = 100 - disk.available * 100 // disk.capacity
    if policy.high_percent == 100 or used_percent < policy.high_percent:
        return 0
    return max(0, disk.capacity * (100 - policy.low_percent) // 100 - disk.available)


def detect(
    known: Mapping[str, Record], images: Iterable[ImageStatus], used: frozenset[str], at: datetime, *, first: bool
) -> dict[str, Record]:
    """``used`` are the ids of images that a container has, running or not; ``first``: nobody has looked before."""
    records = {}
    for image in images:
        before = known.get(image.id)
        since = before.first_detected if before else at
        last = at if image.id in used else before.last_used if before else None
        records[image.id] = Record(image, since, last, before.settled if before else first)
    return records


def candidates(records: Iterable[Record], used: frozenset[str], policy: GCPolicy, at: datetime) -> list[Record]:
    """What may go, in the order of going."""
    idle = [each for each in records if each.image.id not in used and each.image.digests]
    old = [each for each in idle if each.settled or at - each.first_detected >= policy.min_age]
    return sorted(old, key=lambda each: (each.last_used or each.first_detected, each.first_detected, each.image.id))


def outdated(order: Iterable[Record], policy: GCPolicy, at: datetime) -> list[Record]:
    """Of what may go, what nobody has used for longer than the policy's ``max_age``."""
    if not policy.max_age:
        return []
    return [each for each in order if at - (each.last_used or each.first_detected) > policy.max_age]


class ImageGC:
    def __init__(
        self, runtime: Runtime, policy: GCPolicy, infra_image: str, tell: Tell, clock: Callable[[], datetime] = now
    ) -> None:
        self._runtime = runtime
        self._policy = policy
        self._infra_image = infra_image
        self._tell = tell
        self._clock = clock
        self._records: dict[str, Record] | None = None
        """None until somebody has looked."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.collect()
            except (RuntimeFailure, OSError) as error:
                log.warning("image garbage collection failed: %s", error)
            await asyncio.sleep(PERIOD_SECONDS)

    async def collect(self) -> int:
        """One round; how many bytes the images had that are gone."""
        used = await self._used()
        at = self._clock()
        records = await self._detect(used, at)
        old = outdated(candidates(records.values(), used, self._policy, at), self._policy, at)
        outworn = await self._free(records, old, sum(each.image.size for each in old))
        disk = await self._disk()
        if disk.capacity == 0:
            self._tell("InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
            return outworn
        wanted = bytes_to_free(disk, self._policy)
        if not wanted:
            return outworn
        log.info("disk usage on image filesystem is over the high threshold, trying to free %d bytes", wanted)
        freed = await self._free(records, candidates(records.values(), used, self._policy, at), wanted)
        if freed < wanted:
            text = "Failed to garbage collect required amount of images. "
            text += f"Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            self._tell("FreeDiskSpaceFailed", text)
        return outworn + freed

    async def remove_unused(self) -> int:
        """All images that no container has, whatever the thresholds; how many bytes they had."""
        used, at = await self._used(), self._clock()
        records = await self._detect(used, at)
        order = candidates(records.values(), used, self._policy, at)
        return await self._free(records, order, sum(record.image.size for record in order))

    async def _detect(self, used: frozenset[str], at: datetime) -> dict[str, Record]:
        images = await self._runtime.list_images()
        self._records = detect(self._records or {}, images, used, at, first=self._records is None)
        return self._records

    async def _free(self, records: dict[str, Record], order: list[Record], wanted: int) -> int:
        freed = 0
        for record in order:
            if freed >= wanted:
                break
            try:
                # By its names: an image with several cannot be removed by its id.
                for name in (*record.image.tags, *record.image.digests):
                    await self._runtime.remove_image(name)
                await self._runtime.remove_image(record.image.id)
            except RuntimeFailure as error:  # a container has begun to use it meanwhile
                log.info("image %s is not removed: %s", record.image.id, error)
                continue
            log.info("image %s (%d bytes) is removed", record.image.id, record.image.size)
            records.pop(record.image.id, None)
            freed += record.image.size
        return freed

    async def _used(self) -> frozenset[str]:
        infra = await self._runtime.image_status(self._infra_image)
        used = {container.image_id for container in await self._runtime.list_containers()}
        return frozenset(used | ({infra.id} if infra is not None else set()))

    async def _disk(self) -> Disk:
        root = (await self._runtime.info()).root_dir
        status = await asyncio.to_thread(os.statvfs, root)
        return Disk(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)
