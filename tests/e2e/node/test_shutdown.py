"""The machine is about to shut down: pods end in order, the node says so and takes nobody; without a grace period
nothing ends."""

from __future__ import annotations

import signal

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status, eventually

STUBBORN = "trap '' TERM; while true; do sleep 1; done"


def finished(pod: dict[str, object]) -> str:
    return str(container_status(pod)["state"]["terminated"]["finishedAt"])


def test_pods_end_in_order_before_the_machine(kubectl: Kubectl, machine: Machine) -> None:
    kubectl.pod("polite")
    kubectl.pod("stubborn", STUBBORN, terminationGracePeriodSeconds=600)
    kubectl.pod("critical", priorityClassName="system-cluster-critical")
    for name in ("polite", "stubborn", "critical"):
        kubectl.running(name)
    flags = {"shutdown_grace_period": "18s", "shutdown_grace_period_critical_pods": "4s"}
    with machine.kubelet_with(**flags):
        assert machine.kubelet.running is not None
        machine.kubelet.running.send_signal(signal.SIGUSR1)
        not_ready = eventually("the node is not ready", lambda: _not_ready(machine))
        assert (not_ready["reason"], not_ready["message"]) == ("KubeletNotReady", "node is shutting down")
        kubectl.pod("late")
        late = kubectl.phase("Failed", "late")["status"]
        assert late["reason"] == "NodeShutdown"
        assert late["message"] == "Pod was rejected: Pod was rejected as the node is shutting down."
        pods = {name: kubectl.phase("Failed", name) for name in ("polite", "stubborn", "critical")}
        for pod in pods.values():
            status = pod["status"]
            assert status["reason"] == "Terminated"
            assert status["message"] == "Pod was terminated in response to imminent node shutdown."
            disrupted = next(each for each in status["conditions"] if each["type"] == "DisruptionTarget")
            assert (disrupted["status"], disrupted["reason"]) == ("True", "TerminationByKubelet")
        assert container_status(pods["polite"])["state"]["terminated"]["exitCode"] == 0
        assert container_status(pods["stubborn"])["state"]["terminated"]["exitCode"] == 137
        assert finished(pods["critical"]) >= finished(pods["stubborn"]) > finished(pods["polite"])
        event = Kubectl(machine).event("NodeShutdown", machine.node)
        assert event["message"] == "Shutdown manager detected shutdown event"
        assert machine.kubelet.running.wait(40) == 0
    assert kubectl.status("polite")["phase"] == "Failed"


def test_without_a_grace_period_nothing_ends(kubectl: Kubectl, machine: Machine) -> None:
    kubectl.pod()
    before = kubectl.running()
    assert machine.kubelet.running is not None
    machine.kubelet.running.send_signal(signal.SIGUSR1)
    assert machine.kubelet.running.wait(20) == 0
    machine.kubelet.restart()
    kubectl.pod("next")
    kubectl.running("next")
    after = kubectl.running()
    assert container_status(after)["containerID"] == container_status(before)["containerID"]


def _not_ready(machine: Machine) -> dict[str, str] | None:
    ready = machine.conditions().get("Ready", {})
    return ready if ready.get("status") == "False" else None
