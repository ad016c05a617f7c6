"""Volumes that need mounts: memory that is memory, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lightkube.models.core_v1 import (
    Container,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    EmptyDirVolumeSource,
    ObjectFieldSelector,
    PodSecurityContext,
    PodSpec,
    ProjectedVolumeSource,
    SecretVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, Secret

from common.api.status import ServiceUnavailable
from common.api.time import to_rfc3339
from kubelet.types import VolumeError
from kubelet.volumes import mounts
from kubelet.volumes.manager import VolumeManager
from kubelet.volumes.mounts import bind_mount, mounts_below
from kubelet.volumes.objects import CachedObjects
from kubelet.volumes.token import TokenManager


class Server:
    async def get(self, kind: type, name: str, namespace: str | None = None) -> Any:
        return Secret(metadata=ObjectMeta(name=name), data={"password": "aHVudGVyMg=="})

    async def post_subresource(self, kind: type, name: str, subresource: str, body: Any, namespace: Any = None) -> Any:
        return {"spec": body["spec"], "status": {"token": "jwt", "expirationTimestamp": "2099-01-01T00:00:00Z"}}


def pod_with(*volumes: Volume, **spec: Any) -> Pod:
    mounts = [VolumeMount(mountPath=f"/{volume.name}", name=volume.name) for volume in volumes]
    container = Container(name="app", image="i", volumeMounts=mounts)
    metadata = ObjectMeta(name="web", namespace="default", uid="uid-1")
    return Pod(metadata=metadata, spec=PodSpec(containers=[container], volumes=list(volumes), **spec))


@pytest.fixture
async def volumes(tmp_path: Path) -> AsyncIterator[VolumeManager]:
    server = Server()
    manager = VolumeManager(tmp_path, CachedObjects(server), TokenManager(server), {})
    yield manager
    await manager.unmount("uid-1")
    assert mounts_below(tmp_path) == []


def file_system_of(path: Path) -> str:
    return subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True).stdout.strip()


async def test_a_secret_is_in_memory_and_gone_with_the_pod(volumes: VolumeManager, tmp_path: Path) -> None:
    pod = pod_with(Volume(name="s", secret=SecretVolumeSource(secretName="s", defaultMode=0o400)))
    path = Path((await volumes.mount(pod))["s"])
    assert path == tmp_path / "pods/uid-1/volumes/kubernetes.io~secret/s"
    assert (path / "password").read_text() == "hunter2"
    assert (path / "password").stat().st_mode & 0o777 == 0o400
    assert await asyncio.to_thread(file_system_of, path / "password") == "tmpfs"
    assert mounts_below(tmp_path) == [str(path)]
    await volumes.mount(pod)
    assert len(mounts_below(tmp_path)) == 1
    await volumes.unmount("uid-1")
    assert mounts_below(tmp_path) == [] and not (tmp_path / "pods/uid-1").exists()


async def test_memory_has_the_size_asked_for(volumes: VolumeManager) -> None:
    source = EmptyDirVolumeSource(medium="Memory", sizeLimit="1Mi")
    path = Path((await volumes.mount(pod_with(Volume(name="m", emptyDir=source))))["m"])
    with pytest.raises(OSError, match="No space left"):
        (path / "big").write_bytes(b"x" * (2 << 20))


async def test_a_projected_volume_with_a_token_for_the_group(volumes: VolumeManager) -> None:
    fields = DownwardAPIProjection(items=[DownwardAPIVolumeFile("name", ObjectFieldSelector("metadata.name"))])
    sources = [
        VolumeProjection(serviceAccountToken=ServiceAccountTokenProjection(path="token", expirationSeconds=3607)),
        VolumeProjection(downwardAPI=fields),
    ]
    projected = Volume(name="access", projected=ProjectedVolumeSource(sources=sources))
    paths = await volumes.mount(pod_with(projected, securityContext=PodSecurityContext(fsGroup=2000)))
    token = Path(paths["access"]) / "token"
    assert token.read_text() == "jwt"
    status = token.stat()
    assert (status.st_mode & 0o777, status.st_gid) == (0o640, 2000)
    assert (Path(paths["access"]) / "name").read_text() == "web"


async def test_mounts_that_a_killed_kubelet_left_are_removed(volumes: VolumeManager, tmp_path: Path) -> None:
    await volumes.mount(pod_with(Volume(name="m", emptyDir=EmptyDirVolumeSource(medium="Memory"))))
    server = Server()
    restarted = VolumeManager(tmp_path, CachedObjects(server), TokenManager(server), {})
    assert len(mounts_below(tmp_path)) == 1
    await restarted.unmount("uid-1")
    assert mounts_below(tmp_path) == []


async def test_an_unknown_medium_is_refused(volumes: VolumeManager) -> None:
    with pytest.raises(VolumeError, match="there is no resource request for huge pages"):
        await volumes.mount(pod_with(Volume(name="m", emptyDir=EmptyDirVolumeSource(medium="HugePages"))))


async def test_a_mount_that_cannot_be_unmounted_keeps_what_is_in_it(
    volumes: VolumeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something of the user's is mounted in the pod's folder and stays: not a file of it is removed."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    path = Path((await volumes.mount(pod_with(Volume(name="d", emptyDir=EmptyDirVolumeSource()))))["d"])
    (path / "below").mkdir()
    bind_mount(str(mine), path / "below")

    def refuse(point: str) -> None:
        raise VolumeError(f"unmount of {point} failed: Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(mounts, "unmount", refuse)
        with pytest.raises(VolumeError, match="Operation not permitted"):
            await volumes.unmount("uid-1")
        # Nor when the mount table does not show it yet.
        patch.setattr(mounts, "mounts_below", lambda _: [])
        with pytest.raises(VolumeError, match="below is still mounted"):
            await volumes.unmount("uid-1")
    assert (mine / "file").read_text() == "mine"
    await volumes.unmount("uid-1")
    assert (mine / "file").read_text() == "mine" and not path.exists()


async def test_folders_within_folders_without_end_are_removed(volumes: VolumeManager) -> None:
    path = Path((await volumes.mount(pod_with(Volume(name="d", emptyDir=EmptyDirVolumeSource()))))["d"])
    here = os.open(path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    await volumes.unmount("uid-1")
    assert not path.exists()


class ShortLived(Server):
    """Its tokens are old when they come: each look wants a new one."""

    given = 0

    async def post_subresource(self, kind: type, name: str, subresource: str, body: Any, namespace: Any = None) -> Any:
        if self.given < 0:
            raise ServiceUnavailable("connection refused")
        self.given += 1
        expires = to_rfc3339(datetime.now(UTC) + timedelta(minutes=1))
        return {
            "spec": {"expirationSeconds": 600},
            "status": {"token": f"{self.given}", "expirationTimestamp": expires},
        }


async def test_a_token_that_is_renewed_comes_into_its_file(tmp_path: Path) -> None:
    server = ShortLived()
    volumes = VolumeManager(tmp_path, CachedObjects(server), TokenManager(server), {})
    token = ServiceAccountTokenProjection(path="token", expirationSeconds=3600)
    source = ProjectedVolumeSource(sources=[VolumeProjection(serviceAccountToken=token)])
    path = Path((await volumes.mount(pod_with(Volume(name="t", projected=source))))["t"])
    assert (path / "token").read_text() == "1"
    await volumes.refresh("uid-1")
    assert (path / "token").read_text() == "2"
    server.given = -1
    await volumes.refresh("uid-1")
    assert (path / "token").read_text() == "2"
    await volumes.unmount("uid-1")
    assert mounts_below(tmp_path) == []
