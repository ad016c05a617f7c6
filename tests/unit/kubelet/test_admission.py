"""What a node takes: upstream's checks, their words, and room for critical pods."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Node, Pod

from kubelet.pods.admission import NodeView, admit
from kubelet.pods.preemption import CannotPreempt, victims

CRITICAL = 2_000_001_000
MIB = 1 << 20


def pod(name: str = "web", requests: dict[str, str] | None = None, ports: Any = (), **spec: Any) -> Pod:
    resources = {"requests": requests or {}}
    container = {"name": "app", "image": "i", "resources": resources, "ports": list(ports)}
    body = {"containers": [container], **spec}
    return Pod.from_dict({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": body})


def node(labels: dict[str, str] | None = None, **spec: Any) -> Node:
    allocatable = {"cpu": "2", "example.com/gpu": "1"}
    meta = {"name": "n", "labels": {"zone": "a", "size": "8", **(labels or {})}}
    return Node.from_dict({"metadata": meta, "spec": spec, "status": {"allocatable": allocatable}})


def view(*others: Pod, **more: Any) -> NodeView:
    def is_critical(pod: Pod) -> bool:
        return bool(pod.spec and (pod.spec.priority or 0) >= CRITICAL)

    fields: dict[str, Any] = {"node": node(), "others": others, "capacity": {"cpu": 2000, "memory": 100 * MIB}}
    return NodeView(**{**fields, "is_critical": is_critical, **more})


def refusal(pod: Pod, view: NodeView) -> tuple[str, str] | None:
    verdict = admit(pod, view)
    assert not verdict.preempt
    return verdict.rejection


def term(key: str, operator: str, *values: str) -> dict[str, Any]:
    requirement = {"key": key, "operator": operator, "values": list(values)}
    kind = "matchFields" if key.startswith("metadata") else "matchExpressions"
    required = {"nodeSelectorTerms": [{kind: [requirement]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def test_room() -> None:
    big = {"cpu": "1500m"}
    assert refusal(pod(requests=big), view()) is None
    assert refusal(pod(requests=big), view(pod("other", big))) == (
        "OutOfcpu",
        "Node didn't have enough resource: cpu, requested: 1500, used: 1500, capacity: 2000",
    )
    assert refusal(pod(requests={"memory": "101Mi"}), view()) == (
        "OutOfmemory",
        f"Node didn't have enough resource: memory, requested: {101 * MIB}, used: 0, capacity: {100 * MIB}",
    )
    full = view(pod("a"), pod("b"), max_pods=2)
    assert refusal(pod(), full) == (
        "OutOfpods",
        "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2",
    )
    assert refusal(pod(requests={"example.com/gpu": "2"}), view()) is not None
    assert refusal(pod(requests={"example.com/unknown": "2"}), view()) is None


def test_labels() -> None:
    wrong = ("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")
    assert refusal(pod(nodeSelector={"zone": "a"}), view()) is None
    assert refusal(pod(nodeSelector={"zone": "b"}), view()) == wrong
    assert refusal(pod(nodeSelector={"zone": "b"}), view(node=None)) is None
    right = [("zone", "In", "a", "b"), ("none", "DoesNotExist"), ("size", "Gt", "7"), ("metadata.name", "In", "n")]
    for requirement in right:
        assert refusal(pod(**term(*requirement)), view()) is None
    for requirement in [("zone", "NotIn", "a"), ("none", "Exists"), ("size", "Lt", "8"), ("metadata.name", "In", "m")]:
        assert refusal(pod(**term(*requirement)), view()) == wrong


def test_ports() -> None:
    web = {"containerPort": 80, "hostPort": 8080}
    wrong = ("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")
    taken = view(pod("other", ports=[web]))
    assert refusal(pod(ports=[web]), taken) == wrong
    assert refusal(pod(ports=[{**web, "hostIP": "192.0.2.1"}]), taken) == wrong
    assert refusal(pod(ports=[{**web, "protocol": "UDP"}]), taken) is None
    assert refusal(pod(ports=[{"containerPort": 8080}], hostNetwork=True), taken) == wrong
    apart = view(pod("other", ports=[{**web, "hostIP": "192.0.2.2"}]))
    assert refusal(pod(ports=[{**web, "hostIP": "192.0.2.1"}]), apart) is None


def test_taints_that_execute() -> None:
    tainted = node(taints=[{"key": "k", "value": "v", "effect": "NoExecute"}])
    wrong = ("TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate")
    assert refusal(pod(), view(node=tainted)) == wrong
    assert refusal(pod(), view(node=tainted, static=True)) is None
    assert refusal(pod(tolerations=[{"operator": "Exists"}]), view(node=tainted)) is None
    assert refusal(pod(), view(node=node(taints=[{"key": "k", "effect": "NoSchedule"}]))) is None


def test_pressure() -> None:
    memory = view(pressure=("MemoryPressure",))
    refused = ("Evicted", "The node had condition: [MemoryPressure]. ")
    assert refusal(pod(), memory) == refused
    assert refusal(pod(requests={"cpu": "1m"}), memory) is None
    tolerant = pod(tolerations=[{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}])
    assert refusal(tolerant, memory) is None
    assert refusal(pod(priority=CRITICAL), memory) is None
    both = view(pressure=("MemoryPressure", "DiskPressure"))
    assert refusal(pod(requests={"cpu": "1m"}), both) is not None


def test_a_node_that_ends_takes_nobody() -> None:
    refused = ("NodeShutdown", "Pod was rejected as the node is shutting down.")
    assert refusal(pod(priority=CRITICAL), view(shutting_down=True)) == refused


def test_critical_pods_make_room() -> None:
    critical = pod(requests={"cpu": "1"}, priority=CRITICAL)
    small, large = pod("small", {"cpu": "600m"}), pod("large", {"cpu": "1200m"})
    verdict = admit(critical, view(small, large))
    assert verdict.rejection is None
    assert [each.metadata.name for each in verdict.preempt if each.metadata] == ["large"]
    peers = view(pod("peer", {"cpu": "1500m"}, priority=CRITICAL))
    rejection = admit(critical, peers).rejection
    assert rejection == (
        "UnexpectedAdmissionError",
        "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods "
        "to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 500), ]",
    )
    elsewhere = pod(requests={"cpu": "9"}, priority=CRITICAL, nodeSelector={"zone": "b"})
    rejection = admit(elsewhere, view(small)).rejection
    assert rejection is not None and rejection[0] == "NodeAffinity"


def test_victims_are_few_and_unimportant() -> None:
    def guaranteed(name: str, cpu: str) -> Pod:
        resources = {"limits": {"cpu": cpu, "memory": "1Mi"}, "requests": {"cpu": cpu, "memory": "1Mi"}}
        return pod(name, containers=[{"name": "app", "image": "i", "resources": resources}])

    pods = [guaranteed("g", "1"), pod("b1", {"cpu": "500m"}), pod("b2", {"cpu": "700m"}), pod("e")]

    def names(**missing: int) -> list[str | None]:
        return [each.metadata.name for each in victims(missing, pods) if each.metadata]

    assert names(cpu=400) == ["b1"]
    assert names(cpu=1100) == ["b2", "b1"]
    assert names(cpu=1500) == ["b1", "g"]
    assert names(pods=1) == ["e"]
    with pytest.raises(CannotPreempt):
        names(cpu=9999)
