"""The Node object as a function of the machine, and the agent against a server that comes and goes."""

from __future__ import annotations

import asyncio
import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lightkube.models.core_v1 import NodeStatus, Taint
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node

from common.api.status import AlreadyExists, Conflict, NotFound, ServiceUnavailable
from kubelet.cri import ImageStatus, RuntimeUnavailable, RuntimeVersion
from kubelet.eviction.thresholds import parse_thresholds
from kubelet.node import status as node
from kubelet.node.agent import NodeAgent
from kubelet.node.lease import NodeLease
from kubelet.node.machine import FileSystem, Machine, os_release, read_machine, read_usage
from kubelet.node.memory import meminfo
from kubelet.node.status import NodeIdentity, Observation
from kubelet.settings import KubeletSettings, parse_labels, parse_reserved, parse_taints

GIB = 1 << 30
MACHINE = Machine(cpus=2, memory=8 * GIB, hugepages={"2Mi": 4 << 20}, boot_id="boot-1", kernel_version="6.1")
DISK = FileSystem(100 * GIB, 50 * GIB, 1000, 900)
THRESHOLDS = parse_thresholds("memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%")
IDENTITY = NodeIdentity("node-1", ("10.0.0.5",), {"role": "lab"}, thresholds=THRESHOLDS)
DOCKER = RuntimeVersion("docker", "20.10.24", "1.41")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def observed(**changes: Any) -> Observation:
    return Observation(**{"machine": MACHINE, "node_fs": DISK, "runtime": DOCKER, **changes})


def by_type(conditions: list[Any]) -> dict[str, tuple[str, str, str]]:
    return {condition.type: (condition.status, condition.reason, condition.message) for condition in conditions}


def test_a_well_node_says_what_upstream_says() -> None:
    assert by_type(node.conditions(observed(), (), NOON)) == {
        "MemoryPressure": ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        "NetworkUnavailable": ("False", "RouteCreated", "pod network is set up"),
        "Ready": ("True", "KubeletReady", "kubelet is posting ready status"),
    }


def test_what_is_wrong_is_told() -> None:
    down = by_type(node.conditions(observed(runtime=None, network_problem="no network"), (), NOON))
    assert down["Ready"] == ("False", "KubeletNotReady", "[container runtime is down, no network]")
    assert "NetworkUnavailable" not in down
    unseen = by_type(node.conditions(observed(runtime=None, pods_problem="PLEG is not healthy: …"), (), NOON))
    assert unseen["Ready"][2] == "[container runtime is down, PLEG is not healthy: …]"
    alone = by_type(node.conditions(observed(runtime=None), (), NOON))
    assert alone["Ready"] == ("False", "KubeletNotReady", "container runtime is down")
    pressed = by_type(node.conditions(observed(pressure=("MemoryPressure", "DiskPressure", "PIDPressure")), (), NOON))
    assert {kind: pressed[kind][0] for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")} == {
        "MemoryPressure": "True",
        "DiskPressure": "True",
        "PIDPressure": "True",
    }


def test_a_transition_is_a_change_of_status_alone() -> None:
    before = node.conditions(observed(), (), NOON)
    later = NOON + timedelta(minutes=1)
    same = {condition.type: condition for condition in node.conditions(observed(), before, later)}
    assert same["Ready"].lastTransitionTime == NOON and same["Ready"].lastHeartbeatTime == later
    broken = {condition.type: condition for condition in node.conditions(observed(runtime=None), before, later)}
    assert broken["Ready"].lastTransitionTime == later
    assert broken["DiskPressure"].lastTransitionTime == NOON


def test_capacity_and_allocatable() -> None:
    status = node.node_status(IDENTITY, observed(), NodeStatus(), NOON)
    assert status.capacity == {
        "cpu": "2",
        "memory": "8Gi",
        "ephemeral-storage": "100Gi",
        "pods": "110",
        "hugepages-2Mi": "4Mi",
    }
    assert status.allocatable is not None
    assert status.allocatable["memory"] == "8088Mi"
    # Upstream computes percentages in single precision: 10 % is a little more.
    assert status.allocatable["ephemeral-storage"] == "96636764000"
    reserved = NodeIdentity("n", (), reserved={"cpu": 500, "memory": GIB})
    assert node.allocatable(reserved, observed())["cpu"] == "1500m"
    assert node.allocatable_amounts(reserved, observed())["memory"] == 7 * GIB - (4 << 20)


def test_addresses_and_system_info() -> None:
    status = node.node_status(IDENTITY, observed(), NodeStatus(), NOON)
    assert [(address.type, address.address) for address in status.addresses or []] == [
        ("InternalIP", "10.0.0.5"),
        ("Hostname", "node-1"),
    ]
    assert status.nodeInfo is not None and status.nodeInfo.containerRuntimeVersion == "docker://20.10.24"
    assert status.nodeInfo.kubeletVersion == "v1.32.0"
    assert status.daemonEndpoints is not None and status.daemonEndpoints.kubeletEndpoint is not None
    assert status.daemonEndpoints.kubeletEndpoint.Port == 10250


def test_the_largest_images_are_told_with_few_names() -> None:
    images = [ImageStatus(str(size), tuple(f"t{i}" for i in range(9)), (), size) for size in range(60)]
    images.append(ImageStatus("nameless", (), (), 999))
    told = node.container_images(images)
    assert len(told) == 50 and told[0].sizeBytes == 59 and len(told[0].names or []) == 5


def test_heartbeats_alone_are_no_difference() -> None:
    first = node.node_status(IDENTITY, observed(), NodeStatus(), NOON)
    later = node.node_status(IDENTITY, observed(), first, NOON + timedelta(minutes=1))
    assert not node.differs(later, first)
    assert node.differs(node.node_status(IDENTITY, observed(runtime=None), NodeStatus(), NOON), first)
    assert node.differs(first, None)


def test_flags_that_are_lists() -> None:
    assert parse_labels("a=b,c=") == {"a": "b", "c": ""}
    assert parse_taints("a=b:NoSchedule,c:NoExecute") == [
        Taint(effect="NoSchedule", key="a", value="b"),
        Taint(effect="NoExecute", key="c"),
    ]
    assert parse_reserved("cpu=500m,memory=1Gi") == {"cpu": 500, "memory": GIB}
    for parse, text in (
        (parse_labels, "-=x"),
        (parse_taints, "a=b"),
        (parse_taints, "a:Soon"),
        (parse_reserved, "x=1"),
    ):
        with pytest.raises(ValueError):
            parse(text)


def test_a_kubelet_does_not_start_with_labels_that_it_may_not_set() -> None:
    assert KubeletSettings(node_labels="a=b,topology.kubernetes.io/zone=z").node_labels
    for label in ("node-role.kubernetes.io/control-plane", "node-restriction.kubernetes.io/a", "x.k8s.io/a"):
        with pytest.raises(ValueError, match=f"unknown 'kubernetes.io' or 'k8s.io' labels .*{label}"):
            KubeletSettings(node_labels=f"a=b,{label}=")


def test_the_machines_own_files(tmp_path: Path) -> None:
    assert meminfo("MemTotal:  10 kB\nHugePages_Total:   3\n") == {"MemTotal": 10240, "HugePages_Total": 3}
    assert os_release('# x\nNAME="A B"\nID=debian\n') == {"NAME": "A B", "ID": "debian"}
    machine, usage = read_machine(), read_usage(Path("/var/lib/none/such"))
    assert machine.memory > usage.memory_available > 0
    assert machine.cpus >= 1 and machine.boot_id and usage.pids_max > usage.pids > 0
    assert read_machine(tmp_path).memory == 0


class FakeClient:
    """Nodes and Leases of an API server that may be away."""

    def __init__(self) -> None:
        self.objects: dict[tuple[type, str], Any] = {}
        self.away = False
        self.writes = 0
        self.version = 0

    def _stored(self, obj: Any) -> Any:
        self.version += 1
        obj = copy.deepcopy(obj)
        obj.metadata.resourceVersion = str(self.version)
        obj.metadata.uid = obj.metadata.uid or f"uid-{self.version}"
        self.objects[type(obj), obj.metadata.name] = obj
        return copy.deepcopy(obj)

    def _check(self) -> None:
        if self.away:
            raise ServiceUnavailable("connection refused")

    async def get(self, kind: type, name: str, namespace: str | None = None) -> Any:
        self._check()
        if (kind, name) not in self.objects:
            raise NotFound(f'"{name}" not found')
        return copy.deepcopy(self.objects[kind, name])

    async def create(self, obj: Any) -> Any:
        self._check()
        if (type(obj), obj.metadata.name) in self.objects:
            raise AlreadyExists("it is there")
        self.writes += 1
        return self._stored(obj)

    async def replace(self, obj: Any) -> Any:
        held = await self.get(type(obj), obj.metadata.name)
        if held.metadata.resourceVersion != obj.metadata.resourceVersion:
            raise Conflict("changed")
        self.writes += 1
        return self._stored(obj)

    async def patch(self, kind: type, name: str, patch: Any, namespace: Any = None, **options: Any) -> Any:
        held = await self.get(kind, name)
        self.writes += 1
        if options.get("subresource") == "status":
            body = copy.deepcopy(patch["status"])
            body["addresses"] = [each for each in body["addresses"] if "$patch" not in each]
            held.status = NodeStatus.from_dict(body)
        held.metadata.labels = {**(held.metadata.labels or {}), **patch.get("metadata", {}).get("labels", {})}
        return self._stored(held)


class FakeRuntime:
    away = False

    async def version(self) -> RuntimeVersion:
        if self.away:
            raise RuntimeUnavailable("no docker")
        return DOCKER

    async def list_images(self) -> list[ImageStatus]:
        return []


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def event(self, obj: Any, kind: str, reason: str, message: str) -> None:
        assert (obj.kind, obj.uid) == ("Node", "node-1")
        self.seen.append((reason, message))


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def agent(client: FakeClient, runtime: FakeRuntime, events: Events, tmp_path: Path) -> NodeAgent:
    identity = NodeIdentity("node-1", ("10.0.0.5",), {"role": "lab"}, [Taint("NoSchedule", "a")])
    return NodeAgent(client, runtime, events, identity, tmp_path)  # type: ignore[arg-type]


async def test_a_node_registers_with_labels_and_taints(agent: NodeAgent, client: FakeClient, events: Events) -> None:
    await agent.register()
    registered = client.objects[Node, "node-1"]
    assert registered.metadata.labels["role"] == "lab"
    assert registered.metadata.labels["kubernetes.io/hostname"] == "node-1"
    assert (
        registered.metadata.labels["kubernetes.io/os"] == registered.metadata.labels["beta.kubernetes.io/os"] == "linux"
    )
    assert [taint.key for taint in registered.spec.taints] == ["a"]
    assert [reason for reason, _ in events.seen] == [
        "NodeHasSufficientMemory",
        "NodeHasNoDiskPressure",
        "NodeHasSufficientPID",
        "NodeReady",
    ]
    await agent.update()
    assert len(events.seen) == 4


async def test_a_node_that_is_there_keeps_what_others_set(agent: NodeAgent, client: FakeClient) -> None:
    await client.create(Node(metadata=ObjectMeta(name="node-1", labels={"mine": "1", "kubernetes.io/os": "plan9"})))
    await agent.register()
    labels = client.objects[Node, "node-1"].metadata.labels
    assert labels["mine"] == "1" and labels["kubernetes.io/os"] == "linux" and "role" not in labels


async def test_the_status_is_written_when_it_changed(
    agent: NodeAgent, client: FakeClient, runtime: FakeRuntime, events: Events
) -> None:
    await agent.register()
    await agent.update()
    writes = client.writes
    await agent.update()
    assert client.writes == writes
    runtime.away = True
    await agent.update()
    assert client.writes == writes + 1
    assert by_type(client.objects[Node, "node-1"].status.conditions)["Ready"][2] == "container runtime is down"
    assert events.seen[-1] == ("NodeNotReady", "Node node-1 status is now: NodeNotReady")
    runtime.away = False
    await agent.update()
    assert events.seen[-1] == ("NodeReady", "Node node-1 status is now: NodeReady")


async def test_a_runtime_that_hangs_is_down_and_is_asked_again_when_it_answers(
    agent: NodeAgent, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubelet.node.agent.RUNTIME_TIMEOUT", 0.01)
    answer, asked = asyncio.Event(), []

    async def hang() -> RuntimeVersion:
        asked.append(1)
        await answer.wait()
        return DOCKER

    monkeypatch.setattr(runtime, "version", hang)
    assert (await agent.observe()).runtime is None
    assert (await agent.observe()).runtime is None
    assert len(asked) == 1
    answer.set()
    assert (await agent.observe()).runtime == DOCKER


async def test_a_lease_is_made_owned_and_renewed(client: FakeClient) -> None:
    await client.create(Node(metadata=ObjectMeta(name="node-1", uid="node-uid")))
    lease = NodeLease(client, "node-1")  # type: ignore[arg-type]
    await lease.renew()
    first = client.objects[Lease, "node-1"]
    assert (first.spec.holderIdentity, first.spec.leaseDurationSeconds) == ("node-1", 40)
    assert first.metadata.namespace == "kube-node-lease"
    assert (first.metadata.ownerReferences[0].kind, first.metadata.ownerReferences[0].uid) == ("Node", "node-uid")
    await lease.renew()
    assert client.objects[Lease, "node-1"].spec.renewTime > first.spec.renewTime


async def test_a_lease_survives_writes_deletions_and_an_absent_server(client: FakeClient) -> None:
    lease = NodeLease(client, "node-1")  # type: ignore[arg-type]
    await lease.renew()
    assert client.objects[Lease, "node-1"].metadata.ownerReferences is None
    await client.create(Node(metadata=ObjectMeta(name="node-1", uid="node-uid")))
    client._stored(client.objects[Lease, "node-1"])
    await lease.renew()
    assert client.objects[Lease, "node-1"].metadata.ownerReferences[0].uid == "node-uid"
    del client.objects[Lease, "node-1"]
    await lease.renew()
    assert (Lease, "node-1") in client.objects
    client.away = True
    with pytest.raises(ServiceUnavailable):
        await lease.renew()
    client.away = False
    await lease.renew()
