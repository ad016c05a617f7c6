"""Resources of running pods are changed in place (KEP-1287), across a kubelet that is killed."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import SLEEP, Kubectl, container_status, eventually

MIB = 1 << 20


def resources(cpu: str, memory: str) -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


def resize(kubectl: Kubectl, name: str, wanted: dict[str, Any]) -> None:
    patch = {"spec": {"containers": [{"name": "app", "resources": wanted}]}}
    words = ["--subresource", "resize", "--patch", json.dumps(patch), "-o", "jsonpath={.status.resize}"]
    assert kubectl("patch", "pod", name, *words) == "Proposed"


def host_config(machine: Machine, container_id: str) -> dict[str, Any]:
    client = machine.docker()
    try:
        return dict(client.inspect_container(container_id.removeprefix("docker://"))["HostConfig"])
    finally:
        client.close()


def has(kubectl: Kubectl, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Waits until the container is said to have that, and nothing more is wanted."""

    def there() -> Any:
        status = kubectl.status(name)
        own = container_status(status)
        done = own.get("resources") == wanted and own.get("allocatedResources") == wanted["requests"]
        return own if done and "resize" not in status and own["state"].get("running") else None

    return dict(eventually(f"{name} has {wanted}", there))


def test_in_place_or_with_a_restart(kubectl: Kubectl, machine: Machine) -> None:
    small, large, huge = resources("100m", "32Mi"), resources("200m", "64Mi"), resources("900", "64Mi")
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    kubectl.pod("live", SLEEP, container={"resources": small})
    kubectl.pod("restarts", SLEEP, container={"resources": small, "resizePolicy": policy})
    for name in ("live", "restarts"):
        kubectl.running(name)
    before = has(kubectl, "live", small)
    resize(kubectl, "live", large)
    after = has(kubectl, "live", large)
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
    config = host_config(machine, after["containerID"])
    assert (config["CpuShares"], config["CpuQuota"], config["Memory"]) == (204, 20_000, 64 * MIB)
    resize(kubectl, "live", small)
    assert has(kubectl, "live", small)["restartCount"] == 0
    assert host_config(machine, before["containerID"])["Memory"] == 32 * MIB
    resize(kubectl, "restarts", resources("200m", "32Mi"))  # of the cpu alone: no restart
    assert has(kubectl, "restarts", resources("200m", "32Mi"))["restartCount"] == 0
    resize(kubectl, "restarts", large)
    assert has(kubectl, "restarts", large)["restartCount"] == 1
    kubectl.event("Killing", "restarts", "Container app resize requires restart")
    resize(kubectl, "live", huge)
    eventually("it never fits", lambda: kubectl.status("live").get("resize") == "Infeasible")
    own = container_status(kubectl.status("live"))
    assert (own["resources"], own["allocatedResources"]) == (small, small["requests"])
    fewer = {"spec": {"containers": [{"name": "app", "resources": {"limits": {"cpu": None}}}]}}
    refused = kubectl.attempt("patch", "pod", "live", "--subresource", "resize", "--patch", json.dumps(fewer))
    assert refused.code != 0


def test_what_was_promised_outlives_the_kubelet(kubectl: Kubectl, machine: Machine) -> None:
    """What others have must be given back first: until then the pod waits, also over a restart of the kubelet."""
    free = int(kubectl.get("node", machine.node)["status"]["allocatable"]["cpu"]) * 1000
    most, little = {"requests": {"cpu": f"{free * 3 // 5}m"}}, {"requests": {"cpu": "50m"}}
    kubectl.pod("taker", SLEEP, container={"resources": most})
    kubectl.pod("waits", SLEEP, container={"resources": little})
    kubectl.pod("grown", SLEEP, container={"resources": little})
    for name in ("taker", "waits", "grown"):
        kubectl.running(name)
    resize(kubectl, "grown", {"requests": {"cpu": "60m"}})
    grown = has(kubectl, "grown", {"requests": {"cpu": "60m"}})
    resize(kubectl, "waits", most)
    eventually("it waits", lambda: kubectl.status("waits").get("resize") == "Deferred")
    machine.kubelet.kill()
    resize(kubectl, "grown", {"requests": {"cpu": "70m"}})  # while nobody looks
    machine.kubelet.start()
    after = has(kubectl, "grown", {"requests": {"cpu": "70m"}})
    assert (after["containerID"], after["restartCount"]) == (grown["containerID"], 0)
    eventually("it waits still", lambda: kubectl.status("waits").get("resize") == "Deferred")
    assert container_status(kubectl.status("waits"))["allocatedResources"] == {"cpu": "50m"}
    kubectl("delete", "pod", "taker")
    assert has(kubectl, "waits", most)["restartCount"] == 0
    eventually("the kubelet is up", machine.node_ready)
