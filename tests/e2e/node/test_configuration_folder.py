"""``--config-dir``: files that change the kubelet's configuration, right and wrong; and what a node does that has no
cluster DNS and few places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, eventually

HEAD = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}


def write(path: Path, **fields: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**HEAD, **fields}))
    return path


def test_a_folder_of_changes(kubectl: Kubectl, machine: Machine, tmp_path: Path) -> None:
    """The last file says it; a flag goes before all."""
    taken = sum(each["status"]["phase"] in ("Pending", "Running") for each in kubectl.get("pods", "-A")["items"])
    base = write(
        tmp_path / "kubelet.yaml", maxPods=40, clusterDomain="a.example", nodeStatusUpdateFrequency="1s", healthzPort=0
    )
    folder = tmp_path / "kubelet.conf.d"
    write(folder / "10-first.conf", maxPods=taken + 9, clusterDomain="b.example", podPidsLimit=4321)
    write(folder / "20-last.conf", maxPods=taken + 3)
    write(folder / "30-no-part-of-it.yaml", maxPods=1)
    said = 'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. '
    said += 'Falling back to "Default" policy.'
    health = ["curl", "-sS", "-o", "/dev/stdout", "-w", " %{http_code}", "http://127.0.0.1:10248/healthz"]
    assert machine.run(*health) == "ok 200"
    with machine.kubelet_with(config=base, config_dir=folder, cluster_dns=""):
        shown = json.loads(machine.kubelet_get("/configz"))["kubeletconfig"]
        assert (shown["maxPods"], shown["clusterDomain"], shown["clusterDNS"]) == (taken + 3, "b.example", [])

        assert machine.run(*health, check=False).strip() == "000"

        def places() -> str:
            return str(kubectl.get("node", machine.node)["status"]["allocatable"]["pods"])

        eventually("it tells of its places", lambda: places() == str(taken + 3))
        pods = {
            "first": kubectl.pod("first", "cat /etc/resolv.conf; exec sleep 600"),
            "own": kubectl.pod("own", "cat /etc/resolv.conf; exec sleep 600", dnsPolicy="Default"),
            "none": kubectl.pod("none", dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.53"]}),
        }
        found = {name: kubectl.running(name)["metadata"]["uid"] for name in pods}
        event = kubectl.event("MissingClusterDNS", "first")
        assert event["type"] == "Warning"
        assert event["message"] == f'pod: "first_{kubectl.namespace}({found["first"]})". {said}'
        assert Kubectl(machine).event("MissingClusterDNS", machine.node)["message"] == said
        assert kubectl("logs", "first") == kubectl("logs", "own")
        for name in ("own", "none"):
            assert [each for each in kubectl.events(name) if each["reason"] == "MissingClusterDNS"] == []
        kubectl.pod("toomany")
        status = kubectl.phase("Failed", "toomany")["status"]
        message = f"Node didn't have enough resource: pods, requested: 1, used: {taken + 3}, capacity: {taken + 3}"
        assert (status["reason"], status["message"]) == ("OutOfpods", f"Pod was rejected: {message}")
        kubectl("delete", "pod", "own")
        kubectl.pod("fits", dnsPolicy="Default")
        kubectl.running("fits")


def test_changes_that_are_none(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "kubelet.conf.d"
    said = machine.kubelet_refuses(config_dir=folder)
    assert f'failed to walk through kubelet dropin directory "{folder}"' in said and "No such file" in said
    wrong = write(folder / "10.conf", maxPod=3)
    said = machine.kubelet_refuses(config_dir=folder)
    assert f"failed to load kubelet dropin file, path: {wrong}, error: " in said and 'unknown field "maxPod"' in said
