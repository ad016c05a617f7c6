"""Graceful shutdown with a period for each priority, and the figures of it, which outlast the kubelet."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status, eventually

STUBBORN = "trap '' TERM; while true; do sleep 1; done"
POLITE = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


@pytest.fixture
def classes(kubectl: Kubectl) -> Iterator[dict[str, str]]:
    """Priority classes of 1000 and 2000."""
    found = {f"p{value}": f"{kubectl.namespace}-{value}" for value in (1000, 2000)}
    head = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
    kubectl.apply(*({**head, "metadata": {"name": name}, "value": int(key[1:])} for key, name in found.items()))
    yield found
    kubectl("delete", "priorityclass", *found.values())


def times(machine: Machine) -> tuple[float, float]:
    lines = dict(line.rsplit(" ", 1) for line in machine.kubelet_get("/metrics").splitlines() if line[:1] != "#")
    start, end = (float(lines[f"kubelet_graceful_shutdown_{which}_time_seconds"]) for which in ("start", "end"))
    return start, end


def test_each_priority_has_its_period(kubectl: Kubectl, machine: Machine, classes: dict[str, str]) -> None:
    """The lowest go first; who does not end within its group's period is killed, and the next group's begins."""
    long = {"terminationGracePeriodSeconds": 600}
    kubectl.pod("low", STUBBORN, **long)
    kubectl.pod("middle", POLITE, priorityClassName=classes["p1000"], **long)
    kubectl.pod("high", STUBBORN, priorityClassName=classes["p2000"], **long)
    for name in ("low", "middle", "high"):
        kubectl.running(name)
    with machine.kubelet_with(shutdown_grace_period_by_pod_priority="0=4,1000=120,2000=4"):
        started, ended = times(machine)
        assert machine.kubelet.running is not None
        machine.kubelet.running.send_signal(signal.SIGUSR1)
        eventually("the figures tell", lambda: times(machine)[0] > started and times(machine)[1] == 0)
        pods = {name: kubectl.phase("Failed", name) for name in ("low", "middle", "high")}
        states = {name: container_status(pod)["state"]["terminated"] for name, pod in pods.items()}
        assert {pod["status"]["reason"] for pod in pods.values()} == {"Terminated"}
        assert [states[name]["exitCode"] for name in ("low", "middle", "high")] == [137, 0, 137]
        order = [states[name]["finishedAt"] for name in ("low", "middle", "high")]
        assert order == sorted(order) and order[2] > order[0]
        assert machine.kubelet.running.wait(60) == 0
        record = json.loads((machine.kubelet_root / "graceful_node_shutdown_state").read_text())
        assert record["startTime"] < record["endTime"]
        machine.kubelet.restart()
        eventually("the node is back", machine.node_well)
        start, end = times(machine)
        assert end > start > started and end > ended


def test_periods_that_go_not_together(machine: Machine) -> None:
    flags = {"shutdown_grace_period_by_pod_priority": "0=4", "shutdown_grace_period": "10s"}
    said = machine.kubelet_refuses(**flags)
    assert "Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time" in said
