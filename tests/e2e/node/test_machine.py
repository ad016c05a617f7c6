"""The harness itself: a pod on the node, seen through kubectl, and a kubelet that is killed."""

from __future__ import annotations

import signal

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status


def test_a_pod_runs_and_survives_its_kubelet(kubectl: Kubectl, machine: Machine) -> None:
    kubectl.pod(command="echo hello; exec sleep 600")
    before = kubectl.running()
    assert before["status"]["podIP"].startswith("10.251.1.")
    assert kubectl("logs", "web") == "hello\n"
    assert kubectl.sh("hostname") == "web"
    containers = {each["Id"] for each in machine.containers(kubectl.namespace)}
    assert len(containers) == 2
    machine.kubelet.restart(signal.SIGKILL)
    kubectl.pod("later", container={"name": "app"})
    kubectl.running("later")
    after = kubectl.running()
    assert container_status(after)["containerID"] == container_status(before)["containerID"]
    assert container_status(after)["restartCount"] == 0
    kubectl("delete", "pod", "web", "later")
    assert machine.containers(kubectl.namespace) == []
