"""What the node says of itself, as kubectl shows it."""

from __future__ import annotations

import json
import signal
from datetime import datetime
from pathlib import Path

import yaml

from tests.e2e.node.machine import ADDRESS, Machine
from tests.e2e.node.support import eventually

WELL = {
    "MemoryPressure": ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    "Ready": ("True", "KubeletReady", "kubelet is posting ready status"),
}


def test_the_node_describes_itself(machine: Machine) -> None:
    kubectl = machine.kubectl()
    node = kubectl.get("node", machine.node)
    labels, status = node["metadata"]["labels"], node["status"]
    for prefix in ("kubernetes.io", "beta.kubernetes.io"):
        assert labels[f"{prefix}/os"] == "linux" and labels[f"{prefix}/arch"] in ("amd64", "arm64")
    assert labels["kubernetes.io/hostname"] == machine.node
    assert node["metadata"]["annotations"]["volumes.kubernetes.io/controller-managed-attach-detach"] == "true"
    addresses = [(each["type"], each["address"]) for each in status["addresses"]]
    assert addresses == [("InternalIP", ADDRESS), ("Hostname", machine.node)]
    found = {kind: (each["status"], each["reason"], each["message"]) for kind, each in machine.conditions().items()}
    assert {kind: found[kind] for kind in WELL} == WELL
    for name in ("cpu", "memory", "ephemeral-storage", "pods"):
        assert name in status["capacity"] and name in status["allocatable"]
    assert status["capacity"]["pods"] == "110"
    pages = sum(int(v) for k, v in status["capacity"].items() if k.startswith("hugepages-") and v.isdigit())

    def held_back() -> int:
        """A kubelet that was just started again has still to say what it offers."""
        told = kubectl.get("node", machine.node)["status"]
        memory = [int(told[part]["memory"].removesuffix("Ki")) for part in ("capacity", "allocatable")]
        return memory[0] - memory[1]

    eventually("the threshold is held back", lambda: held_back() == (100 << 10) + pages)
    assert status["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
    assert status["nodeInfo"]["kubeletVersion"].startswith("v1.32.")
    assert status["nodeInfo"]["containerRuntimeVersion"].startswith("docker://")
    assert status["nodeInfo"]["bootID"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    eventually("images are told", lambda: kubectl.get("node", machine.node)["status"].get("images"))
    told = kubectl("describe", "node", machine.node)
    for line in ("Starting", "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeReady"):
        assert line in told


def test_the_lease_is_the_heart_of_the_node(machine: Machine) -> None:
    kubectl = machine.kubectl()

    def lease() -> dict[str, str]:
        return dict(kubectl.get("lease", machine.node, "-n", "kube-node-lease")["spec"])

    assert (lease()["holderIdentity"], lease()["leaseDurationSeconds"]) == (machine.node, 40)
    with machine.kubelet_with(node_lease_duration_seconds=4):
        first = eventually("the lease is shorter", lambda: lease() if lease()["leaseDurationSeconds"] == 4 else None)
        second = eventually("it is renewed", lambda: lease() if lease()["renewTime"] != first["renewTime"] else None)
        assert datetime.fromisoformat(second["renewTime"]) > datetime.fromisoformat(first["renewTime"])


def test_what_others_add_to_the_node_stays(machine: Machine) -> None:
    kubectl = machine.kubectl()

    def patch(value: str | None) -> None:
        body = json.dumps({"status": {"capacity": {"example.com/dongle": value}}})
        kubectl("patch", "node", machine.node, "--subresource=status", "--type=merge", "-p", body)

    def allocatable() -> str | None:
        return kubectl.get("node", machine.node)["status"]["allocatable"].get("example.com/dongle")

    with machine.kubelet_with(node_status_update_frequency="1s"):
        patch("4")
        eventually("it is allocatable", lambda: allocatable() == "4")
        kubectl("cordon", machine.node)
        kubectl.event("NodeNotSchedulable", machine.node)
        kubectl("uncordon", machine.node)
        kubectl.event("NodeSchedulable", machine.node)
        assert kubectl.get("node", machine.node)["status"]["capacity"]["example.com/dongle"] == "4"
        patch(None)
        eventually("it is gone", lambda: allocatable() is None)


def test_a_configuration_file(machine: Machine, tmp_path: Path) -> None:
    """Reserved resources, taints and labels of a node that registers anew; a flag goes before the file."""
    kubectl = machine.kubectl()
    before = kubectl.get("node", machine.node)["status"]["capacity"]
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "maxPods": 20,
        "podsPerCore": 0,
        "kubeReserved": {"cpu": "100m", "memory": "1Gi"},
        "systemReserved": {"cpu": "200m", "memory": "1Gi"},
        "evictionHard": {"memory.available": "1Gi", "nodefs.available": "10%"},
        "registerWithTaints": [{"key": "test", "value": "x", "effect": "NoSchedule"}],
        "providerID": "lab://1",
        "nodeStatusUpdateFrequency": "1s",
    }
    path = tmp_path / "kubelet.yaml"
    path.write_text(yaml.safe_dump(config))
    flags = {"config": path, "register_schedulable": "false", "cloud_provider": "external", "node_labels": "lab=1"}
    try:
        kubectl("delete", "node", machine.node)
        with machine.kubelet_with(**flags, max_pods=30):
            eventually("the node is Ready", machine.node_ready)
            node = kubectl.get("node", machine.node)
            whole, left = node["status"]["capacity"], node["status"]["allocatable"]
            assert whole["pods"] == "30" and left["cpu"] == f"{int(whole['cpu']) * 1000 - 300}m"
            kibibytes = [int(each["memory"].removesuffix("Ki")) for each in (whole, left)]
            assert kibibytes[0] - kibibytes[1] == 3 << 20
            assert whole["memory"] == before["memory"]
            taints = {(each["key"], each.get("value"), each["effect"]) for each in node["spec"]["taints"]}
            assert {
                ("test", "x", "NoSchedule"),
                ("node.kubernetes.io/unschedulable", None, "NoSchedule"),
                ("node.cloudprovider.kubernetes.io/uninitialized", "true", "NoSchedule"),
            } <= taints
            assert node["spec"]["unschedulable"] is True and node["spec"]["providerID"] == "lab://1"
            assert node["metadata"]["labels"]["lab"] == "1"
    finally:
        kubectl.attempt("delete", "node", machine.node)
        machine.kubelet.restart(signal.SIGTERM)
        eventually("the node is as it was", machine.node_well)


def test_a_wrong_configuration_is_told(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "kubelet.yaml"
    path.write_text("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPod: 3\n")
    said = machine.kubelet_refuses(config=path)
    assert 'strict decoding error: unknown field "maxPod"' in said and str(path) in said
    assert "unsupported eviction signal nonsense" in machine.kubelet_refuses(eviction_hard="nonsense<1")
