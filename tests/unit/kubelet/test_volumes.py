"""What a volume holds, and that readers see it whole."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.models.core_v1 import (
    ConfigMapVolumeSource,
    Container,
    DownwardAPIVolumeFile,
    EmptyDirVolumeSource,
    HostPathVolumeSource,
    KeyToPath,
    ObjectFieldSelector,
    PersistentVolumeClaimVolumeSource,
    PodSecurityContext,
    PodSpec,
    ResourceFieldSelector,
    ResourceRequirements,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret

from common.api.status import NotFound, ServiceUnavailable
from kubelet.types import VolumeError
from kubelet.volumes import downward_api, empty_dir, host_path, subpath
from kubelet.volumes.atomic_writer import write_payload
from kubelet.volumes.manager import VolumeManager
from kubelet.volumes.mounts import parse_mountinfo
from kubelet.volumes.objects import CachedObjects
from kubelet.volumes.payload import FileProjection, check_path, fs_user
from kubelet.volumes.token import Token, TokenManager, needs_refresh


class Server:
    """The objects and tokens of an API server."""

    def __init__(self) -> None:
        self.objects: dict[tuple[type, str], Any] = {}
        self.calls = 0
        self.away = False

    async def get(self, kind: type, name: str, namespace: str | None = None) -> Any:
        self.calls += 1
        if self.away:
            raise ServiceUnavailable("connection refused")
        try:
            return self.objects[kind, name]
        except KeyError:
            raise NotFound(f'{kind.__name__.lower()}s "{name}" not found') from None

    async def post_subresource(self, kind: type, name: str, subresource: str, body: Any, namespace: Any = None) -> Any:
        self.calls += 1
        if self.away:
            raise ServiceUnavailable("connection refused")
        assert subresource == "token" and body["spec"]["boundObjectRef"]["uid"] == "uid-1"
        expires = time.time() + body["spec"]["expirationSeconds"]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
        return {"spec": body["spec"], "status": {"token": f"token-{self.calls}", "expirationTimestamp": stamp}}


def config_map(**data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="settings"), data=data)


def pod_with(*volumes: Volume, **spec: Any) -> Pod:
    mounts = [VolumeMount(mountPath=f"/{volume.name}", name=volume.name) for volume in volumes]
    container = Container(name="app", image="i", volumeMounts=mounts)
    return Pod(
        metadata=ObjectMeta(name="web", namespace="default", uid="uid-1", labels={"app": "web"}),
        spec=PodSpec(containers=[container], volumes=list(volumes), **spec),
    )


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def volumes(server: Server, tmp_path: Path) -> VolumeManager:
    return VolumeManager(tmp_path, CachedObjects(server, ttl=0), TokenManager(server), {"cpu": 2000, "memory": 1 << 30})


SETTINGS = Volume(name="conf", configMap=ConfigMapVolumeSource(name="settings"))


async def test_a_config_map_is_a_directory_of_links(server: Server, volumes: VolumeManager, tmp_path: Path) -> None:
    server.objects[ConfigMap, "settings"] = ConfigMap(
        metadata=ObjectMeta(name="settings"),
        data={"a.conf": "one"},
        binaryData={"b.bin": base64.b64encode(b"\x00\xff").decode()},
    )
    path = Path((await volumes.mount(pod_with(SETTINGS)))["conf"])
    assert path == tmp_path / "pods/uid-1/volumes/kubernetes.io~configmap/conf"
    assert (path / "a.conf").read_text() == "one"
    assert (path / "b.bin").read_bytes() == b"\x00\xff"
    assert os.readlink(path / "a.conf") == "..data/a.conf"
    assert stat.S_IMODE((path / "a.conf").stat().st_mode) == 0o644


async def test_an_update_appears_and_what_was_removed_goes(server: Server, volumes: VolumeManager) -> None:
    server.objects[ConfigMap, "settings"] = config_map(a="1", b="2")
    path = Path((await volumes.mount(pod_with(SETTINGS)))["conf"])
    before = os.readlink(path / "..data")
    server.objects[ConfigMap, "settings"] = config_map(a="9", c="3")
    await volumes.refresh("uid-1")
    assert sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("..")) == ["a", "c"]
    assert (path / "a").read_text() == "9"
    assert not (path / before).exists()


async def test_an_update_that_fails_leaves_the_files(server: Server, volumes: VolumeManager) -> None:
    server.objects[ConfigMap, "settings"] = config_map(a="1")
    path = Path((await volumes.mount(pod_with(SETTINGS)))["conf"])
    del server.objects[ConfigMap, "settings"]
    await volumes.refresh("uid-1")
    assert (path / "a").read_text() == "1"


async def test_a_missing_object_is_told_in_upstreams_words_and_tried_again(
    server: Server, volumes: VolumeManager
) -> None:
    with pytest.raises(VolumeError) as failed:
        await volumes.mount(pod_with(SETTINGS))
    assert str(failed.value) == 'MountVolume.SetUp failed for volume "conf" : configmap "settings" not found'
    server.objects[ConfigMap, "settings"] = config_map(a="1")
    assert "conf" in await volumes.mount(pod_with(SETTINGS))


async def test_a_restarted_kubelet_uses_the_files_while_the_server_is_away(
    server: Server, volumes: VolumeManager, tmp_path: Path
) -> None:
    server.objects[ConfigMap, "settings"] = config_map(a="1")
    path = (await volumes.mount(pod_with(SETTINGS)))["conf"]
    server.away = True
    restarted = VolumeManager(tmp_path, CachedObjects(server, ttl=0), TokenManager(server), {})
    assert await restarted.mount(pod_with(SETTINGS)) == {"conf": path}
    other = Volume(name="other", configMap=ConfigMapVolumeSource(name="settings"))
    with pytest.raises(VolumeError, match="connection refused"):
        await restarted.mount(pod_with(other))
    server.away = False
    server.objects[ConfigMap, "settings"] = config_map(a="2")
    await restarted.refresh("uid-1", pod_with(SETTINGS))
    assert (Path(path) / "a").read_text() == "2"


async def test_items_choose_keys_paths_and_modes(server: Server, volumes: VolumeManager) -> None:
    server.objects[ConfigMap, "settings"] = config_map(a="1", b="2")
    source = ConfigMapVolumeSource(
        name="settings", items=[KeyToPath(key="a", path="deep/er/a", mode=0o400)], defaultMode=0o600
    )
    path = Path((await volumes.mount(pod_with(Volume(name="conf", configMap=source))))["conf"])
    assert stat.S_IMODE((path / "deep/er/a").stat().st_mode) == 0o400
    assert not (path / "b").exists()


async def test_a_missing_key(server: Server, volumes: VolumeManager) -> None:
    server.objects[ConfigMap, "settings"] = config_map(a="1")
    items = [KeyToPath(key="nope", path="x")]
    wanted = Volume(name="conf", configMap=ConfigMapVolumeSource(name="settings", items=items))
    with pytest.raises(VolumeError, match="configmap references non-existent config key: nope"):
        await volumes.mount(pod_with(wanted))
    optional = Volume(name="conf", configMap=ConfigMapVolumeSource(name="settings", items=items, optional=True))
    assert list(Path((await volumes.mount(pod_with(optional)))["conf"]).glob("[!.]*")) == []


async def test_an_optional_object_may_be_missing(volumes: VolumeManager) -> None:
    wanted = Volume(name="conf", configMap=ConfigMapVolumeSource(name="settings", optional=True))
    assert Path((await volumes.mount(pod_with(wanted)))["conf"]).is_dir()


async def test_an_empty_dir_keeps_its_content_until_the_pod_goes(volumes: VolumeManager, tmp_path: Path) -> None:
    pod = pod_with(
        Volume(name="tmp", emptyDir=EmptyDirVolumeSource()), securityContext=PodSecurityContext(fsGroup=2000)
    )
    path = Path((await volumes.mount(pod))["tmp"])
    assert path == tmp_path / "pods/uid-1/volumes/kubernetes.io~empty-dir/tmp"
    assert stat.S_IMODE(path.stat().st_mode) == 0o2777
    assert path.stat().st_gid == 2000
    (path / "kept").write_text("x")
    assert (Path((await volumes.mount(pod))["tmp"]) / "kept").read_text() == "x"
    await volumes.unmount("uid-1")
    await volumes.unmount("uid-1")
    assert not (tmp_path / "pods/uid-1").exists()


async def test_a_host_path_is_never_removed(volumes: VolumeManager, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").touch()
    pod = pod_with(Volume(name="host", hostPath=HostPathVolumeSource(path=str(mine))))
    assert (await volumes.mount(pod))["host"].path == str(mine)
    await volumes.unmount("uid-1")
    assert (mine / "file").exists()


async def test_what_a_crash_left_is_removed_and_other_pods_stay(volumes: VolumeManager, tmp_path: Path) -> None:
    for uid in ("dead", "alive"):
        (tmp_path / "pods" / uid / "volumes/kubernetes.io~empty-dir/tmp").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (tmp_path / "pods/dead/volumes/kubernetes.io~empty-dir/tmp/link").symlink_to(outside)
    await volumes.unmount("dead")
    assert sorted(entry.name for entry in (tmp_path / "pods").iterdir()) == ["alive"]
    assert (outside / "file").exists()


async def test_only_volumes_that_a_container_mounts_are_set_up(volumes: VolumeManager) -> None:
    pod = pod_with(SETTINGS)
    assert pod.spec is not None
    pod.spec.containers[0].volumeMounts = None
    assert await volumes.mount(pod) == {}


async def test_a_type_that_is_not_built_says_so(volumes: VolumeManager) -> None:
    claim = Volume(name="data", persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName="x"))
    with pytest.raises(VolumeError, match='volume "data" err=no volume plugin matched'):
        await volumes.mount(pod_with(claim))


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../b", "..data", "..x/y"])
def test_a_path_stays_in_its_volume(path: str) -> None:
    with pytest.raises(VolumeError):
        check_path(path)


_NAMES = st.text("abc.", min_size=1, max_size=4).filter(lambda name: not name.startswith(".."))
_PAYLOADS = st.dictionaries(_NAMES.filter(lambda name: name != "."), st.binary(max_size=8), max_size=5)


@given(st.lists(_PAYLOADS, min_size=1, max_size=4))
def test_the_directory_always_holds_the_last_payload(tmp_path_factory: Any, payloads: list[dict[str, bytes]]) -> None:
    target = tmp_path_factory.mktemp("volume")
    for payload in payloads:
        files = {name: FileProjection(data, 0o644) for name, data in payload.items()}
        write_payload(target, files)
        assert not write_payload(target, files)
        visible = {entry.name: entry.read_bytes() for entry in target.iterdir() if not entry.name.startswith("..")}
        assert visible == payload
        assert sum(entry.is_dir() and not entry.is_symlink() for entry in target.iterdir()) == 1


def test_a_failed_write_leaves_the_old_files(tmp_path: Path) -> None:
    write_payload(tmp_path, {"a": FileProjection(b"1", 0o644)})

    def refuse(_: Path) -> None:
        raise OSError("no")

    with pytest.raises(OSError):
        write_payload(tmp_path, {"a": FileProjection(b"2", 0o644)}, refuse)
    assert (tmp_path / "a").read_bytes() == b"1"
    assert len([entry for entry in tmp_path.iterdir() if entry.name.startswith("..2")]) == 1


def test_downward_fields_and_maps() -> None:
    pod = pod_with()
    assert pod.metadata is not None
    pod.metadata.annotations = {"b": 'say "hi"\nthere', "a": "ü\x01"}
    assert downward_api.field_value(pod, "metadata.labels") == 'app="web"'
    assert downward_api.field_value(pod, "metadata.annotations") == 'a="ü\\x01"\nb="say \\"hi\\"\\nthere"'
    assert downward_api.field_value(pod, "metadata.annotations['b']") == 'say "hi"\nthere'
    assert downward_api.field_value(pod, "metadata.labels['none']") == ""
    with pytest.raises(VolumeError, match=r"unsupported fieldPath: status\.podIP"):
        downward_api.field_value(pod, "status.podIP")


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", None, "1"),
        ("limits.cpu", "1m", "250"),
        ("requests.memory", "1Mi", "64"),
        ("limits.memory", None, str(1 << 30)),
        ("requests.cpu", None, "0"),
    ],
)
def test_downward_resources(resource: str, divisor: str | None, value: str) -> None:
    pod = pod_with()
    assert pod.spec is not None
    pod.spec.containers[0].resources = ResourceRequirements(limits={"cpu": "250m"}, requests={"memory": "64Mi"})
    selector = ResourceFieldSelector(resource=resource, containerName="app", divisor=divisor)
    assert downward_api.resource_value(pod, selector, {"cpu": 2000, "memory": 1 << 30}) == value


def test_downward_payload_has_modes() -> None:
    items = [DownwardAPIVolumeFile(path="name", fieldRef=ObjectFieldSelector("metadata.name"), mode=0o400)]
    assert downward_api.payload(pod_with(), items, 0o644, {}) == {"name": FileProjection(b"web", 0o400)}


@pytest.mark.parametrize(
    ("kind", "make", "message"),
    [
        ("Directory", "file", "is not a directory"),
        ("Directory", "", "is not a directory"),
        ("File", "directory", "is not a file"),
        ("Socket", "file", "is not a socket file"),
        ("CharDevice", "file", "is not a character device"),
        ("BlockDevice", "file", "is not a block device"),
        ("FileOrCreate", "no parent", "no such file or directory"),
        ("Nonsense", "file", "invalid volume type"),
    ],
)
def test_a_host_path_of_the_wrong_type(tmp_path: Path, kind: str, make: str, message: str) -> None:
    path = tmp_path / "x" / "y" if make == "no parent" else tmp_path / "x"
    if make == "file":
        path.touch()
    elif make == "directory":
        path.mkdir()
    with pytest.raises(VolumeError, match=message):
        host_path.set_up(path, kind)


def test_a_host_path_is_made_when_asked(tmp_path: Path) -> None:
    host_path.set_up(tmp_path / "a/b", "DirectoryOrCreate")
    host_path.set_up(tmp_path / "a/b/c", "FileOrCreate")
    host_path.set_up(tmp_path / "nowhere", "")
    host_path.set_up(Path("/dev/null"), "CharDevice")
    assert (tmp_path / "a/b/c").is_file() and not (tmp_path / "nowhere").exists()


def test_memory_is_bounded_by_the_volume_and_by_the_pod() -> None:
    pod = pod_with()
    assert pod.spec is not None
    assert empty_dir.memory_size(EmptyDirVolumeSource(medium="Memory"), pod, {}) is None
    pod.spec.containers[0].resources = ResourceRequirements(limits={"memory": "64Mi"})
    assert empty_dir.memory_size(EmptyDirVolumeSource(medium="Memory", sizeLimit="1Gi"), pod, {}) == 64 << 20
    assert empty_dir.memory_size(EmptyDirVolumeSource(medium="Memory", sizeLimit="1Mi"), pod, {}) == 1 << 20


def test_a_sub_path_cannot_leave_the_volume(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "out").symlink_to(tmp_path)
    (volume / "in").mkdir()
    (volume / "again").symlink_to("in")
    volume.chmod(0o2770)

    def found(path: str) -> str:
        descriptor = subpath.open_beneath(str(volume), path)
        try:
            return str(Path(f"/proc/self/fd/{descriptor}").readlink())
        finally:
            os.close(descriptor)

    assert found("new/folder") == str(volume / "new/folder")
    assert (volume / "new/folder").stat().st_mode & 0o7777 == 0o2770
    assert found("again") == str(volume / "in")
    for path in ("out", "out/x", "../x", "/etc"):
        with pytest.raises(VolumeError):
            subpath.open_beneath(str(volume), path)
    assert not (tmp_path / "x").exists()


def test_one_user_for_all_containers_or_none() -> None:
    pod = pod_with(securityContext=PodSecurityContext(runAsUser=5))
    assert fs_user(pod) == 5
    assert fs_user(pod_with()) is None


async def test_objects_are_fetched_once_and_kept_when_the_server_goes(server: Server) -> None:
    server.objects[Secret, "s"] = Secret(metadata=ObjectMeta(name="s"), data={"a": "YQ=="})
    objects = CachedObjects(server, ttl=60)
    assert (await objects.secret("default", "s")) is (await objects.secret("default", "s"))
    assert server.calls == 1
    stale = CachedObjects(server, ttl=0)
    await stale.secret("default", "s")
    server.away = True
    assert (await stale.secret("default", "s")).data == {"a": "YQ=="}
    with pytest.raises(ServiceUnavailable):
        await stale.secret("default", "unknown")


async def test_a_deleted_object_is_not_kept(server: Server) -> None:
    server.objects[ConfigMap, "settings"] = config_map(a="1")
    objects = CachedObjects(server, ttl=0)
    await objects.config_map("default", "settings")
    del server.objects[ConfigMap, "settings"]
    with pytest.raises(NotFound):
        await objects.config_map("default", "settings")


def test_a_token_is_renewed_at_four_fifths_of_its_life_or_after_a_day() -> None:
    hour = Token("t", expires=3600, lifetime=3600)
    assert not needs_refresh(hour, 2879, 0)
    assert needs_refresh(hour, 2881, 0)
    year = Token("t", expires=365 * 86400, lifetime=365 * 86400)
    assert needs_refresh(year, 86401, 0)
    assert "t" not in repr(hour).replace("Token", "").replace("expires", "")


async def test_a_token_is_asked_once_and_kept_while_the_server_is_away(server: Server) -> None:
    tokens = TokenManager(server)
    first = await tokens.token(pod_with(), "", 3600)
    assert await tokens.token(pod_with(), "", 3600) == first
    assert await tokens.token(pod_with(), "other", 3600) != first
    # Lifetimes so short that each call wants a new one.
    short = await tokens.token(pod_with(), "", 8)
    server.away = True
    assert await tokens.token(pod_with(), "", 8) == short
    with pytest.raises(ServiceUnavailable):
        await tokens.token(pod_with(), "never asked", 3600)


def test_mount_points_are_read_with_their_blanks() -> None:
    text = "36 35 98:0 / /mnt/a\\040b rw - ext3 /dev/root rw\n37 35 0:1 / /x rw - tmpfs tmpfs rw\n"
    assert [(each.path, each.kind) for each in parse_mountinfo(text)] == [("/mnt/a b", "ext3"), ("/x", "tmpfs")]


async def test_a_refresh_brings_nothing_back_that_was_unmounted_meanwhile(
    server: Server, volumes: VolumeManager, tmp_path: Path
) -> None:
    """The refresh waits for the lock that the unmount holds."""
    server.objects[ConfigMap, "settings"] = config_map(a="1")
    await volumes.mount(pod_with(SETTINGS))
    unmounting = asyncio.create_task(volumes.unmount("uid-1"))
    await asyncio.sleep(0)
    await volumes.refresh("uid-1")
    await unmounting
    assert not (tmp_path / "pods/uid-1").exists()


async def test_an_error_of_the_system_is_told_without_its_number(volumes: VolumeManager, tmp_path: Path) -> None:
    (tmp_path / "pods").write_text("no folder")
    with pytest.raises(VolumeError) as failed:
        await volumes.mount(pod_with(Volume(name="d", emptyDir=EmptyDirVolumeSource())))
    folder = tmp_path / "pods/uid-1/volumes/kubernetes.io~empty-dir/d"
    assert str(failed.value).startswith(f'MountVolume.SetUp failed for volume "d" : {tmp_path / "pods"}')
    assert str(failed.value).endswith("not a directory") and not folder.is_dir()
