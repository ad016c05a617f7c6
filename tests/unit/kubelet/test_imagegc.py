"""Which images go when the disk is full."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from kubelet.cri import ImageStatus, RuntimeFailure
from kubelet.imagegc import Disk, GCPolicy, ImageGC, bytes_to_free, candidates, detect, outdated

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GIB = 1 << 30


def image(name: str, size: int = GIB, *, pulled: bool = True) -> ImageStatus:
    return ImageStatus(f"sha256:{name}", (f"{name}:1",), (f"{name}@sha256:0",) if pulled else (), size)


@pytest.mark.parametrize(
    ("available", "high", "low", "wanted"), [(16, 85, 80, 0), (15, 85, 80, 5), (0, 85, 80, 20), (0, 100, 80, 0)]
)
def test_how_much_has_to_go(available: int, high: int, low: int, wanted: int) -> None:
    assert bytes_to_free(Disk(100 * GIB, available * GIB), GCPolicy(high, low)) == wanted * GIB


@pytest.mark.parametrize(("high", "low"), [(101, 80), (85, -1), (50, 60)])
def test_thresholds_that_make_no_sense(high: int, low: int) -> None:
    with pytest.raises(ValueError, match="ThresholdPercent"):
        GCPolicy(high, low)


def test_the_longest_unused_goes_first_and_the_young_and_the_local_stay() -> None:
    hour = timedelta(hours=1)
    names = ("used", "old", "older", "never", "local", "young")
    images = [image(name, pulled=name != "local") for name in names[:-1]]
    records = detect({}, images, frozenset({"sha256:older"}), NOON - 3 * hour, first=False)
    records = detect(records, images, frozenset({"sha256:old", "sha256:used"}), NOON - 2 * hour, first=False)
    used = frozenset({"sha256:used"})
    records = detect(records, [*images, image("young")], used, NOON, first=False)
    order = [each.image.id for each in candidates(records.values(), used, GCPolicy(), NOON)]
    assert order == ["sha256:never", "sha256:older", "sha256:old"]
    assert "sha256:never" not in detect(records, images[:1], used, NOON, first=False)


def test_what_nobody_has_used_for_long_goes_whatever_the_disk() -> None:
    hour = timedelta(hours=1)
    images = [image(name, pulled=name != "local") for name in ("used", "old", "never", "local")]
    used = frozenset({"sha256:used"})
    records = detect({}, images, used | {"sha256:old"}, NOON - 5 * hour, first=True)
    records = detect(records, images, used, NOON, first=False)
    policy = GCPolicy(max_age=4 * hour)
    order = candidates(records.values(), used, policy, NOON)
    assert {each.image.id for each in outdated(order, policy, NOON)} == {"sha256:old", "sha256:never"}
    assert outdated(order, policy, NOON - 2 * hour) == []
    assert outdated(order, GCPolicy(), NOON) == []
    with pytest.raises(ValueError, match="MaxAge"):
        GCPolicy(min_age=hour, max_age=hour / 2)


class FakeRuntime:
    def __init__(self, *images: ImageStatus) -> None:
        self.images = list(images)
        self.removed: list[str] = []
        self.refused = ""

    async def image_status(self, ref: str) -> ImageStatus | None:
        return next((each for each in self.images if ref in each.tags), None)

    async def list_images(self) -> list[ImageStatus]:
        return self.images

    async def list_containers(self) -> list[Any]:
        return [SimpleNamespace(image_id="sha256:used")]

    async def remove_image(self, ref: str) -> None:
        if ref.startswith(self.refused or "\0"):
            raise RuntimeFailure("conflict: image is being used")
        self.removed.append(ref)


async def test_no_more_is_removed_than_needed_and_too_little_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime: Any = FakeRuntime(image("a"), image("b"), image("c"), image("used"), image("pause"))
    said: list[tuple[str, str]] = []
    at = NOON
    disk = Disk(10 * GIB, 1 * GIB)
    gc = ImageGC(runtime, GCPolicy(85, 80), "pause:1", lambda *told: said.append(told), lambda: at)

    async def full() -> Disk:
        return disk

    monkeypatch.setattr(gc, "_disk", full)
    there, runtime.images = runtime.images, []
    await gc.collect()
    said.clear()
    runtime.images = there
    assert await gc.collect() == 0 and runtime.removed == []  # all are young
    assert [reason for reason, _ in said] == ["FreeDiskSpaceFailed"]
    said.clear()
    at = NOON + timedelta(minutes=3)
    runtime.refused = "a"
    assert await gc.collect() == GIB and said == []
    assert runtime.removed == ["b:1", "b@sha256:0", "sha256:b"]
    disk = Disk(10 * GIB, 0)
    runtime.images = [image("used"), image("pause")]
    assert await gc.collect() == 0
    text = f"Attempted to free {2 * GIB} bytes, but only found 0 bytes eligible to free."
    assert said == [("FreeDiskSpaceFailed", f"Failed to garbage collect required amount of images. {text}")]
    disk = Disk(0, 0)
    said.clear()
    await gc.collect()
    assert [reason for reason, _ in said] == ["InvalidDiskCapacity"]


async def test_what_was_there_before_the_kubelet_is_old_enough() -> None:
    runtime: Any = FakeRuntime(image("a"), image("used"), image("pause"))
    gc = ImageGC(runtime, GCPolicy(), "pause:1", lambda *told: None, lambda: NOON)
    assert await gc.remove_unused() == GIB
    runtime.images.append(image("b"))
    assert await gc.remove_unused() == 0
    assert runtime.removed == ["a:1", "a@sha256:0", "sha256:a"]
