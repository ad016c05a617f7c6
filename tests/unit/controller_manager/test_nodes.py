"""Silent nodes, taints, zones, eviction, subnets."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.models.core_v1 import Taint
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node

from common.api.meta import key_of
from common.api.status import Invalid
from common.informer import Informer
from controller_manager.node_ipam import Full, next_free
from controller_manager.node_lifecycle import eviction, health, taints, zones
from controller_manager.node_lifecycle.controller import NodeLifecycleController
from controller_manager.pod_gc import beyond_threshold, unscheduled_terminating
from controller_manager.settings import Settings
from tests.unit.controller_manager.builders import at, node, pod


def lease(seconds: int) -> Lease:
    return Lease.from_dict({"metadata": {"name": "n1"}, "spec": {"renewTime": at(seconds).isoformat()}})


def test_a_renewed_lease_is_a_sign_of_life():
    first = health.observe(None, node(), lease(0), 100.0)
    assert health.observe(first, node(), lease(0), 110.0).alive_at == 100.0
    assert health.observe(first, node(), lease(10), 110.0).alive_at == 110.0
    assert health.observe(first, node(ready="False"), None, 120.0).alive_at == 120.0


def test_a_silent_node_is_unknown():
    conditions = health.silent_conditions(node())
    assert [(c.type, c.status) for c in conditions] == [(type_, "Unknown") for type_ in health.WATCHED]
    assert (conditions[0].reason, conditions[0].message) == (
        "NodeStatusUnknown",
        "Kubelet stopped posting node status.",
    )
    assert conditions[1].reason == "NodeStatusNeverUpdated"
    silent = node()
    silent.status.conditions = conditions
    assert health.silent_conditions(silent) is None


def test_pods_of_a_silent_node_are_not_ready():
    patch = health.not_ready_patch(pod("a"))
    assert patch["status"]["conditions"][0]["status"] == "False"
    assert health.not_ready_patch(pod("a", ready=False)) is None


def test_taints_follow_conditions_and_leave_others_alone():
    foreign = {"key": "mine", "effect": "NoSchedule", "value": "x"}
    cordoned = node(ready="Unknown", unschedulable=True, taints=[foreign])
    found = taints.with_no_schedule(cordoned, at(0))
    assert [(t.key, t.effect) for t in found] == [
        ("mine", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ]
    well = node(taints=[foreign, *(t.to_dict() for t in found[1:])])
    assert [t.key for t in taints.with_no_schedule(well, at(0))] == ["mine"]


@pytest.mark.parametrize(
    ("ready", "key"),
    [
        ("True", None),
        ("False", "node.kubernetes.io/not-ready"),
        ("Unknown", "node.kubernetes.io/unreachable"),
        (None, "node.kubernetes.io/unreachable"),
    ],
)
def test_the_evicting_taint(ready, key):
    assert taints.evicting_key(node(ready=ready)) == key
    old = [Taint(key="node.kubernetes.io/not-ready", effect="NoExecute"), Taint(key="mine", effect="NoExecute")]
    found = taints.with_evicting(old, key, at(0))
    assert [t.key for t in found if t.key != "mine"] == ([key] if key else [])
    assert taints.is_evicting(found) == (key is not None)


LIMITS = zones.Limits()


@pytest.mark.parametrize(
    ("ready", "expected"),
    [
        ([], "NORMAL"),
        ([True, False], "NORMAL"),
        ([False], "FULL"),
        ([False, False], "FULL"),
        ([True, False, False], "NORMAL"),
        ([True, False, False, False], "PARTIAL"),
    ],
)
def test_zone_states(ready, expected):
    assert zones.state(ready, LIMITS) is zones.ZoneState[expected]


def test_evictions_stop_when_everything_is_dark():
    assert zones.rates({"a": [False], "b": [False, False]}, LIMITS) == {"a": 0.0, "b": 0.0}
    assert zones.rates({"a": [False], "b": [True]}, LIMITS) == {"a": 0.1, "b": 0.1}
    assert zones.rates({"a": [True, False, False, False]}, LIMITS) == {"a": 0.0}
    assert zones.rates({"a": [True] * 20 + [False] * 40}, LIMITS) == {"a": 0.01}


def test_the_bucket_lets_one_go_and_then_waits():
    bucket = zones.Bucket(filled_at=0.0)
    assert bucket.take(0.1, 100.0)
    assert not bucket.take(0.1, 105.0)
    assert bucket.take(0.1, 110.5)
    assert not bucket.take(0.0, 1000.0)


NO_EXECUTE = Taint(key="node.kubernetes.io/unreachable", effect="NoExecute", timeAdded=at(100))


def tolerated(seconds: int | None = None) -> list[dict[str, object]]:
    return [{"key": NO_EXECUTE.key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]


@pytest.mark.parametrize(
    ("tolerations", "created", "expected"),
    [
        (None, 0, at(100)),
        (tolerated(), 0, None),
        (tolerated(300), 0, at(400)),
        (tolerated(300), 200, at(500)),
        (tolerated(-1), 0, at(100)),
        ([*tolerated(300), *tolerated(30)], 0, at(130)),
    ],
)
def test_when_a_pod_must_leave(tolerations, created, expected):
    assert eviction.eviction_time(pod("a", tolerations=tolerations, created=created), [NO_EXECUTE]) == expected


def test_without_taints_a_pod_stays():
    assert eviction.eviction_time(pod("a"), []) is None


def test_one_taint_that_is_not_tolerated_is_enough():
    other = Taint(key="mine", effect="NoExecute", timeAdded=at(5))
    assert eviction.eviction_time(pod("a", tolerations=tolerated(300)), [NO_EXECUTE, other]) == at(5)


CLUSTER = ipaddress.ip_network("10.244.0.0/16")


@given(st.lists(st.integers(0, 255), unique=True, max_size=255))
def test_a_subnet_is_never_given_twice(numbers):
    taken = {str(n): ipaddress.ip_network(f"10.244.{n}.0/24") for n in numbers}
    found = next_free(CLUSTER, 24, taken)
    assert found.subnet_of(CLUSTER) and found.prefixlen == 24
    assert found not in taken.values()


def test_subnets_of_another_size_are_avoided():
    taken = {"a": ipaddress.ip_network("10.244.0.0/23"), "b": ipaddress.ip_network("fd00::/64")}
    assert str(next_free(CLUSTER, 24, taken)) == "10.244.2.0/24"


def test_a_full_network_says_so():
    with pytest.raises(Full):
        next_free(ipaddress.ip_network("10.0.0.0/24"), 24, {"a": ipaddress.ip_network("10.0.0.0/24")})


def test_pods_that_nobody_else_removes():
    pods = [pod("old", phase="Failed"), pod("young", phase="Succeeded", created=9), pod("runs")]
    assert [p.metadata.name for p in beyond_threshold(pods, 1)] == ["old"]
    assert beyond_threshold(pods, 0) == []
    waiting = [pod("a", node=None, deleting=True), pod("b", deleting=True), pod("c", node=None)]
    assert [p.metadata.name for p in unscheduled_terminating(waiting)] == ["a"]


class Client:
    """Remembers what is patched; ``refuse``: names of pods whose patches are refused."""

    def __init__(self, refuse: frozenset[str] = frozenset()):
        self.refuse, self.pods, self.nodes = refuse, [], []

    async def patch(self, kind, name, patch, namespace=None, **_):
        if kind is Node:
            self.nodes.append((name, patch))
            return
        if name in self.refuse:
            raise Invalid("refused")
        self.pods.append(name)
        return


def lifecycle(client, nodes, pods):
    """The controller over fixed caches."""

    def informer(objects, indexers=None):
        found = Informer(client, type(objects[0]) if objects else Lease, indexers=indexers)
        for each in objects:
            found.store._set(key_of(each), each)
        return found

    informers = SimpleNamespace(informer=lambda kind, **_: informer([]))
    context = SimpleNamespace(
        client=client,
        settings=Settings(),
        informers=informers,
        nodes=informer(nodes),
        pods=informer(pods, {"node": lambda each: [each.spec.nodeName or ""]}),
        recorder=lambda _: SimpleNamespace(event=lambda *_: None),
        loop=lambda name, reconcile, workers: SimpleNamespace(enqueue=lambda _: None),
    )
    return NodeLifecycleController(context)


async def test_pods_are_marked_once_for_each_time_that_their_node_is_not_ready():
    """The node's own kubelet may know better: it must not be contradicted every five seconds."""
    client, bad = Client(), node("n1", ready="False")
    controller = lifecycle(client, [bad, node("n2")], [pod("a", node="n1"), pod("b", node="n2")])
    await controller._look()
    await controller._look()
    assert client.pods == ["a"]
    controller._nodes._set(key_of(bad), node("n1"))
    await controller._look()
    controller._nodes._set(key_of(bad), bad)
    await controller._look()
    assert client.pods == ["a", "a"]


async def test_a_pod_that_cannot_be_marked_stops_no_eviction_and_is_tried_again():
    client = Client(refuse=frozenset("a"))
    controller = lifecycle(client, [node("n1", ready="False"), node("n2")], [pod("a", node="n1")])
    await controller._look()
    assert [name for name, _ in client.nodes] == ["n1"], "the node is tainted all the same"
    client.refuse = frozenset()
    await controller._look()
    assert client.pods == ["a"]
