"""Figures: from the files of cgroups, /proc and folders to the documents."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lightkube.models.core_v1 import (
    Container,
    EmptyDirVolumeSource,
    HostPathVolumeSource,
    PersistentVolumeClaimVolumeSource,
    PodSpec,
    Volume,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from kubelet.cri import ContainerState, ContainerStats, RuntimeContainer, RuntimeNotFound
from kubelet.node.machine import FileSystem
from kubelet.runtime.cgroups import CgroupMissing, Cgroups, of_container, parse_membership, parse_mounts
from kubelet.runtime.figures import Figures
from kubelet.stats import disk, network
from kubelet.stats.disk import Disks, Wanted
from kubelet.stats.exposition import counter, labels, render
from kubelet.stats.node import busy_nanoseconds
from kubelet.stats.places import logs_of, volume_places
from kubelet.stats.resource import resource_metrics
from kubelet.stats.samples import Rates, Sampler, pod_cgroup, pods_cgroup
from kubelet.stats.summary import PodPlaces, pod_stats

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"
ID = "abc123"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def proc(root: Path, mountinfo: str, membership: str) -> Cgroups:
    write(root / "proc/self", mountinfo=mountinfo)
    write(root / "proc/77", cgroup=membership)
    return Cgroups(str(root / "proc"))


@pytest.fixture
def version1(tmp_path: Path) -> Cgroups:
    tree = tmp_path / "cg"
    lines = [
        f"3{i} 25 0:{i} / {tree}/{name} rw - cgroup cgroup rw,{name}"
        for i, name in enumerate(("memory", "cpu,cpuacct", "pids", "blkio"))
    ]
    path = f"/kubepods/burstable/pod{UID}/{ID}"
    write(
        tree / f"memory{path}",
        memory__usage_in_bytes="5000\n",
        memory__limit_in_bytes="8000\n",
        memory__memsw__limit_in_bytes="9223372036854771712\n",
        memory__stat="rss 1\ntotal_rss 3000\ntotal_inactive_file 1500\npgfault 2\ntotal_pgfault 7\ntotal_swap 9\n",
    )
    write(tree / f"cpu,cpuacct{path}", cpuacct__usage="123456789\n", cpu__stat="nr_periods 4\nnr_throttled 1\n",
          cpu__shares="512\n", cpu__cfs_quota_us="50000\n", cpu__cfs_period_us="100000\n",
          cpuacct__stat="user 3\nsystem 2\n")  # fmt: skip
    write(tree / f"pids{path}", pids__current="6\n", pids__max="max\n")
    write(tree / f"blkio{path}",
          blkio__throttle__io_service_bytes_recursive="8:0 Read 10\n8:0 Write 20\n8:16 Read 5\nTotal 35\n")  # fmt: skip
    membership = f"4:memory:{path}\n3:pids:{path}\n2:cpu,cpuacct:{path}\n0::/elsewhere\n"
    return proc(tmp_path, "\n".join([*lines, f"40 25 0:9 / {tree}/unified rw - cgroup2 cgroup2 rw"]), membership)


def test_version_1_is_read_by_controller(version1: Cgroups) -> None:
    path = version1.path_of(77, ID)
    stats = version1.stats(path, ID, full=True)
    assert (stats.cpu_nanoseconds, stats.memory_usage_bytes, stats.memory_working_set_bytes) == (123456789, 5000, 3500)
    assert (stats.memory_rss_bytes, stats.memory_limit_bytes, stats.swap_limit_bytes) == (3000, 8000, None)
    assert (stats.pids, stats.page_faults, stats.swap_bytes) == (6, 7, 9)
    details = stats.details
    assert details is not None
    assert (details.read_bytes, details.written_bytes, details.cpu_quota, details.own_page_faults) == (15, 20, 50000, 2)
    assert version1.stats(path, ID).details is None


def test_version_2_is_read_from_one_folder(tmp_path: Path) -> None:
    tree = tmp_path / "cg"
    write(
        tree / "docker/abc123",
        cpu__stat="usage_usec 50\nuser_usec 30\nsystem_usec 20\nnr_throttled 2\nthrottled_usec 8\n",
        memory__current="4096\n",
        memory__max="max\n",
        memory__stat="anon 1000\nfile 2000\ninactive_file 96\npgfault 5\n",
        memory__swap__max="max\n",
        cpu__max="20000 100000\n",
        cpu__weight="39\n",
        io__stat="8:0 rbytes=1 wbytes=2 rios=3 wios=4\n8:16 rbytes=10 wbytes=20 rios=30 wios=40\n",
    )
    cgroups = proc(tmp_path, f"40 25 0:9 / {tree} rw - cgroup2 cgroup2 rw", "0::/docker/abc123/init\n")
    stats = cgroups.stats(cgroups.path_of(77, ID), ID, full=True)
    assert stats.cgroup == "/docker/abc123"
    assert (stats.cpu_nanoseconds, stats.memory_working_set_bytes, stats.memory_rss_bytes) == (50_000, 4000, 1000)
    assert (stats.memory_limit_bytes, stats.swap_limit_bytes) == (0, 0)
    assert stats.details is not None
    assert (stats.details.cpu_quota, stats.details.cpu_shares, stats.details.writes) == (20000, 998, 44)


def test_a_cgroup_that_is_not_there(version1: Cgroups) -> None:
    with pytest.raises(CgroupMissing):
        version1.stats("/docker/other")
    with pytest.raises(CgroupMissing):
        version1.path_of(78)


def test_a_mount_of_a_part_of_the_tree() -> None:
    mounts = parse_mounts("36 25 0:30 /docker/me /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory")
    assert mounts["memory"].folder("/docker/me/docker/c1") == "/sys/fs/cgroup/memory/docker/c1"
    assert mounts["memory"].folder("/docker/me") == "/sys/fs/cgroup/memory"
    assert parse_membership("5:cpu,cpuacct:/a:b\n") == {"cpu": "/a:b", "cpuacct": "/a:b"}
    assert of_container(f"/system.slice/docker-{ID}.scope/init", ID) == f"/system.slice/docker-{ID}.scope"


def container(name: str = "app", number: str = ID, **changes: Any) -> RuntimeContainer:
    made = RuntimeContainer(number, name, "web", "ns", UID, 0, ContainerState.RUNNING, "img", "sha", {}, EPOCH, 77)
    return replace(made, **changes)


async def test_the_runtime_is_asked_for_what_cannot_be_read(version1: Cgroups) -> None:
    asked = []

    async def ask(container_id: str) -> ContainerStats:
        asked.append(container_id)
        if container_id == "gone":
            raise RuntimeNotFound("no such container")
        return ContainerStats(container_id, EPOCH, 1, 1, 1, 1, 1)

    figures = Figures(ask, version1)
    found = await figures.of([container(), container(number="far", pid=0), container(number="gone", pid=78)], False)
    assert sorted(asked) == ["far", "gone"]
    assert found[ID].cpu_nanoseconds == 123456789
    assert set(found) == {ID, "far"}


def test_a_rate_needs_two_samples() -> None:
    rates = Rates()
    assert rates.rate("a", EPOCH, 1_000_000_000) is None
    assert rates.rate("a", EPOCH + timedelta(seconds=2), 2_000_000_000) == 500_000_000
    # the base stays until it is ten seconds old
    assert rates.rate("a", EPOCH + timedelta(seconds=10), 2_000_000_000) == 100_000_000
    assert rates.rate("a", EPOCH + timedelta(seconds=11), 3_000_000_000) == 1_000_000_000
    # a container that began anew, and one that nobody asked about for long
    assert rates.rate("a", EPOCH + timedelta(seconds=12), 5) is None
    assert rates.rate("a", EPOCH + timedelta(seconds=900), 7_000) is None


def test_idle_time_is_not_use() -> None:
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert busy_nanoseconds("cpu  1 2 3 1000 500 4 5 6 7 8\ncpu0 …") == 21 * tick


def test_pods_have_a_cgroup_of_their_own_or_none() -> None:
    def stats(path: str) -> ContainerStats:
        return ContainerStats(ID, EPOCH, 1, 1, 1, 1, 1, cgroup=path)

    underscored = UID.replace("-", "_")
    slice_ = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice"
    assert pod_cgroup(stats(f"{slice_}/docker-{ID}.scope"), UID) == slice_
    assert pod_cgroup(stats(f"/kubepods/pod{UID}/{ID}"), UID) == f"/kubepods/pod{UID}"
    assert pod_cgroup(stats(f"/docker/{ID}"), UID) == ""
    assert pods_cgroup(f"/node/kubepods/burstable/pod{UID}") == "/node/kubepods"
    assert pods_cgroup(slice_) == "/kubepods.slice"


class Runtime:
    """One pod with a sandbox and a container; the second only in a later list."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.taken = 0

    async def list_containers(self, pod_uid: str | None = None) -> list[RuntimeContainer]:
        ended = container("old", "3", state=ContainerState.EXITED)
        return [container("app", "2", created=EPOCH + timedelta(seconds=1)), container("POD", "1"), ended]

    async def stats_of(
        self, containers: Sequence[RuntimeContainer], *, full: bool = False
    ) -> dict[str, ContainerStats]:
        self.taken += 1
        return {each.id: ContainerStats(each.id, EPOCH, 100 * int(each.id), 10, 5, 3, 1,
                                        cgroup=f"{self.path}/{each.id}") for each in containers}  # fmt: skip

    async def cgroup_stats(self, paths: Sequence[str], *, full: bool = False) -> dict[str, ContainerStats]:
        return {path: ContainerStats("", EPOCH, 999, 77, 55, 3, 4, cgroup=path) for path in paths}


async def test_samples_are_shared_for_a_moment() -> None:
    runtime = Runtime("/docker")
    sampler = Sampler(runtime)  # type: ignore[arg-type]
    first = await sampler.read()
    assert await sampler.read() is first
    assert (await sampler.read(full=True)).full
    assert runtime.taken == 2
    assert [each.id for each in first.pods[0].containers] == ["1", "2"]
    assert first.all_pods is None


DISK = FileSystem(1000, 400, 100, 60)


async def test_a_pods_figures_are_its_cgroups_or_the_sum() -> None:
    summed = (await Sampler(Runtime("/docker")).read()).pods[0]  # type: ignore[arg-type]
    found = pod_stats(summed, PodPlaces(), DISK)
    assert found["cpu"]["usageCoreNanoSeconds"] == 300
    assert found["process_stats"] == {"process_count": 2}
    assert [each["name"] for each in found["containers"]] == ["app"]
    assert "availableBytes" not in found["memory"]
    reading = await Sampler(Runtime(f"/kubepods/pod{UID}")).read()  # type: ignore[arg-type]
    assert pod_stats(reading.pods[0], None, DISK)["cpu"]["usageCoreNanoSeconds"] == 999
    assert reading.all_pods is not None


async def test_resource_metrics_say_when_they_are_from() -> None:
    assert render(resource_metrics(None)).count(" 1") >= 2
    assert "resource_scrape_error 1\n" in render(resource_metrics(None))


def test_the_text_format() -> None:
    family = counter("a_total", "Help.")
    family.add(labels(b='x"y', a="back\\slash\n"), 1.5, 12)
    assert render([family, counter("none_total", "Never.")]) == (
        '# HELP a_total Help.\n# TYPE a_total counter\na_total{a="back\\\\slash\\n",b="x\\"y"} 1.5 12\n'
    )


def test_interfaces_that_count() -> None:
    head = "Inter-|\n face |\n"
    row = "  {}: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"
    found = network.parse_dev(head + row.format("lo") + row.format("eth0") + row.format("veth12"))
    assert [each.name for each in found] == ["eth0"]
    assert (found[0].rx_bytes, found[0].tx_bytes, found[0].tx_dropped) == (1, 5, 8)
    assert network.parse_default("Iface Destination\ncox0 0000A8C0 x\neth1 00000000 y\n") == "eth1"


async def test_folders_are_counted_inode_by_inode_and_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/one").write_bytes(b"x" * 5000)
    os.link(tmp_path / "sub/one", tmp_path / "again")
    walks = []
    measure = disk.tree_usage
    monkeypatch.setattr(disk, "tree_usage", lambda path: walks.append(path) or measure(path))  # type: ignore[func-returns-value]
    now = 100.0
    usage = Disks(lambda: now)
    wanted = Wanted(str(tmp_path))
    first = (await usage.of([wanted]))[wanted]
    assert first.inodes == 3
    assert 5000 < first.used < 50_000
    (tmp_path / "more").write_bytes(b"y" * 100_000)
    assert (await usage.of([wanted]))[wanted] == first
    now = 161.0
    assert (await usage.of([wanted]))[wanted].used > first.used + 90_000
    assert len(walks) == 2
    usage.close()


def test_where_a_pods_figures_are(tmp_path: Path) -> None:
    volumes = [
        Volume(name="scratch", emptyDir=EmptyDirVolumeSource()),
        Volume(name="fast", emptyDir=EmptyDirVolumeSource(medium="Memory")),
        Volume(name="unmounted", emptyDir=EmptyDirVolumeSource()),
        Volume(name="data", persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName="claim")),
        Volume(name="host", hostPath=HostPathVolumeSource(path="/srv")),
    ]
    pod = Pod(metadata=ObjectMeta(name="web", namespace="ns", uid=UID),
              spec=PodSpec(containers=[Container(name="app")], volumes=volumes))  # fmt: skip
    base = f"{tmp_path.resolve()}/pods/{UID}/volumes"
    mounted = {name: f"{base}/kubernetes.io~empty-dir/{name}" for name in ("scratch", "fast")}
    mounted["data"], mounted["host"] = f"{base}/kubernetes.io~nfs/pv-7", "/srv"
    found = {each.name: each for each in volume_places(pod, tmp_path, mounted)}
    assert {name: each.ephemeral for name, each in found.items()} == {"scratch": True, "fast": False, "data": False}
    data = found["data"]
    assert (data.claim, data.plugin, data.wanted) == ("claim", "kubernetes.io~nfs", Wanted(mounted["data"], whole=True))
    log = tmp_path / "x-json.log"
    for path in (log, tmp_path / "x-json.log.1"):
        path.write_text("line\n")
    own = tmp_path / f"logs/ns_web_{UID}/app"
    own.mkdir(parents=True)
    (own / "0.log").symlink_to(log)
    logs = logs_of(container(log_path=str(log)), tmp_path / "logs")
    assert logs is not None
    assert disk.measure_files(logs.files).inodes == 2
