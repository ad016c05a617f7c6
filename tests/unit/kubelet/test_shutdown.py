"""Graceful shutdown: who gets how long, in which order, and what the node says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lightkube.models.core_v1 import ObjectReference
from lightkube.resources.core_v1 import Pod

from kubelet.shutdown.manager import ShutdownManager
from kubelet.shutdown.periods import Period, grace_of, groups, parse_periods, periods_of
from kubelet.shutdown.record import FILE, read
from kubelet.types import Ending

CRITICAL = 2_000_000_000


def pod(name: str, priority: int = 0, grace: int = 30, phase: str = "Running") -> Pod:
    spec = {"containers": [], "priority": priority, "terminationGracePeriodSeconds": grace}
    body = {"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": spec, "status": {"phase": phase}}
    return Pod.from_dict(body)


def test_the_last_part_is_the_critical_pods() -> None:
    assert periods_of(30, 10) == (Period(0, 20), Period(CRITICAL, 10))
    assert periods_of(0, 0) == ()


@pytest.mark.parametrize("times", [(10, 20), (0.5, 0), (2, 0.5)])
def test_times_that_make_no_sense(times: tuple[float, float]) -> None:
    with pytest.raises(ValueError):
        periods_of(*times)


def test_periods_by_priority() -> None:
    assert parse_periods("1000=10, 0=30") == (Period(0, 30), Period(1000, 10))
    for text in ("x=1", "1", "1=-1", "1=1,1=2"):
        with pytest.raises(ValueError):
            parse_periods(text)


def test_pods_are_grouped_by_priority() -> None:
    periods = parse_periods("10=5,100=3,1000=1")
    found = groups(periods, [pod("low", -5), pod("ten", 10), pod("mid", 99), pod("high", 5000)])
    assert [(group.seconds, [each.metadata.name for each in group.pods]) for group in found] == [  # type: ignore[union-attr]
        (5, ["low", "ten", "mid"]),
        (1, ["high"]),
    ]
    assert grace_of(pod("p", grace=2), found[0]) == 2 and grace_of(pod("p", grace=60), found[0]) == 5


class FakePods:
    def __init__(self, *pods: Pod) -> None:
        self.held = list(pods)
        self.ended: list[tuple[str, int | None]] = []
        self.said: list[str] = []

    def pods(self) -> list[Pod]:
        return self.held

    async def end_pod(self, uid: str, ending: Ending) -> None:
        assert (ending.reason, ending.disruption) == ("Terminated", ending.message)
        self.ended.append((uid, ending.grace))

    def event(self, obj: Any, kind: str, reason: str, message: str) -> None:
        self.said.append(reason)


def manager(pods: FakePods, periods: tuple[Period, ...], root: Path) -> ShutdownManager:
    node = ObjectReference(kind="Node", name="n")
    return ShutdownManager(node, periods, pods, pods, lambda: pods.said.append("told"), root)


async def test_critical_pods_end_last(tmp_path: Path) -> None:
    pods = FakePods(pod("critical", CRITICAL), pod("plain", grace=3), pod("over", phase="Succeeded"))
    node = manager(pods, periods_of(30, 10), tmp_path)
    assert node.problem() is None
    await node.shut_down()
    record = read(tmp_path)
    assert record is not None and record.end is not None and record.start <= record.end
    assert pods.ended == [("plain", 3), ("critical", 10)]
    assert node.problem() == "node is shutting down" and pods.said == ["NodeShutdown", "told"]
    node.cancel()
    assert node.problem() is None


class SlowPods(FakePods):
    """``slow`` ends a moment after ``critical`` has."""

    def __init__(self, *pods: Pod) -> None:
        super().__init__(*pods)
        self.through = asyncio.Event()

    async def end_pod(self, uid: str, ending: Ending) -> None:
        if uid == "slow":
            await self.through.wait()
            await asyncio.sleep(0.1)
        await super().end_pod(uid, ending)
        self.through.set()


async def test_what_is_left_of_the_time_is_for_those_that_are_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubelet.shutdown.manager.LAST_SECONDS", 0.0)
    pods = SlowPods(pod("critical", CRITICAL), pod("slow"))
    await manager(pods, periods_of(31, 30), tmp_path).shut_down()
    assert [uid for uid, _ in pods.ended] == ["critical", "slow"]


async def test_without_periods_pods_are_left_alone(tmp_path: Path) -> None:
    pods = FakePods(pod("plain"))
    node = manager(pods, (), tmp_path)
    await node.shut_down()
    assert pods.ended == [] and pods.said == [] and node.problem() is None
    assert read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"startTime": 1, "endTime": null}'])
def test_times_that_nobody_can_read_are_left(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read(tmp_path) is None
    manager(FakePods(), periods_of(30, 10), tmp_path)
