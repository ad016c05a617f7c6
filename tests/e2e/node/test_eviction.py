"""A node that runs out of something ends pods, in upstream's order and words; one with enough ends none."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelet.node import memory
from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, eventually

FILL = "dd if=/dev/zero of={path} bs=1M count={size} 2>/dev/null; exec sleep 600"
MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {{name: fixed}}
spec:
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
  - name: app
    image: {image}
"""


def condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((each for each in pod["status"].get("conditions", []) if each["type"] == kind), {})


def test_memory_pressure_evicts_the_largest_and_spares_static_pods(kubectl: Kubectl, machine: Machine) -> None:
    """The threshold lies above what the machine has left, so that the pressure stays whoever goes."""
    (machine.manifests / "fixed.yaml").write_text(MANIFEST.format(image=machine.image))
    kubectl.pod("large", "dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null; exec sleep 600")
    kubectl.pod("asked", container={"resources": {"requests": {"memory": "64Mi"}}})
    for name in ("large", "asked"):
        kubectl.running(name)
    eventually("the pod has its memory", lambda: kubectl.sh("du -m /dev/shm/x | cut -f1", "large") == "40")
    low = f"memory.available<{memory.meminfo(Path('/proc/meminfo').read_text())['MemTotal'] - 1}"
    flags = {"eviction_hard": low, "eviction_pressure_transition_period": "1s"}
    try:
        with machine.kubelet_with(**flags):
            first = kubectl.phase("Failed", "large")
            assert kubectl.status("asked")["phase"] == "Running"
            eventually("the node tells", lambda: machine.conditions()["MemoryPressure"]["status"] == "True")
            told = machine.conditions()["MemoryPressure"]
            assert told["reason"] == "KubeletHasInsufficientMemory"
            assert told["message"] == "kubelet has insufficient memory available"
            status = first["status"]
            assert status["reason"] == "Evicted"
            assert status["message"].startswith("The node was low on resource: memory. Threshold quantity: ")
            assert status["message"].endswith("request is 0, has larger consumption of memory. ")
            assert ", available: " in status["message"] and " Container app was using 4" in status["message"]
            disrupted = condition(first, "DisruptionTarget")
            assert (disrupted["status"], disrupted["reason"]) == ("True", "TerminationByKubelet")
            event = kubectl.event("Evicted", "large")
            assert event["type"] == "Warning" and event["message"] == status["message"]
            assert event["metadata"]["annotations"]["offending_containers"] == "app"
            kubectl.phase("Failed", "asked")
            assert re.search(
                r'^kubelet_evictions\{eviction_signal="memory.available"\} [2-9]', machine.kubelet_get("/metrics"), re.M
            )
            kubectl.pod("late")
            late = kubectl.phase("Failed", "late")["status"]
            assert late["reason"] == "Evicted"
            assert late["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "
            assert "containerStatuses" not in late
            static = machine.kubectl().find("pod", f"fixed-{machine.node}")
            assert static["status"]["phase"] == "Running"
    finally:
        (machine.manifests / "fixed.yaml").unlink()
    eventually("the static pod is gone", lambda: not machine.kubectl().find("pod", f"fixed-{machine.node}"))
    kubectl.pod("after")
    kubectl.running("after")


def test_a_soft_threshold_for_processes(kubectl: Kubectl, machine: Machine) -> None:
    """It counts after its grace period, and then pods get time to end. The node tells from the start."""
    kubectl.pod(
        "slow", "trap 'echo bye; exit 0' TERM; while true; do sleep 0.1; done", terminationGracePeriodSeconds=60
    )
    kubectl.running("slow")
    most = Path("/proc/sys/kernel/pid_max").read_text().strip()
    soft = {"eviction_hard": "", "eviction_soft": f"pid.available<{most}", "eviction_max_pod_grace_period": 20}
    soft["eviction_soft_grace_period"] = "pid.available=3s"
    with machine.kubelet_with(**soft, eviction_pressure_transition_period="1s"):
        eventually("the node tells", lambda: machine.conditions()["PIDPressure"]["status"] == "True")
        assert machine.conditions()["PIDPressure"]["reason"] == "KubeletHasInsufficientPID"
        status = kubectl.phase("Failed", "slow")["status"]
        assert status["message"].startswith(
            f"The node was low on resource: pids. Threshold quantity: {most}, available: "
        )
        assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
        assert 'kubelet_evictions{eviction_signal="pid.available"} 1' in machine.kubelet_get("/metrics")


def test_pods_above_their_limits_of_local_storage_are_evicted(kubectl: Kubectl) -> None:
    limit = {"resources": {"limits": {"ephemeral-storage": "4Mi"}}}
    data = [{"name": "data", "emptyDir": {"sizeLimit": "2Mi"}}]
    mounted = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    kubectl.pod("volume", FILL.format(path="/data/file", size=6), container=mounted, volumes=data)
    kubectl.pod("layer", FILL.format(path="/file", size=6), container=limit)
    talk = ["sh", "-c", "head -c 6000000 /dev/zero | tr '\\0' x | fold -w 1000; exec sleep 600"]
    large = {"name": "large", "command": talk, "resources": {"limits": {"ephemeral-storage": "1Gi"}}}
    kubectl.pod("logs", containers=[{"name": "app", "command": talk, **limit}, large])
    kubectl.pod("within", FILL.format(path="/file", size=1), container={**limit, **mounted}, volumes=data)
    volume = kubectl.phase("Failed", "volume")["status"]
    assert (volume["reason"], volume["message"]) == (
        "Evicted",
        'Usage of EmptyDir volume "data" exceeds the limit "2Mi". ',
    )
    layer = kubectl.phase("Failed", "layer")["status"]
    assert (layer["reason"], layer["message"]) == (
        "Evicted",
        "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ",
    )
    logs = kubectl.phase("Failed", "logs")["status"]
    assert logs["message"] == 'Container app exceeded its local ephemeral storage limit "4Mi". '
    assert kubectl.running("within")["status"]["phase"] == "Running"
    assert not [event for event in kubectl.events("within") if event["reason"] == "Evicted"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48M", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk(kubectl: Kubectl, machine: Machine, small_disk: Path) -> None:
    """The kubelet starts on a disk that is full already, recovers, and evicts whoever fills it then."""
    full = small_disk / "full"
    with full.open("wb") as out, pytest.raises(OSError):
        while True:
            out.write(b"x" * (1 << 16))
    data = [{"name": "data", "emptyDir": {}}]
    mounted = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    low = {"eviction_hard": "nodefs.available<30%", "eviction_pressure_transition_period": "1s"}
    with machine.kubelet_with(root_dir=small_disk, **low):
        eventually("the node tells", lambda: machine.conditions()["DiskPressure"]["status"] == "True")
        kubectl.pod("refused")
        refused = kubectl.phase("Failed", "refused")["status"]
        assert refused["message"] == "Pod was rejected: The node had condition: [DiskPressure]. "
        full.unlink()
        eventually("the node has recovered", machine.node_well)
        kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"key": "value"}})
        settings = {"volumes": [{"name": "data", "configMap": {"name": "c"}}]}
        kubectl.pod("modest", container=mounted, **settings)
        kubectl.running("modest")
        kubectl.pod("greedy", FILL.format(path="/data/file", size=60), container=mounted, volumes=data)
        greedy = kubectl.phase("Failed", "greedy")["status"]
        assert greedy["reason"] == "Evicted"
        assert greedy["message"].startswith("The node was low on resource: ephemeral-storage. Threshold quantity: ")
        assert (
            machine.kubectl()
            .event("EvictionThresholdMet", machine.node)["message"]
            .startswith("Attempting to reclaim ")
        )
        eventually("the node has recovered", machine.node_well)
        assert kubectl.running("modest")["status"]["phase"] == "Running"
        assert kubectl.sh("cat /data/key", "modest") == "value"
        kubectl.pod("next", container=mounted, **settings)
        kubectl.running("next")
        kubectl("delete", "pod", "--all", "--grace-period=1")
    assert not list((small_disk / "pods").iterdir())
