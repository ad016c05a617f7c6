"""How a node registers, and what of its object stays others'."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lightkube.models.core_v1 import NodeAddress, NodeStatus, Taint

from kubelet.cri import ImageStatus
from kubelet.eviction.thresholds import parse_thresholds
from kubelet.node.machine import FileSystem, Machine
from kubelet.node.status import (
    NodeIdentity,
    Observation,
    allocatable_amounts,
    capacity_amounts,
    container_images,
    new_node,
    node_status,
    status_patch,
)

GIB = 1 << 30
MACHINE = Machine(cpus=2, memory=8 * GIB, hugepages={"2Mi": 4 << 20})
SEEN = Observation(MACHINE, FileSystem(100 * GIB, 50 * GIB, 1000, 900), None)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def identity(**more: Any) -> NodeIdentity:
    return NodeIdentity(**{"name": "n", "addresses": ("10.0.0.5",), **more})


def test_a_node_for_a_cloud_waits_for_its_controller() -> None:
    cloud = identity(external_cloud=True, provider_id="lab://1", taints=[Taint(effect="NoSchedule", key="a")])
    node = new_node(cloud, NodeStatus(), MACHINE)
    assert node.spec is not None and node.metadata is not None and node.metadata.annotations is not None
    taints = [(taint.key, taint.value) for taint in node.spec.taints or []]
    assert taints == [("a", None), ("node.cloudprovider.kubernetes.io/uninitialized", "true")]
    assert node.spec.providerID == "lab://1" and node.spec.unschedulable is None
    assert node.metadata.annotations["alpha.kubernetes.io/provided-node-ip"] == "10.0.0.5"
    theirs = [NodeAddress("192.0.2.1", "ExternalIP")]
    assert node_status(cloud, SEEN, NodeStatus(addresses=theirs), NOON).addresses == theirs
    mine = node_status(cloud, SEEN, NodeStatus(), NOON).addresses or []
    assert [each.type for each in mine] == ["InternalIP", "Hostname"]


def test_a_node_may_register_as_unschedulable() -> None:
    spec = new_node(identity(schedulable=False), NodeStatus(), MACHINE).spec
    assert spec is not None and spec.unschedulable is True
    assert [(taint.key, taint.effect) for taint in spec.taints or []] == [
        ("node.kubernetes.io/unschedulable", "NoSchedule")
    ]
    plain = new_node(identity(), NodeStatus(), MACHINE).spec
    assert plain is not None and plain.taints is None and plain.unschedulable is None


def test_resources_that_others_add_are_kept_and_offered() -> None:
    held = NodeStatus(
        capacity={"example.com/gpu": "4", "cpu": "64", "kubernetes.io/odd": "1"},
        allocatable={"example.com/gpu": "1", "example.com/gone": "1"},
    )
    status = node_status(identity(), SEEN, held, NOON)
    assert status.capacity is not None and status.allocatable is not None
    assert status.capacity["example.com/gpu"] == status.allocatable["example.com/gpu"] == "4"
    assert status.capacity["cpu"] == "2" and "kubernetes.io/odd" not in status.capacity
    body = status_patch(status, held)["status"]
    assert body["allocatable"]["example.com/gone"] is None and body["allocatable"]["example.com/gpu"] == "4"
    assert body["addresses"][-1] == {"$patch": "replace"}


def test_what_is_reserved_is_not_offered() -> None:
    thresholds = parse_thresholds("memory.available<1Gi,nodefs.available<50%,imagefs.available<90%")
    node = identity(reserved={"cpu": 2500, "memory": 2 * GIB, "ephemeral-storage": GIB}, thresholds=thresholds)
    left = allocatable_amounts(node, SEEN)
    assert left["cpu"] == 0
    assert left["memory"] == 5 * GIB - (4 << 20)
    assert left["ephemeral-storage"] == 49 * GIB
    assert capacity_amounts(identity(pods_per_core=10), SEEN)["pods"] == 20
    assert capacity_amounts(identity(pods_per_core=100), SEEN)["pods"] == 110


def test_images_may_all_be_told() -> None:
    images = [ImageStatus(str(size), (f"t{size}",), (), size) for size in range(60)]
    assert len(container_images(images, -1)) == 60 and len(container_images(images, 3)) == 3
