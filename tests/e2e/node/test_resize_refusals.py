"""A resize that the container runtime refuses: the pod runs on with what it has, and the kubelet goes on trying."""

from __future__ import annotations

from typing import Any

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status, eventually
from tests.e2e.node.test_resize import MIB, has, host_config, resize, resources


def test_docker_refuses(kubectl: Kubectl, machine: Machine) -> None:
    """Docker takes no limit below 6 MiB. As upstream the resize stays in progress; another wish takes its place."""
    before, least, after = resources("100m", "32Mi"), resources("100m", "4Mi"), resources("100m", "48Mi")
    kubectl.pod(command="exec sleep 600", container={"resources": before})
    kubectl.running()
    container = has(kubectl, "web", before)["containerID"]
    log = machine.kubelet.log.stat().st_size
    resize(kubectl, "web", least)

    def refused() -> bool:
        return machine.kubelet.log.read_bytes()[log:].count(b"cannot be resized yet") >= 2

    eventually("Docker has refused it, and again", refused)

    def told() -> Any:
        status = kubectl.status("web")
        return status if status.get("resize") == "InProgress" else None

    status = eventually("it is in progress", told)
    own = container_status(status)
    has_still = {"requests": least["requests"], "limits": before["limits"]}
    assert (own["resources"], own["allocatedResources"]) == (has_still, least["requests"])
    assert (own["containerID"], own["restartCount"], own["ready"]) == (container, 0, True)
    assert host_config(machine, container)["Memory"] == 32 * MIB
    resize(kubectl, "web", after)
    assert has(kubectl, "web", after)["containerID"] == container
    assert host_config(machine, container)["Memory"] == 48 * MIB
