"""Pods that a node refuses, and the room that it makes for critical ones: seen through kubectl."""

from __future__ import annotations

import re

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, eventually

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {{name: needy}}
spec:
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
  - name: app
    image: {image}
    resources: {{requests: {{cpu: "{cpu}"}}}}
"""


def requesting(cpu: str) -> dict[str, object]:
    return {"resources": {"requests": {"cpu": cpu}}}


def preemptions(machine: Machine) -> int:
    found = re.search(r'^kubelet_preemptions\{preemption_signal="cpu"\} (\d+)', machine.kubelet_get("/metrics"), re.M)
    return int(found[1]) if found else 0


def test_pods_that_do_not_fit_are_refused(kubectl: Kubectl, machine: Machine) -> None:
    port = {"ports": [{"containerPort": 80, "hostPort": 18080}]}
    kubectl.pod("first", container=port)
    kubectl.running("first")
    kubectl("taint", "node", machine.node, "test=x:NoExecute")
    try:
        tolerating = {"tolerations": [{"operator": "Exists"}]}
        eventually("the pod that does not tolerate it is gone", lambda: not kubectl.find("pod", "first"))
        kubectl.pod("first", container=port, **tolerating)
        kubectl.running("first")
        kubectl.pod("ports", container=port, **tolerating)
        kubectl.pod("other", container={"ports": [{"containerPort": 80, "hostPort": 18081}]}, **tolerating)
        kubectl.pod("labels", nodeSelector={"no": "such"}, **tolerating)
        kubectl.pod("cpu", container=requesting("900"), **tolerating)
        expected = {
            "ports": (
                "NodePorts",
                "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
            ),
            "labels": (
                "NodeAffinity",
                "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
            ),
            "cpu": ("OutOfcpu", "Node didn't have enough resource: cpu, requested: 900000, used: "),
        }
        for name, (reason, message) in expected.items():
            status = kubectl.phase("Failed", name)["status"]
            assert status["reason"] == reason
            assert status["message"].startswith(f"Pod was rejected: {message}")
            assert kubectl.event(reason, name)["message"].startswith(message)
        assert "OutOfcpu" in kubectl("get", "pod", "cpu")
        kubectl.running("other")
    finally:
        kubectl("taint", "node", machine.node, "test-")


def test_a_label_that_is_new_counts(kubectl: Kubectl, machine: Machine) -> None:
    kubectl("label", "node", machine.node, f"fresh={kubectl.namespace}")
    kubectl.pod("matching", nodeSelector={"fresh": kubectl.namespace})
    kubectl.running("matching")


def test_critical_pods_push_others_out(kubectl: Kubectl, machine: Machine) -> None:
    """A static pod is critical by itself; what is critical too stays."""
    node = machine.kubectl().get("node", machine.node)
    cores = int(node["status"]["allocatable"]["cpu"])
    kubectl.pod("plain", container=requesting(f"{cores * 1000 - 500}m"))
    kubectl.pod("modest", container=requesting("100m"))
    for name in ("plain", "modest"):
        kubectl.running(name)
    manifest, name = machine.manifests / "needy.yaml", f"needy-{machine.node}"
    before = preemptions(machine)
    try:
        manifest.write_text(MANIFEST.format(image=machine.image, cpu="600m"))
        plain = kubectl.phase("Failed", "plain")["status"]
        assert (plain["reason"], plain["message"]) == ("Preempting", "Preempted in order to admit critical pod")
        disrupted = next(each for each in plain["conditions"] if each["type"] == "DisruptionTarget")
        assert disrupted["message"] == "Pod was preempted by Kubelet to accommodate a critical pod."
        assert kubectl.event("Preempting", "plain")["type"] == "Warning"
        assert preemptions(machine) == before + 1
        static = Kubectl(machine)
        static.running(name)
        assert kubectl.running("modest")["status"]["phase"] == "Running"
        manifest.write_text(MANIFEST.format(image=machine.image, cpu="999"))
        refused = static.phase("Failed", name)["status"]
        assert refused["reason"] == "UnexpectedAdmissionError"
        assert "no set of running pods found to reclaim resources: [(res: cpu, q: " in refused["message"]
        assert kubectl.running("modest")["status"]["phase"] == "Running"
    finally:
        manifest.unlink()
    eventually("the static pod is gone", lambda: not machine.kubectl().find("pod", name))
