"""Where pods fit, where they land, and what is said when they fit nowhere."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}


def test_the_message_is_upstreams(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a", taints=[UNREACHABLE]), node("b"), node("c"))
    world.run("b", pod("x", requests={"cpu": "3"})).run("c", pod("y", requests={"cpu": "3"}))
    assert world.why(pod("p", requests={"cpu": "2"})) == (
        "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, "
        "2 Insufficient cpu. preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, "
        "2 No preemption victims found for incoming pod."
    )


def test_without_nodes(world: Any, pod: Any) -> None:
    assert world.why(pod("p")) == "no nodes available to schedule pods"


def test_all_reasons_of_a_node_are_named(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a", allocatable={"cpu": "1", "memory": "1Gi", "pods": "0"}))
    message = world.why(pod("p", requests={"cpu": "2", "memory": "2Gi", "example.org/gpu": "1"}))
    assert message.startswith(
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient example.org/gpu, 1 Insufficient memory, "
        "1 Too many pods. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


@pytest.mark.parametrize(
    ("requests", "fits"),
    [
        ({"cpu": "1"}, True),
        ({"cpu": "1001m"}, False),
        ({"memory": "6Gi"}, True),
        ({"memory": "6145Mi"}, False),
        ({"ephemeral-storage": "101Gi"}, False),
        ({"example.org/gpu": "1"}, False),
        ({"example.org/gpu": "0"}, True),
        ({}, True),
    ],
)
def test_requests_must_be_free(world: Any, node: Any, pod: Any, requests: dict[str, str], fits: bool) -> None:
    world.nodes(node("a")).run("a", pod("x", requests={"cpu": "3", "memory": "2Gi"}))
    if fits:
        assert world.fits(pod("p", requests=requests)) == {"a"}
    else:
        assert "Insufficient" in world.why(pod("p", requests=requests))


def test_extended_resources_are_counted(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a", allocatable={"example.org/gpu": "2"}), node("b"))
    asks = {"example.org/gpu": "2"}
    assert world.place(pod("p", requests=asks)) == "a"
    assert "2 Insufficient example.org/gpu" in world.why(pod("q", requests=asks))


def test_cordoned_nodes(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a", unschedulable=True))
    assert "1 node(s) were unschedulable" in world.why(pod("p"))
    tolerates = [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}]
    assert world.fits(pod("q", tolerations=tolerates)) == {"a"}


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        (None, False),
        ({"key": "team", "operator": "Equal", "value": "red", "effect": "NoSchedule"}, True),
        ({"key": "team", "operator": "Equal", "value": "blue"}, False),
        ({"operator": "Exists"}, True),
        ({"key": "team", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_taints(world: Any, node: Any, pod: Any, toleration: dict[str, str] | None, fits: bool) -> None:
    world.nodes(node("a", taints=[{"key": "team", "value": "red", "effect": "NoSchedule"}]))
    asked = pod("p", tolerations=[toleration] if toleration else None)
    if fits:
        assert world.fits(asked) == {"a"}
    else:
        assert "1 node(s) had untolerated taint {team: red}" in world.why(asked)


def test_prefer_no_schedule_is_a_last_resort(world: Any, node: Any, pod: Any) -> None:
    taint = {"key": "slow", "effect": "PreferNoSchedule"}
    world.nodes(node("a", taints=[taint]), node("b"))
    assert {world.place(pod(f"p{n}", requests={"cpu": "100m"})) for n in range(8)} == {"b"}


@pytest.mark.parametrize(
    ("expression", "nodes"),
    [
        ({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}, {"a"}),
        ({"key": "disk", "operator": "NotIn", "values": ["ssd"]}, {"b", "c"}),
        ({"key": "disk", "operator": "Exists"}, {"a", "b"}),
        ({"key": "disk", "operator": "DoesNotExist"}, {"c"}),
        ({"key": "size", "operator": "Gt", "values": ["5"]}, {"b"}),
        ({"key": "size", "operator": "Lt", "values": ["5"]}, {"a"}),
    ],
)
def test_node_affinity(world: Any, node: Any, pod: Any, expression: dict[str, Any], nodes: set[str]) -> None:
    world.nodes(
        node("a", labels={"disk": "ssd", "size": "1"}), node("b", labels={"disk": "hdd", "size": "9"}), node("c")
    )
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    assert world.fits(pod("p", affinity=affinity)) == nodes


def test_node_selector(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a", labels={"disk": "ssd"}), node("b"))
    assert world.fits(pod("p", nodeSelector={"disk": "ssd"})) == {"a"}
    assert "2 node(s) didn't match Pod's node affinity/selector" in world.why(pod("q", nodeSelector={"disk": "tape"}))
    world.nodes(node("b", labels={"disk": "tape"}))  # a label comes later
    assert world.fits(pod("q", nodeSelector={"disk": "tape"})) == {"b"}


def test_a_daemon_pod_is_bound_to_its_node(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a"), node("b", unschedulable=True))
    field = {"key": "metadata.name", "operator": "In", "values": ["b"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    assert world.why(pod("p", affinity=affinity)).startswith(
        "0/2 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity], 1 node(s) were unschedulable."
    )


def test_preferred_affinity_wins(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a"), node("b", labels={"disk": "ssd"}), node("c"))
    term = {"weight": 50, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert world.place(pod("p", affinity=affinity)) == "b"


def test_host_ports(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a"))
    port = {"containerPort": 80, "hostPort": 80}
    assert world.place(pod("p", ports=[port])) == "a"
    assert "1 node(s) didn't have free ports for the requested pod ports" in world.why(pod("q", ports=[port]))
    assert world.fits(pod("r", ports=[port | {"protocol": "UDP"}])) == {"a"}
    world.cache.remove("uid-p")
    assert world.fits(pod("q", ports=[port])) == {"a"}


def test_the_emptier_node_is_better(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a"), node("b")).run("a", pod("x", requests={"cpu": "2", "memory": "4Gi"}))
    assert world.place(pod("p", requests={"cpu": "1", "memory": "2Gi"})) == "b"


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_replicas_land_on_all_nodes(world: Any, node: Any, pod: Any, nodes: int) -> None:
    """By the system's default spreading, also when they request nothing."""
    world.nodes(*(node(f"n{i}") for i in range(nodes)))
    world.run("n0", *(pod(f"x{i}", requests={"cpu": "500m"}) for i in range(2)))
    placed = Counter(world.place(pod(f"p{i}", owner="web")) for i in range(nodes * 2))
    assert set(placed) == {f"n{i}" for i in range(nodes)}
    assert max(placed.values()) - min(placed.values()) <= 1


def test_hard_spread_constraints(world: Any, node: Any, pod: Any) -> None:
    zone = "topology.kubernetes.io/zone"
    world.nodes(node("a", labels={zone: "1"}), node("b", labels={zone: "2"}), node("c"))
    labels = {"app": "web"}
    constraint = {
        "topologyKey": zone,
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    asked = {"labels": labels, "topologySpreadConstraints": [constraint]}
    world.run("a", pod("x", labels=labels))
    assert world.fits(pod("p", **asked)) == {"b"}
    world.nodes(node("b", labels={zone: "2"}, unschedulable=True))
    assert world.why(pod("p", **asked)).startswith(
        "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, "
        "1 node(s) didn't match pod topology spread constraints (missing required label), 1 node(s) were unschedulable."
    )


def test_a_node_counts_once_for_each_reason(world: Any, node: Any, pod: Any) -> None:
    """A node that fails two constraints is still one node."""
    world.nodes(node("a"))
    keys = ("topology.kubernetes.io/zone", "rack")
    constraints = [{"topologyKey": k, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"} for k in keys]
    assert world.why(pod("p", topologySpreadConstraints=constraints)).startswith(
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label). "
    )


def affinity(kind: str, labels: dict[str, str], key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": labels}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_anti_affinity_holds_in_both_directions(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a"), node("b"))
    away = affinity("podAntiAffinity", {"app": "web"})
    world.run("a", pod("x", labels={"app": "web"}, affinity=away))
    assert world.fits(pod("p", affinity=away)) == {"b"}
    assert world.fits(pod("q", labels={"app": "web"})) == {"b"}, "the pod that runs wants no company"
    assert world.fits(pod("r")) == {"a", "b"}
    world.run("b", pod("y", labels={"app": "web"}))
    assert "2 node(s) didn't match pod anti-affinity rules" in world.why(pod("p", affinity=away))


def test_affinity_follows_and_the_first_may_go_anywhere(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a"), node("b"))
    near = affinity("podAffinity", {"app": "db"})
    assert "2 node(s) didn't match pod affinity rules" in world.why(pod("p", affinity=near))
    assert world.fits(pod("first", labels={"app": "db"}, affinity=near)) == {"a", "b"}
    world.run("b", pod("x", labels={"app": "db"}))
    assert world.fits(pod("p", affinity=near)) == {"b"}
    assert "affinity rules" in world.why(pod("p", namespace="other", affinity=near))


def test_what_cannot_be_judged_is_said(world: Any, node: Any, pod: Any) -> None:
    world.nodes(node("a"))
    near = affinity("podAffinity", {"app": "db"})
    term = near["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    term["namespaceSelector"] = {"matchLabels": {"team": "red"}}
    assert "namespaceSelector of pod (anti-)affinity is not supported" in world.why(pod("p", affinity=near))
