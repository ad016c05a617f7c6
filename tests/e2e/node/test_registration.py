"""Whether a node registers, and with what: the flags of it, right and wrong. The same as a file is in test_node."""

from __future__ import annotations

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, eventually


def test_somebody_else_makes_the_node(kubectl: Kubectl, machine: Machine) -> None:
    """Without a node nothing is made of it; once there is one its status is kept and pods run. Back with its own flags
    the kubelet registers with them."""
    whole = kubectl.get("node", machine.node)
    spec = {key: whole["spec"][key] for key in ("podCIDR", "podCIDRs") if key in whole["spec"]}
    own = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": machine.node, "labels": {"by": "hand"}}}
    flags = {"register_with_taints": "lab=x:NoSchedule,other:PreferNoSchedule", "node_labels": "zone=a,example.com/b="}
    try:
        log = machine.kubelet.log.stat().st_size
        kubectl("delete", "node", machine.node)
        with machine.kubelet_with(register_node="false", node_status_update_frequency="1s", **flags):

            def missed() -> bool:
                said = machine.kubelet.log.read_bytes()[log:].decode(errors="replace")
                return said.count(f"status of node {machine.node} not written") >= 2

            eventually("it looks for its node", missed)
            assert kubectl.find("node", machine.node) is None
            kubectl.apply({**own, "spec": spec})
            eventually("its status is kept", machine.node_ready)
            node = kubectl.get("node", machine.node)
            assert node["metadata"]["labels"]["by"] == "hand"
            assert "zone" not in node["metadata"]["labels"]
            assert not [each for each in node["spec"].get("taints", []) if each["key"] in ("lab", "other")]
            kubectl.pod()
            kubectl.running()
            kubectl("delete", "pod", "web")
            kubectl("delete", "node", machine.node)
        # The usual kubelet made it again: now one that registers with labels and taints of its own.
        assert "by" not in kubectl.get("node", machine.node)["metadata"]["labels"]
        kubectl("delete", "node", machine.node)
        with machine.kubelet_with(**flags):
            eventually("the node is Ready", machine.node_ready)
            node = kubectl.get("node", machine.node)
            taints = {(each["key"], each.get("value"), each["effect"]) for each in node["spec"]["taints"]}
            assert {("lab", "x", "NoSchedule"), ("other", None, "PreferNoSchedule")} <= taints
            labels = node["metadata"]["labels"]
            assert (labels["zone"], labels["example.com/b"]) == ("a", "")
            kubectl("delete", "node", machine.node)
    finally:
        eventually("the node is as it was", machine.node_well)


def test_flags_of_a_registration_that_are_wrong(machine: Machine) -> None:
    said = machine.kubelet_refuses(node_labels="a=b,node-role.kubernetes.io/master=", register_with_taints="a:Soon")
    assert "--node-labels: " in said and "'node-role.kubernetes.io/master'" in said
    assert "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels" in said
    assert "--register-with-taints: " in said and "invalid taint spec: a:Soon" in said
