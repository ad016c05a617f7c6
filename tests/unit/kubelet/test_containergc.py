"""Which containers that have ended are kept."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

from kubelet.containergc import over_the_limit, surplus
from kubelet.cri import SANDBOX_NAME, ContainerState, RuntimeContainer
from kubelet.pods.observed import LABEL_SANDBOX_ID
from kubelet.types import KubeletConfig

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(hours=1)
CONFIG = KubeletConfig("n1", ())


def made(
    name: str, attempt: int, *, running: bool = False, uid: str = "u", sandbox: str = "", age: int = 3600
) -> RuntimeContainer:
    state = ContainerState.RUNNING if running else ContainerState.EXITED
    labels = {LABEL_SANDBOX_ID: sandbox or f"{uid}/{SANDBOX_NAME}/0"}
    created = LATER - timedelta(seconds=age - attempt)
    return RuntimeContainer(f"{uid}/{name}/{attempt}", name, "p", "ns", uid, attempt, state, "", "", labels, created)


def ids(found: list[RuntimeContainer]) -> list[str]:
    return [each.id for each in found]


def keep(**fields: float) -> KubeletConfig:
    return dataclasses.replace(CONFIG, **fields)


def test_one_that_ended_is_kept_of_each_container() -> None:
    running = [made("a", 3, running=True), *(made("a", i) for i in range(3)), made("b", 0)]
    assert ids(surplus(running, CONFIG, LATER)) == ["u/a/1", "u/a/0"]
    ended = [made("a", i) for i in range(3)]
    assert ids(surplus(ended, CONFIG, LATER)) == ["u/a/1", "u/a/0"]
    assert ids(surplus(ended, keep(max_dead_containers_per_container=0), LATER)) == ["u/a/1", "u/a/0"]
    assert ids(surplus(running, keep(max_dead_containers_per_container=0), LATER)) == ["u/a/2", "u/a/1", "u/a/0"]
    assert surplus(running, keep(max_dead_containers_per_container=-1), LATER) == []


def test_young_ones_are_kept() -> None:
    containers = [made("a", 2), made("a", 1, age=30), made("a", 0)]
    assert ids(surplus(containers, keep(minimum_container_ttl_seconds=60), LATER)) == ["u/a/0"]


def test_a_sandbox_goes_with_its_last_container() -> None:
    sandboxes = [made(SANDBOX_NAME, 1, running=True), made(SANDBOX_NAME, 0)]
    first, second = "u/POD/0", "u/POD/1"
    used = [made("a", 1, running=True, sandbox=second), made("a", 0, sandbox=first)]
    assert surplus([*sandboxes, *used], CONFIG, LATER) == []
    more = [made("a", 2, running=True, sandbox=second), made("a", 1, sandbox=second), made("a", 0, sandbox=first)]
    assert ids(surplus([*sandboxes, *more], CONFIG, LATER)) == ["u/a/0", first]
    assert surplus(sandboxes[1:], CONFIG, LATER) == []


def test_the_node_has_a_bound() -> None:
    ended = [made("a", i, uid=uid) for uid in ("u", "v") for i in range(3)]
    assert over_the_limit(ended, CONFIG, (), LATER) == []
    assert over_the_limit(ended, keep(max_dead_containers=6), (), LATER) == []
    assert sorted(ids(over_the_limit(ended, keep(max_dead_containers=4), (), LATER))) == ["u/a/0", "v/a/0"]
    few = sorted(ids(over_the_limit(ended, keep(max_dead_containers=0), ("v",), LATER)))
    assert few == ["u/a/0", "u/a/1", "v/a/0", "v/a/1", "v/a/2"]  # u goes on: its newest says that it ran
