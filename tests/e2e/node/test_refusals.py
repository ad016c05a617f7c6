"""Pods that were sent to a node whose taints they do not tolerate; others of its rules are in test_admission."""

from __future__ import annotations

import json

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, eventually, pod_of

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {{name: untaintable}}
spec:
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
  - name: app
    image: {image}
"""


def bind(kubectl: Kubectl, name: str, node: str) -> None:
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    url = f"/api/v1/namespaces/{kubectl.namespace}/pods/{name}/binding"
    kubectl("create", "--raw", url, "-f", "-", stdin=json.dumps(body))


def test_a_taint_that_is_not_tolerated(kubectl: Kubectl, machine: Machine) -> None:
    """The controller that would delete such pods is stopped: what is seen is the kubelet's."""
    manifest, static = machine.manifests / "untaintable.yaml", f"untaintable-{machine.node}"
    tolerations = [{"key": "refuses", "operator": "Exists", "effect": "NoExecute"}]
    machine.manager.stop()
    try:
        kubectl.pod("before")
        kubectl.running("before")
        kubectl("taint", "node", machine.node, f"refuses={kubectl.namespace}:NoExecute", "soft=x:NoSchedule")
        kubectl.pod("named")
        kubectl.apply(pod_of("bound", "", machine.image, schedulerName="nobody"))
        assert kubectl.status("bound")["phase"] == "Pending"
        bind(kubectl, "bound", machine.node)
        kubectl.pod("other", tolerations=[{**tolerations[0], "key": "else"}])
        kubectl.pod("tolerates", tolerations=tolerations)
        manifest.write_text(MANIFEST.format(image=machine.image))
        message = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
        for name in ("named", "bound", "other"):
            status = kubectl.phase("Failed", name)["status"]
            assert (status["reason"], status["message"]) == ("TaintToleration", f"Pod was rejected: {message}")
            assert "containerStatuses" not in status
            event = kubectl.event("TaintToleration", name)
            assert (event["type"], event["message"]) == ("Warning", message)
        kubectl.running("tolerates")
        Kubectl(machine).running(static)
        # The kubelet judges who comes, not who is there: ending those is the controller's.
        assert kubectl.status("before")["phase"] == "Running"
        kubectl("taint", "node", machine.node, "refuses-")
        kubectl.pod("later")
        kubectl.running("later")
    finally:
        kubectl.attempt("taint", "node", machine.node, "refuses-")
        kubectl.attempt("taint", "node", machine.node, "soft-")
        manifest.unlink(missing_ok=True)
        machine.manager.start()
    eventually("the static pod is gone", lambda: not machine.kubectl().find("pod", static))
