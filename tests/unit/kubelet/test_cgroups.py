"""Cgroups of pods: names, values, and the files of both versions (in folders that only look like the kernel's)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from lightkube.models.core_v1 import PodSpec

from kubelet.cgroups import hierarchy
from kubelet.cgroups.hierarchy import V1, V2, find
from kubelet.cgroups.tree import PodCgroups
from kubelet.cgroups.values import Names, Values, burstable_values, pod_values, weight

V1_MOUNTS = """31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
36 31 0:29 /docker/x /other rw - cgroup cgroup rw,cpu,cpuacct"""


def spec(*containers: dict[str, Any], **more: Any) -> PodSpec:
    named = [{"name": f"c{i}", "resources": each} for i, each in enumerate(containers)]
    return PodSpec.from_dict({"containers": named, **more})


def test_mounts_are_found() -> None:
    found = find(V1_MOUNTS)
    assert isinstance(found, V1)
    assert found.mounts["cpu"] == found.mounts["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert len(found.trees()) == 4
    assert find("32 31 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate") == V2(Path("/sys/fs/cgroup"))
    assert find("32 31 0:29 /inner /sys/fs/cgroup rw - cgroup2 cgroup2 rw") is None


def test_names_of_both_drivers() -> None:
    plain, nested = Names("/"), Names("/coxswain/n1")
    assert plain.pod("Guaranteed", "a-b") == "/kubepods/poda-b"
    assert plain.pod("BestEffort", "a-b") == plain.parent("BestEffort", "a-b") == "/kubepods/besteffort/poda-b"
    assert nested.quality("Burstable") == "/coxswain/n1/kubepods/burstable"
    slices = Names("/", "systemd")
    assert slices.pod("Burstable", "a-b") == (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda_b.slice"
    )
    assert slices.parent("Burstable", "a-b") == "kubepods-burstable-poda_b.slice"
    assert slices.uid_of("kubepods-burstable-poda_b.slice") == "a-b"
    assert plain.uid_of("poda-b") == "a-b"
    assert plain.uid_of("burstable") == ""


def test_a_pods_limits_are_sums_where_all_have_one() -> None:
    some = {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Mi"}}
    both = pod_values(spec(some, some, overhead={"cpu": "100m", "memory": "1Mi"}), 100)
    assert both == Values(1126, 210_000, 100_000, 3 << 20, 100)
    one = pod_values(spec(some, {"limits": {"memory": "1Mi"}}))
    assert (one.cpu_quota, one.memory) == (-1, 2 << 20)
    assert pod_values(spec({})) == Values(2, -1, 100_000, -1, -1)
    assert pod_values(spec(some), cfs_quota=False).cpu_quota == -1


def test_burstable_pods_weigh_their_requests() -> None:
    burst = spec({"requests": {"cpu": "1"}})
    guaranteed = spec({"limits": {"cpu": "1", "memory": "1"}})
    assert burstable_values([burst, burst, guaranteed, spec({})]) == Values(cpu_shares=2048)
    assert burstable_values([]) == Values(cpu_shares=2)
    assert (weight(2), weight(1024), weight(262144)) == (1, 39, 10000)


def v2(root: Path) -> V2:
    """The kernel fills a new cgroup with files by itself; here they are made before."""
    for folder in (root, root / "kubepods", root / "kubepods/podu"):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.controllers").write_text("cpuset cpu memory pids")
        (folder / "cgroup.subtree_control").write_text("memory")
        for name in ("cpu.weight", "cpu.max", "memory.max", "pids.max"):
            (folder / name).write_text("")
    return V2(root)


def test_version_2_has_its_own_words(tmp_path: Path) -> None:
    tree = v2(tmp_path)
    tree.write("/kubepods/podu", Values(1024, 50_000, 100_000, 1 << 20, -1))
    folder = tmp_path / "kubepods/podu"
    written = {name: (folder / name).read_text() for name in ("cpu.weight", "cpu.max", "memory.max", "pids.max")}
    assert written == {"cpu.weight": "39", "cpu.max": "50000 100000", "memory.max": "1048576", "pids.max": "max"}
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +pids"
    assert (folder / "cgroup.subtree_control").read_text() == "memory"  # nothing is delegated by a pod
    tree.write("/kubepods/podu", Values(cpu_quota=-1, cpu_period=100_000, memory=-1))
    assert (folder / "cpu.max").read_text() == "max 100000"
    assert (folder / "cpu.weight").read_text() == "39"


def test_a_container_without_memory_ends_as_a_whole_in_version_2(tmp_path: Path) -> None:
    async def main() -> None:
        tree = v2(tmp_path)
        switch = tmp_path / "kubepods/besteffort/podu/abc/memory.oom.group"
        switch.parent.mkdir(parents=True)
        for path in ("besteffort", "besteffort/podu"):
            for name in ("cgroup.controllers", "cgroup.subtree_control"):
                (tmp_path / "kubepods" / path / name).write_text("cpu memory pids")
        switch.write_text("0")
        (tmp_path / "kubepods/burstable").mkdir()
        for name in ("cgroup.controllers", "cgroup.subtree_control"):
            (tmp_path / "kubepods/burstable" / name).write_text("cpu memory pids")
        for single, expected in ((True, "0"), (False, "1")):
            cgroups = PodCgroups("/", tree, cgroupfs, single_process_oom_kill=single)
            await cgroups.ensure(spec({}), "u")
            await cgroups.started(spec({}), "u", "abc")
            await cgroups.started(spec({}), "u", "gone")
            assert switch.read_text() == expected
        V1({}).end_together("/kubepods")

    asyncio.run(main())
    assert Names("/", "systemd").container("BestEffort", "a-b", "abc") == (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_b.slice/docker-abc.scope"
    )


async def cgroupfs() -> str:
    return "cgroupfs"


def test_what_no_pod_owns_goes_with_the_second_look(tmp_path: Path) -> None:
    async def main() -> None:
        tree = V1({"cpu": tmp_path / "cpu", "name=systemd": tmp_path / "systemd"})
        cgroups = PodCgroups("/", tree, cgroupfs)
        await cgroups.ensure(spec({}), "mine")
        lost = [tmp_path / "cpu/kubepods/podlost/inner", tmp_path / "systemd/kubepods/burstable/podlost"]
        for folder in lost:
            folder.mkdir(parents=True)
        await cgroups.sweep(frozenset(["mine"]))
        assert all(folder.exists() for folder in lost)
        await cgroups.sweep(frozenset(["mine"]))
        assert not any(folder.exists() for folder in [*lost, lost[0].parent])
        assert (tmp_path / "cpu/kubepods/besteffort/podmine").is_dir()
        await cgroups.remove("mine")
        assert hierarchy.children(tree, "/kubepods/besteffort") == set()

    asyncio.run(main())


def test_a_host_that_lets_nobody_write_is_left_alone(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "cpu").write_text("no folder")
        told: list[str] = []
        cgroups = PodCgroups(
            "/root",
            V1({"cpu": tmp_path / "cpu"}),
            cgroupfs,
            node=Values(cpu_shares=2),
            tell=lambda type_, reason, text: told.append(reason),
        )
        for _ in range(2):
            await cgroups.ensure(spec({}), "u")
        assert told == ["FailedNodeAllocatableEnforcement"]
        assert cgroups.parent(spec({}), "u") == "/root"

    asyncio.run(main())
