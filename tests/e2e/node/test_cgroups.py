"""Requests and limits in the kernel's own files: of containers, of pods, of QoS classes and of all pods."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kubelet.cgroups.values import Names, weight
from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status, eventually

SLEEP = "exec sleep 600"
TREE = Path("/sys/fs/cgroup")
V1 = (TREE / "cpu").is_dir()
MIB = 1 << 20


def value(path: str, controller: str, name: str) -> str:
    """In a file of a cgroup; "" when there is none."""
    file = TREE / (controller if V1 else "") / path.lstrip("/") / name
    return file.read_text().strip() if file.exists() else ""


def cpu(path: str) -> tuple[int, int]:
    """A cgroup's weight, in the terms of its version, and its microseconds of each 100 ms (-1: as many as it likes)."""
    if V1:
        return int(value(path, "cpu", "cpu.shares")), int(value(path, "cpu", "cpu.cfs_quota_us"))
    most, _ = value(path, "cpu", "cpu.max").split()
    return int(value(path, "cpu", "cpu.weight")), -1 if most == "max" else int(most)


def memory(path: str) -> int:
    """A cgroup's limit in bytes; -1 for none."""
    text = value(path, "memory", "memory.limit_in_bytes" if V1 else "memory.max")
    return -1 if text == "max" or int(text) > 1 << 60 else int(text)


def share(shares: int) -> int:
    return shares if V1 else weight(shares)


@pytest.fixture
def names(machine: Machine) -> Names:
    """Where the runtime's driver has the cgroups of pods."""
    with closing(machine.docker()) as client:
        return Names(f"/{machine.space}", client.info()["CgroupDriver"])


def resources(requests: dict[str, str], limits: dict[str, str]) -> dict[str, Any]:
    return {"resources": {"requests": requests, "limits": limits}}


def test_pods_have_cgroups_by_their_class(kubectl: Kubectl, machine: Machine, names: Names) -> None:
    few, all_of_it = {"cpu": "100m", "memory": "32Mi"}, {"cpu": "200m", "memory": "64Mi"}
    kubectl.pod("guaranteed", SLEEP, container=resources(all_of_it, all_of_it))
    kubectl.pod("burstable", SLEEP, container=resources(few, all_of_it))
    two = [{"name": "app", "command": ["sleep", "600"], **resources(few, {"memory": "64Mi"})}, {"name": "free"}]
    kubectl.pod("open", containers=two)
    kubectl.pod("best", SLEEP)
    places, containers = {}, {}
    for name, quality in (
        ("guaranteed", "Guaranteed"),
        ("burstable", "Burstable"),
        ("open", "Burstable"),
        ("best", "BestEffort"),
    ):
        pod = kubectl.running(name)
        places[name] = names.pod(quality, pod["metadata"]["uid"])
        container = container_status(pod)["containerID"].removeprefix("docker://")
        containers[name] = names.container(quality, pod["metadata"]["uid"], container)
    for name, shares, quota, limit in (
        ("guaranteed", 204, 20000, 64 * MIB),
        ("burstable", 102, 20000, 64 * MIB),
        ("open", 102, -1, -1),
        ("best", 2, -1, -1),
    ):
        assert cpu(places[name]) == (share(shares), quota), name
        assert memory(places[name]) == limit, name
    assert cpu(containers["burstable"]) == (share(102), 20000)
    assert memory(containers["burstable"]) == 64 * MIB
    assert cpu(containers["best"])[0] == share(2)
    assert cpu(names.quality("BestEffort"))[0] == share(2)
    classes = names.quality("Burstable")
    eventually("burstable pods weigh what they request", lambda: cpu(classes)[0] == share(204))
    total = int(kubectl.get("node", machine.node)["status"]["capacity"]["memory"].removesuffix("Ki")) * 1024
    assert abs(memory(names.kubepods()) - total) < MIB
    machine.kubectl().event("NodeAllocatableEnforced", machine.node, "Updated Node Allocatable limit across pods")
    if names.driver == "systemd":  # it sets everything anew, and knows what
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        assert memory(places["burstable"]) == 64 * MIB
        assert cpu(places["guaranteed"])[0] == share(204)
    kubectl("delete", "pod", "guaranteed", "burstable", "open", "best")
    for name, place in places.items():
        for controller in ("cpu", "memory", "freezer", "systemd"):
            assert not (TREE / (controller if V1 else "") / place.lstrip("/")).exists(), (name, controller)
    eventually("none is burstable", lambda: cpu(classes)[0] == share(2))


def test_memory_that_is_not_there(kubectl: Kubectl) -> None:
    """The container's first process, and a child of it: that alone is killed where a cgroup cannot end as a whole."""
    limited = resources({}, {"memory": "24Mi"})
    kubectl.pod("first", "exec tail /dev/zero", container=limited, restartPolicy="Never")
    kubectl.pod("child", "sleep 1; tail /dev/zero; exit 3", container=limited, restartPolicy="Never")
    kubectl.pod("enough", "head -c 1m /dev/zero | tail >/dev/null; exit 3", container=limited, restartPolicy="Never")
    for name in ("first", "child"):
        ended = container_status(kubectl.phase("Failed", name))["state"]["terminated"]
        assert ended["reason"] == "OOMKilled", name
    assert container_status(kubectl.status("first"))["state"]["terminated"]["exitCode"] == 137
    assert container_status(kubectl.status("child"))["state"]["terminated"]["exitCode"] == (3 if V1 else 137)
    assert container_status(kubectl.phase("Failed", "enough"))["state"]["terminated"]["reason"] == "Error"


@pytest.mark.skipif(not V1, reason="with version 2 the runtime counts these kills too")
def test_memory_whose_want_the_runtime_is_not_told_of(kubectl: Kubectl, machine: Machine) -> None:
    """In a cgroup within the container's, of which Docker hears nothing: the kernel's log tells, of a container that
    ended while there was no kubelet too. Who is killed otherwise did not lack memory."""
    wait = "while [ ! -e /tmp/go ]; do sleep 0.1; done; exec tail /dev/zero"
    for name in ("lacks", "late"):
        kubectl.pod(name, wait, restartPolicy="Never")
    kubectl.pod("other", "sh -c 'kill -9 $$$$'; exit $?", restartPolicy="Never")
    for name in ("lacks", "late"):
        pod = kubectl.running(name)
        container = container_status(pod)["containerID"].removeprefix("docker://")
        place = Path("/sys/fs/cgroup/memory", machine.space, "kubepods/besteffort", f"pod{pod['metadata']['uid']}")
        inner = place / container / "inner"
        inner.mkdir()
        (inner / "memory.limit_in_bytes").write_text(str(8 * MIB))
        first = min(map(int, (place / container / "cgroup.procs").read_text().split()))
        (inner / "cgroup.procs").write_text(str(first))
    kubectl.sh("touch /tmp/go", "lacks")
    ended = container_status(kubectl.phase("Failed", "lacks"))["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    machine.kubelet.kill()
    try:
        docker = machine.docker()
        running = container_status(kubectl.status("late"))["containerID"].removeprefix("docker://")
        docker.exec_start(docker.exec_create(running, ["touch", "/tmp/go"])["Id"])
        docker.wait(running, timeout=60)
        assert not docker.inspect_container(running)["State"]["OOMKilled"]
        docker.close()
    finally:
        machine.kubelet.start()
    assert container_status(kubectl.phase("Failed", "late"))["state"]["terminated"]["reason"] == "OOMKilled"
    ended = container_status(kubectl.phase("Failed", "other"))["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("Error", 137)
    eventually("the kubelet is up", machine.node_ready)


def test_oom_scores(kubectl: Kubectl, machine: Machine) -> None:
    """As far as the host lets them be: it may refuse to protect a process."""
    offered = int(kubectl.get("node", machine.node)["status"]["allocatable"]["memory"].removesuffix("Ki")) * 1024
    memory = {"memory": "256Mi"}
    kubectl.pod("best", SLEEP)
    kubectl.pod("burstable", SLEEP, container=resources(memory, {}))
    kubectl.pod("guaranteed", SLEEP, container=resources({"cpu": "10m", **memory}, {"cpu": "10m", **memory}))
    expected = {"best": (1000,), "burstable": (1000 - 1000 * 256 * MIB // offered, 989, 990), "guaranteed": (-997, 0)}
    for name, scores in expected.items():
        kubectl.running(name)
        assert int(kubectl.sh("cat /proc/1/oom_score_adj", name)) in scores, name


def test_what_a_killed_kubelet_leaves_is_cleaned(kubectl: Kubectl, machine: Machine, names: Names) -> None:
    """The pod is deleted while nobody looks."""
    kubectl.pod("lost")
    kubectl.pod("stays")
    places = []
    for name in ("lost", "stays"):
        place = names.pod("BestEffort", kubectl.running(name)["metadata"]["uid"]).lstrip("/")
        trees = [*TREE.glob("*")] if V1 else [TREE]
        places.append([tree / place for tree in trees if (tree / place).exists()])
    assert places[0]
    machine.kubelet.kill()
    kubectl("delete", "pod", "lost", "--grace-period=0", "--force")
    machine.kubelet.start()
    eventually("the cgroups of the lost pod are gone", lambda: not any(each.exists() for each in places[0]))
    assert all(each.exists() for each in places[1])
    eventually("the kubelet is up", machine.node_ready)
