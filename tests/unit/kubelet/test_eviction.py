"""Eviction: thresholds, what is due when, who goes first and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightkube.models.core_v1 import ObjectReference
from lightkube.resources.core_v1 import Pod

from kubelet.eviction.limits import is_limited, violation
from kubelet.eviction.manager import EvictionManager, EvictionPolicy
from kubelet.eviction.ranking import ContainerUsage, PodUsage, event_annotations, message, rank
from kubelet.eviction.signals import Observed, observe
from kubelet.eviction.state import State, advance
from kubelet.eviction.thresholds import Amount, Threshold, effective, parse_thresholds, reserved_for_eviction
from kubelet.node import memory
from kubelet.node.machine import FileSystem, Machine, Usage
from kubelet.types import DiskUsage, Ending

MIB, GIB = 1 << 20, 1 << 30
MACHINE = Machine(cpus=2, memory=8 * GIB)
DISK = FileSystem(100 * GIB, 50 * GIB, 1000, 900)
USAGE = Usage(4 * GIB, DISK, 100, 1000)
MEMORY = parse_thresholds("memory.available<1Gi")[0]


def pod(name: str, *, requests: dict[str, str] | None = None, priority: int | None = None, **spec: Any) -> Pod:
    container = {"name": "app", "image": "i", "resources": {"requests": requests or {}}}
    body = {"containers": [container], **({"priority": priority} if priority is not None else {}), **spec}
    return Pod.from_dict({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": body})


def using(amount: int, processes: int = 1) -> PodUsage:
    return PodUsage({"app": ContainerUsage(memory=amount, processes=processes)})


def names(pods: list[Pod]) -> list[str]:
    return [each.metadata.name for each in pods]  # type: ignore[union-attr,misc]


def test_thresholds_are_read_as_upstream_reads_them() -> None:
    found = parse_thresholds(
        "memory.available<100Mi,nodefs.available<10%,imagefs.available<0%",
        "memory.available<1Gi",
        "memory.available=1m30s",
        "nodefs.available=500Mi,memory.available=5%",
    )
    assert [(each.signal, each.hard) for each in found] == [
        ("memory.available", True),
        ("nodefs.available", True),
        ("memory.available", False),
    ]
    assert found[0].least.of(GIB) == 100 * MIB and found[0].least.shown(GIB) == "100Mi"
    assert found[1].least.shown(100 * GIB) == "10737418400" and found[1].reclaim.of(0) == 500 * MIB
    assert found[2].grace == 90


@pytest.mark.parametrize(
    "flags",
    [
        ("memory.available",),
        ("memory.available>1",),
        ("nonsense<1",),
        ("memory.available<x",),
        ("memory.available<0",),
        ("memory.available<-5%",),
        ("memory.available<101%",),
        ("", "memory.available<1Gi"),
        ("", "memory.available<1Gi", "memory.available=-1s"),
        ("", "", "", "memory.available=0%"),
    ],
)
def test_a_bad_threshold_is_refused(flags: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        parse_thresholds(*flags)


def test_containers_lie_on_the_nodes_disk_or_the_images() -> None:
    given = parse_thresholds("memory.available<1,nodefs.available<2,imagefs.available<3,containerfs.available<9")
    shared = {each.signal: each.least.fixed for each in effective(given, dedicated_images=False)}
    assert shared["containerfs.available"] == 2 and shared["allocatableMemory.available"] == 1
    own = {each.signal: each.least.fixed for each in effective(given, dedicated_images=True)}
    assert own["containerfs.available"] == 3


def test_hard_thresholds_are_held_back_from_pods() -> None:
    given = parse_thresholds(
        "memory.available<100Mi,imagefs.available<15%", "nodefs.available<5%", "nodefs.available=1m"
    )
    assert reserved_for_eviction(given, {"memory": GIB, "ephemeral-storage": GIB}) == {"memory": 100 * MIB}


def step(state: State, left: int, now: float, threshold: Threshold = MEMORY) -> State:
    return advance(state, (threshold,), {threshold.signal: Observed(left, 8 * GIB)}, now, 300)


def test_a_hard_threshold_is_due_at_once_and_its_condition_stays() -> None:
    fine = step(State(), GIB, 0)
    assert fine.conditions == fine.due == ()
    low = step(fine, GIB - 1, 10)
    assert low.conditions == ("MemoryPressure",) and low.due == (MEMORY,)
    better = step(low, 2 * GIB, 20)
    assert better.due == () and better.conditions == ("MemoryPressure",)
    assert step(better, 2 * GIB, 309).conditions == ("MemoryPressure",)
    assert step(better, 2 * GIB, 310).conditions == ()


def test_a_soft_threshold_is_due_after_its_grace_period() -> None:
    soft = Threshold("memory.available", Amount(GIB), grace=30)
    low = step(State(), 1, 0, soft)
    assert low.conditions == ("MemoryPressure",) and low.due == ()
    assert step(low, 1, 29, soft).due == ()
    assert step(low, 1, 30, soft).due == (soft,)
    recovered = step(step(low, 2 * GIB, 20, soft), 1, 30, soft)
    assert recovered.due == ()


def test_a_threshold_stays_due_until_its_minimum_reclaim_is_there() -> None:
    greedy = Threshold("memory.available", Amount(GIB), reclaim=Amount(GIB))
    low = step(State(), 1, 0, greedy)
    assert step(low, 2 * GIB - 1, 10, greedy).due == (greedy,)
    assert step(low, 2 * GIB, 10, greedy).due == ()
    assert step(State(), 2 * GIB - 1, 10, greedy).due == ()


def test_memory_is_more_urgent_than_disks() -> None:
    disk = parse_thresholds("nodefs.available<60Gi")[0]
    state = advance(State(), (disk, MEMORY), observe(MACHINE, Usage(1, DISK, 1, 9)), 0, 0)
    assert [each.signal for each in state.due] == ["memory.available", "nodefs.available"]
    assert set(state.conditions) == {"MemoryPressure", "DiskPressure"}


def test_signals_of_a_machine() -> None:
    seen = observe(MACHINE, USAGE)
    assert str(seen["memory.available"]) == "4Gi" and str(seen["pid.available"]) == "900"
    assert seen["imagefs.available"] == seen["nodefs.available"]
    own = observe(MACHINE, Usage(1, DISK, 1, 9, image_fs=FileSystem(10, 5, 0, 0), pods_memory=(3, 4)))
    assert own["imagefs.available"].available == own["containerfs.available"].available == 5
    assert "imagefs.inodesFree" not in own and own["allocatableMemory.available"].available == 3


def test_memory_ranks_by_excess_then_priority_then_amount() -> None:
    pods = [
        pod("within", requests={"memory": "200Mi"}),
        pod("important", priority=1000),
        pod("small"),
        pod("large"),
        pod("over", requests={"memory": "100Mi"}),
        pod("unknown", priority=9),
    ]
    used = {"within": 150, "important": 900, "small": 10, "large": 300, "over": 350}
    usages = {name: using(amount * MIB) for name, amount in used.items()}
    ranked = names(rank(MEMORY, pods, usages, dedicated_images=False))
    assert ranked == ["unknown", "large", "over", "small", "important", "within"]


def test_processes_rank_by_priority_then_number() -> None:
    pids = parse_thresholds("pid.available<10")[0]
    pods = [pod("few"), pod("many"), pod("important", priority=1)]
    usages = {"few": using(0, 3), "many": using(0, 90), "important": using(0, 999)}
    assert names(rank(pids, pods, usages, dedicated_images=False)) == ["many", "few", "important"]


def test_disks_rank_by_what_lies_on_them() -> None:
    node = parse_thresholds("nodefs.available<1")[0]
    image = parse_thresholds("imagefs.inodesFree<1")[0]
    writer = PodUsage({"app": ContainerUsage(layer=DiskUsage(900, 9), logs=DiskUsage(1, 1))})
    keeper = PodUsage({"app": ContainerUsage(layer=DiskUsage(1, 1), logs=DiskUsage(1, 1))}, {"data": DiskUsage(500, 5)})
    data = [{"name": "data", "emptyDir": {}}]
    pods, usages = [pod("writer"), pod("keeper", volumes=data)], {"writer": writer, "keeper": keeper}
    assert names(rank(node, pods, usages, dedicated_images=False)) == ["writer", "keeper"]
    assert names(rank(node, pods, usages, dedicated_images=True)) == ["keeper", "writer"]
    assert names(rank(image, pods, usages, dedicated_images=True)) == ["writer", "keeper"]


def test_messages_are_upstreams() -> None:
    observed = {"memory.available": Observed(100 * 1024, 8 * GIB)}
    greedy = pod("greedy")
    assert message("memory", greedy, using(MIB), (MEMORY,), observed) == (
        "The node was low on resource: memory. Threshold quantity: 1Gi, available: 100Ki. "
        "Container app was using 1Mi, request is 0, has larger consumption of memory. "
    )
    assert event_annotations("memory", greedy, using(MIB)) == {
        "offending_containers": "app",
        "offending_containers_usage": "1Mi",
        "starved_resource": "memory",
    }
    modest = pod("modest", requests={"memory": "2Mi"})
    assert message("memory", modest, using(MIB), (), {}) == "The node was low on resource: memory. "
    disk = PodUsage({"app": ContainerUsage(layer=DiskUsage(3 * MIB), logs=DiskUsage(MIB))})
    assert "Container app was using 4Mi, request is 0, has larger consumption of ephemeral-storage. " in message(
        "ephemeral-storage", greedy, disk, (), {}
    )


def limited(**limit: str) -> Pod:
    volumes = [{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "free", "emptyDir": {}}]
    container = {"name": "app", "image": "i", "resources": {"limits": limit}}
    return pod("p", volumes=volumes, containers=[container])


def test_limits_of_local_storage() -> None:
    one = limited()
    assert is_limited(one) and is_limited(limited(**{"ephemeral-storage": "2Mi"})) and not is_limited(pod("p"))
    at = PodUsage(volumes={"data": DiskUsage(MIB), "free": DiskUsage(9 * MIB)})
    over = PodUsage(volumes={"data": DiskUsage(MIB + 1)})
    assert violation(one, at, dedicated_images=False) is None
    assert violation(one, over, dedicated_images=False) == (
        "emptydirfs.limit",
        'Usage of EmptyDir volume "data" exceeds the limit "1Mi". ',
    )
    two = limited(**{"ephemeral-storage": "2Mi"})
    spread = PodUsage({"app": ContainerUsage(logs=DiskUsage(MIB))}, {"free": DiskUsage(MIB + 1)})
    text = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    assert violation(two, spread, dedicated_images=False) == ("ephemeralpodfs.limit", text)
    more = pod(
        "p",
        containers=[
            {"name": "app", "image": "i", "resources": {"limits": {"ephemeral-storage": "1Mi"}}},
            {"name": "big", "image": "i", "resources": {"limits": {"ephemeral-storage": "9Mi"}}},
        ],
    )
    writes = PodUsage({"app": ContainerUsage(layer=DiskUsage(MIB + 1), logs=DiskUsage())})
    said = 'Container app exceeded its local ephemeral storage limit "1Mi". '
    assert violation(more, writes, dedicated_images=False) == ("ephemeralcontainerfs.limit", said)
    assert violation(more, writes, dedicated_images=True) is None


def test_memory_is_counted_in_both_versions_of_cgroups(tmp_path: Path) -> None:
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    write("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 300 kB\nMemAvailable: 500 kB\n")
    assert memory.available(tmp_path) == 500 * 1024
    write("sys/fs/cgroup/cgroup.controllers", "memory")
    write("sys/fs/cgroup/memory.stat", "inactive_file 102400\n")
    assert memory.available(tmp_path) == 400 * 1024  # all that is not free, less what is idle
    write("sys/fs/cgroup/memory.current", "204800")
    assert memory.available(tmp_path) == 900 * 1024  # a container's own cgroup
    write("sys/fs/cgroup/kubepods/memory.current", "100")
    write("sys/fs/cgroup/kubepods/memory.max", "max")
    assert memory.left_of(tmp_path, "kubepods") is None
    write("sys/fs/cgroup/kubepods/memory.max", "150")
    assert memory.left_of(tmp_path, "kubepods") == (50, 150)
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", "614400")
    write("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 102400\n")
    assert memory.available(tmp_path) == 500 * 1024
    assert memory.left_of(tmp_path, "nowhere") is None


class FakeNode:
    """Pods that end when told to, and a machine that has what the test says."""

    def __init__(self, *pods: Pod) -> None:
        self.left = 4 * GIB
        self.disk = DISK
        self.running = list(pods)
        self.ended: list[tuple[str, Ending]] = []
        self.events: list[tuple[str, str]] = []
        self.reclaimed = 0
        self.frees = DISK

    async def look(self) -> Usage:
        return Usage(self.left, self.disk, 1, 1000)

    def pods(self) -> list[Pod]:
        return list(self.running)

    async def known(self) -> None:
        pass

    def is_critical(self, pod: Pod) -> bool:
        return bool(pod.metadata and pod.metadata.name == "static")

    async def end_pod(self, uid: str, ending: Ending) -> None:
        self.ended.append((uid, ending))
        self.running = [each for each in self.running if each.metadata and each.metadata.uid != uid]

    async def reclaim(self) -> None:
        self.reclaimed += 1
        self.disk = self.frees

    def event(self, obj: Any, kind: str, reason: str, message: str, **more: Any) -> None:
        self.events.append((reason, message))


class Meter:
    def __init__(self, **used: int) -> None:
        self.used = used

    async def pods(self, pods: list[Pod], *, memory: bool = False, disk: bool = False) -> dict[str, PodUsage]:
        return {name: using(amount * MIB) for name, amount in self.used.items()}


def manager(node: FakeNode, hard: str, *, soft: str = "", grace: str = "", **used: int) -> EvictionManager:
    policy = EvictionPolicy(parse_thresholds(hard, soft, grace), 300, 20)
    return EvictionManager(
        ObjectReference(kind="Node", name="n"),
        policy,
        MACHINE,
        look=node.look,
        pods=node,
        measure=Meter(**used),
        reclaim=node.reclaim,
        recorder=node,
        changed=lambda: None,
    )


async def test_one_pod_a_round_and_never_a_critical_one() -> None:
    node = FakeNode(pod("static"), pod("large"), pod("small"))
    evictions = manager(node, "memory.available<1Gi", static=999, large=300, small=10)
    assert not await evictions.synchronize() and node.ended == [] and evictions.conditions == ()
    node.left = MIB
    assert await evictions.synchronize()
    assert [uid for uid, _ in node.ended] == ["large"]
    ending = node.ended[0][1]
    assert (ending.reason, ending.grace) == ("Evicted", 1) and ending.disruption == ending.message
    assert ending.message.startswith("The node was low on resource: memory. Threshold quantity: 1Gi, available: 1Mi. ")
    assert node.events[0] == ("EvictionThresholdMet", "Attempting to reclaim memory")
    assert evictions.conditions == ("MemoryPressure",)
    assert await evictions.synchronize() and not await evictions.synchronize()
    assert [uid for uid, _ in node.ended] == ["large", "small"]


async def test_a_soft_threshold_gives_pods_time() -> None:
    node = FakeNode(pod("large"))
    node.left = MIB
    evictions = manager(node, "", soft="memory.available<1Gi", grace="memory.available=0.05s", large=300)
    assert not await evictions.synchronize()
    while not node.ended:
        await evictions.synchronize()
    assert node.ended[0][1].grace == 20


async def test_images_go_before_pods() -> None:
    node = FakeNode(pod("large"))
    node.disk = FileSystem(100 * GIB, GIB, 1000, 900)
    evictions = manager(node, "nodefs.available<10Gi", large=1)
    assert not await evictions.synchronize()
    assert node.reclaimed == 1 and node.ended == []
    node.disk = node.frees = FileSystem(100 * GIB, GIB, 1000, 900)
    assert await evictions.synchronize()
    assert [uid for uid, _ in node.ended] == ["large"] and node.reclaimed == 2
