"""The kubelet's figures as its clients read them: the Summary, and the pages of metrics, of real pods."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, eventually

BUSY = "dd if=/dev/zero of=/scratch/file bs=1M count=8; i=0; while true; do i=$((i+1)); done"
SERIES = re.compile(r"^(\w+)(\{.*\})? ([0-9.e+-]+)( \d+)?$")


def series(text: str, name: str, **labels: str) -> list[tuple[float, int | None]]:
    """Value and time of the series with that name and at least these labels."""
    found = []
    for line in text.splitlines():
        match = SERIES.match(line)
        if match and match[1] == name and all(f'{key}="{value}"' in (match[2] or "") for key, value in labels.items()):
            found.append((float(match[3]), int(match[4]) if match[4] else None))
    return found


def bind(kubectl: Kubectl, volume: str) -> None:
    """What a volume controller does: there is none here."""
    uid = kubectl.get("pvc", "claim")["metadata"]["uid"]
    kubectl("patch", "pv", volume, "-p", json.dumps({"spec": {"claimRef": {"uid": uid}}}))
    for kind, name in (("pv", volume), ("pvc", "claim")):
        kubectl("patch", kind, name, "--subresource=status", "-p", json.dumps({"status": {"phase": "Bound"}}))


def test_figures_of_a_pod_that_works(kubectl: Kubectl, machine: Machine) -> None:
    quiet = {"name": "quiet", "command": ["sleep", "600"]}
    busy = {
        "name": "busy",
        "command": ["sh", "-c", BUSY],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "resources": {"limits": {"cpu": "300m", "memory": "64Mi"}},
    }
    kubectl.pod(containers=[busy, quiet], volumes=[{"name": "scratch", "emptyDir": {}}])
    uid = kubectl.running()["metadata"]["uid"]

    def summary(query: str = "") -> Any:
        return json.loads(machine.kubelet_get(f"/stats/summary{query}"))

    def pod_of(found: Any) -> Any:
        return next((each for each in found["pods"] if each["podRef"]["uid"] == uid), None)

    def measured() -> Any:
        """A rate needs two looks."""
        pod = pod_of(summary())
        return pod if pod and pod["cpu"].get("usageNanoCores", 0) > 50_000_000 else None

    pod = eventually("the pod's rate of CPU", measured)
    containers = {each["name"]: each for each in pod["containers"]}
    assert set(containers) == {"busy", "quiet"}
    assert containers["busy"]["cpu"]["usageNanoCores"] > 2 * containers["quiet"]["cpu"]["usageNanoCores"]
    assert 0 < containers["busy"]["memory"]["availableBytes"] < 64 << 20
    assert "availableBytes" not in containers["quiet"]["memory"]
    assert containers["quiet"]["rootfs"]["capacityBytes"] > containers["quiet"]["rootfs"]["usedBytes"]
    assert containers["busy"]["logs"]["inodesUsed"] >= 1
    assert pod["network"]["name"] == "eth0"
    assert pod["process_stats"]["process_count"] >= 3
    scratch = next(each for each in pod["volume"] if each["name"] == "scratch")
    assert 8 << 20 <= scratch["usedBytes"] < 9 << 20
    assert pod["ephemeral-storage"]["usedBytes"] >= scratch["usedBytes"]

    whole = summary()
    node = whole["node"]
    assert node["nodeName"] == machine.node
    assert {each["name"] for each in node["systemContainers"]} == {"kubelet", "runtime", "pods"}
    assert node["memory"]["availableBytes"] + node["memory"]["workingSetBytes"] > node["memory"]["usageBytes"]
    assert node["fs"]["capacityBytes"] > 0 and node["runtime"]["imageFs"]["usedBytes"] > 0
    assert node["rlimit"]["maxpid"] > node["rlimit"]["curproc"] > 0

    brief = summary("?only_cpu_and_memory=true")
    assert "fs" not in brief["node"] and "volume" not in pod_of(brief) and "network" not in pod_of(brief)

    mine = {"namespace": kubectl.namespace, "pod": "web"}
    text = machine.kubelet_get("/metrics/resource")
    [(cpu, at)] = series(text, "container_cpu_usage_seconds_total", container="busy", **mine)
    assert cpu > 0.05 and at is not None
    [(pod_cpu, _)] = series(text, "pod_cpu_usage_seconds_total", **mine)
    assert pod_cpu >= cpu
    assert series(text, "container_start_time_seconds", container="quiet", **mine)[0][1] is None
    assert series(text, "resource_scrape_error") == [(0.0, None)]
    assert series(text, "node_memory_working_set_bytes")

    text = machine.kubelet_get("/metrics/cadvisor")
    assert series(text, "container_cpu_usage_seconds_total", container="busy", cpu="total", **mine)
    assert series(text, "container_cpu_cfs_throttled_periods_total", container="busy", **mine)[0][0] > 0
    assert series(text, "container_spec_memory_limit_bytes", container="busy", **mine)[0][0] == 64 << 20
    [(received, _)] = series(text, "container_network_receive_bytes_total", interface="eth0", container="", **mine)
    assert received > 0
    assert series(text, "container_fs_usage_bytes", container="quiet", **mine)
    assert series(text, "machine_cpu_cores")[0][0] >= 1

    kubectl("delete", "pod", "web")
    assert pod_of(summary()) is None
    assert not series(machine.kubelet_get("/metrics/resource"), "container_cpu_usage_seconds_total", **mine)


def test_the_kubelets_own_metrics(kubectl: Kubectl, machine: Machine) -> None:
    """Of a pod with a claim: a local volume is a file system of its own."""
    storage = machine.root / "disk"
    storage.mkdir(exist_ok=True)
    name = f"pv-{kubectl.namespace}"
    affinity = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [machine.node]}]}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "none",
            "claimRef": {"namespace": kubectl.namespace, "name": "claim"},
            "local": {"path": str(storage)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [affinity]}},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "claim"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "none",
            "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    kubectl.apply(volume, claim)
    bind(kubectl, name)
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    container = {"readinessProbe": probe, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "claim"}}]
    kubectl.pod(command="exec sleep 600", container=container, volumes=volumes)
    kubectl.running()
    machine.kubelet_get("/no/such/page")
    text = machine.kubelet_get("/metrics")
    assert series(text, "kubelet_node_name", node=machine.node) == [(1.0, None)]
    assert series(text, "kubelet_running_pods")[0][0] >= 1
    assert series(text, "kubelet_running_containers", container_state="running")[0][0] >= 1
    assert series(text, "kubelet_runtime_operations_total", operation_type="create_container")[0][0] >= 1
    assert series(text, "kubelet_runtime_operations_duration_seconds_count", operation_type="run_podsandbox")
    assert series(text, "kubelet_http_requests_total", path="other", method="GET")[0][0] >= 1
    assert "no/such" not in text
    mine = {"namespace": kubectl.namespace, "persistentvolumeclaim": "claim"}
    [(capacity, _)] = series(text, "kubelet_volume_stats_capacity_bytes", **mine)
    [(used, _)] = series(text, "kubelet_volume_stats_used_bytes", **mine)
    assert 0 < used < capacity
    mounted = {"volume_plugin": "kubernetes.io/pv", "operation_name": "volume_mount", "status": "success"}
    assert series(text, "storage_operation_duration_seconds_count", **mounted)[0][0] >= 1
    assert series(text, "volume_manager_total_volumes", state="desired_state_of_world")
    assert series(text, "kubelet_pod_start_duration_seconds_count")[0][0] >= 1
    assert series(text, "kubelet_pod_worker_duration_seconds_count", operation_type="sync")[0][0] >= 1
    assert series(text, "kubelet_started_containers_total", container_type="container")[0][0] >= 1
    assert series(text, "kubelet_pleg_relist_duration_seconds_count")[0][0] >= 1
    assert sum(value for value, _ in series(text, "rest_client_requests_total", method="PATCH", code="200")) >= 1
    probed = {"probe_type": "Readiness", "result": "successful", "namespace": kubectl.namespace}
    assert series(machine.kubelet_get("/metrics/probes"), "prober_probe_total", **probed)[0][0] >= 1
    kubectl("delete", "pod", "web")
    kubectl("delete", "pv", name, "--wait=false")
    refused = machine.run(
        "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://192.0.2.10:10250/metrics/resource"
    )
    assert refused == "401"
