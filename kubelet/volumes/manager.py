"""Which volumes of which pod are set up: ``kubelet.types.Volumes``.

Setting up is idempotent and remembers nothing that matters across a restart: what is on disk and in the mount table is
looked at anew, and while the API server is away the files that are there do. While a pod runs, a loop refreshes what
its configMaps, secrets, labels and tokens put into files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lightkube.models.core_v1 import Volume
from lightkube.resources.core_v1 import Pod

from common.api.meta import meta_of
from common.api.status import InternalError, ServiceUnavailable, StatusError, Timeout, TooManyRequests
from kubelet.types import DiskUsage, ObjectSource, VolumeError
from kubelet.volumes import config_map, downward_api, empty_dir, host_path, ownership, projected, secret, subpath
from kubelet.volumes.atomic_writer import DATA_LINK, write_payload
from kubelet.volumes.mounts import mount_tmpfs, remove_tree
from kubelet.volumes.payload import DEFAULT_MODE, Payload, fs_group
from kubelet.volumes.token import TokenManager
from kubelet.volumes.usage import tree_usage

log = logging.getLogger("kubelet.volumes")

_REFRESH_SECONDS = 15.0
_PLUGINS = {
    "emptyDir": "kubernetes.io~empty-dir",
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
}
_IN_MEMORY = frozenset({"secret", "downwardAPI", "projected"})
_PAYLOADS = _IN_MEMORY | {"configMap"}


@dataclass(slots=True)
class _PodVolumes:
    """What this process has set up for a pod, and the pod as it was last seen."""

    pod: Pod
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    paths: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


class VolumeManager:
    """Volumes of this node's pods, below ``<root>/pods/<uid>/volumes``."""

    def __init__(
        self, root_dir: Path, objects: ObjectSource, tokens: TokenManager, allocatable: Mapping[str, int]
    ) -> None:
        self._pods_dir = root_dir / "pods"
        self._objects = objects
        self._tokens = tokens
        self._allocatable = allocatable
        self._pods: dict[str, _PodVolumes] = {}

    async def mount(self, pod: Pod) -> Mapping[str, str]:
        """Sets up every volume that a container mounts. Raises VolumeError for the first that fails."""
        uid = meta_of(pod).uid or ""
        held = self._pods.setdefault(uid, _PodVolumes(pod))
        async with held.lock:
            moved = _shown_metadata(held.pod) != _shown_metadata(pod)
            held.pod = pod
            for volume in used_volumes(pod):
                if volume.name not in held.paths or (moved and type_of(volume) in ("downwardAPI", "projected")):
                    held.paths[volume.name] = await self._set_up_named(pod, volume)
            return dict(held.paths)

    async def unmount(self, pod_uid: str) -> None:
        """Unmounts and removes the pod's volumes. Safe to repeat; hostPaths are left as they are."""
        held = self._pods.get(pod_uid)
        if held is None:
            await self._remove(pod_uid)
        else:
            async with held.lock:
                await self._remove(pod_uid)
                self._pods.pop(pod_uid, None)
        self._tokens.forget(pod_uid)

    async def usage(self, pod: Pod) -> Mapping[str, DiskUsage]:
        """What the pod's own volumes take, by name. Those that were not set up yet are 0."""
        uid, spec = meta_of(pod).uid or "", pod.spec
        paths = {
            volume.name: self._pods_dir / uid / "volumes" / _PLUGINS[type_of(volume)] / volume.name
            for volume in (spec.volumes if spec else None) or []
            if type_of(volume) in _PLUGINS
        }
        return await asyncio.to_thread(lambda: {name: tree_usage(path) for name, path in paths.items()})

    async def run(self, current: Callable[[str], Pod | None] = lambda _: None) -> None:
        """Refreshes running pods' files until cancelled. ``current`` gives a pod's newest version by uid."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            for uid in list(self._pods):
                await self.refresh(uid, current(uid))

    async def refresh(self, pod_uid: str, pod: Pod | None = None) -> None:
        """Brings a pod's files up to date. A failure leaves them as they are and is logged when it is a new one."""
        held = self._pods.get(pod_uid)
        if held is None:
            return
        async with held.lock:
            if self._pods.get(pod_uid) is not held:
                return  # unmounted while this waited: nothing of it may come back
            held.pod = pod or held.pod
            for volume in used_volumes(held.pod):
                if volume.name in held.paths and type_of(volume) in _PAYLOADS:
                    await self._refresh_one(held, volume)

    async def _refresh_one(self, held: _PodVolumes, volume: Volume) -> None:
        try:
            await self._set_up_named(held.pod, volume)
            held.problems.pop(volume.name, None)
        except VolumeError as error:
            if held.problems.get(volume.name) != str(error):
                log.warning("pod %s/%s: %s", meta_of(held.pod).namespace, meta_of(held.pod).name, error)
            held.problems[volume.name] = str(error)

    async def _set_up_named(self, pod: Pod, volume: Volume) -> str:
        try:
            return await self._set_up(pod, volume)
        except (VolumeError, StatusError, OSError, ValueError) as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error

    async def _set_up(self, pod: Pod, volume: Volume) -> str:
        kind = type_of(volume)
        if volume.hostPath is not None:
            await asyncio.to_thread(host_path.set_up, Path(volume.hostPath.path), volume.hostPath.type or "")
            return volume.hostPath.path
        if kind not in _PLUGINS:
            raise VolumeError(f"no volume plugin matched: {kind} volumes are not supported by this kubelet")
        path = self._pods_dir / (meta_of(pod).uid or "") / "volumes" / _PLUGINS[kind] / volume.name
        if volume.emptyDir is not None:
            await asyncio.to_thread(_set_up_empty_dir, path, volume, pod)
        else:
            try:
                payload = await self._payload(pod, volume)
            except (ServiceUnavailable, Timeout, TooManyRequests, InternalError) as error:
                if not (path / DATA_LINK).exists():
                    raise
                log.warning("volume %s of pod %s: what is there is used: %s", volume.name, meta_of(pod).name, error)
                return str(path)
            await asyncio.to_thread(_write, path, payload, in_memory=kind in _IN_MEMORY, group=fs_group(pod))
        return str(path)

    async def _payload(self, pod: Pod, volume: Volume) -> Payload:
        if volume.configMap is not None:
            mapped, mode = volume.configMap, _mode(volume.configMap.defaultMode)
            optional = bool(mapped.optional)
            return await config_map.payload(
                self._objects, pod, mapped.name or "", mapped.items, mode, optional=optional
            )
        if volume.secret is not None:
            hidden, mode = volume.secret, _mode(volume.secret.defaultMode)
            optional = bool(hidden.optional)
            return await secret.payload(
                self._objects, pod, hidden.secretName or "", hidden.items, mode, optional=optional
            )
        if volume.downwardAPI is not None:
            mode = _mode(volume.downwardAPI.defaultMode)
            return downward_api.payload(pod, volume.downwardAPI.items, mode, self._allocatable)
        assert volume.projected is not None
        return await projected.payload(self._objects, self._tokens, pod, volume.projected, self._allocatable)

    async def _remove(self, pod_uid: str) -> None:
        try:
            await asyncio.to_thread(_remove_volumes, self._pods_dir / pod_uid)
        except OSError as error:
            raise VolumeError(f"volumes of pod {pod_uid} could not be removed: {error}") from error


def type_of(volume: Volume) -> str:
    """The volume's type as its field is called, "" for none."""
    for name in volume.__struct_fields__:
        if name != "name" and getattr(volume, name) is not None:
            return str(name)
    return ""


def used_volumes(pod: Pod) -> list[Volume]:
    """The volumes that a container mounts: others are never set up."""
    spec = pod.spec
    if spec is None:
        return []
    groups = (spec.initContainers or [], spec.containers or [], spec.ephemeralContainers or [])
    mounted = {mount.name for group in groups for container in group for mount in container.volumeMounts or []}
    return [volume for volume in spec.volumes or [] if volume.name in mounted]


def _shown_metadata(pod: Pod) -> tuple[object, object]:
    return meta_of(pod).labels, meta_of(pod).annotations


def _mode(mode: int | None) -> int:
    return DEFAULT_MODE if mode is None else mode


def _set_up_empty_dir(path: Path, volume: Volume, pod: Pod) -> None:
    assert volume.emptyDir is not None
    empty_dir.set_up(path, volume.emptyDir, pod)
    group = fs_group(pod)
    if group is not None:
        ownership.set_group(path, group, read_only=False)


def _write(path: Path, payload: Payload, *, in_memory: bool, group: int | None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if in_memory:
        mount_tmpfs(path)
    else:
        path.chmod(0o777)
    set_ownership = None if group is None else partial(ownership.set_group, group=group, read_only=True)
    write_payload(path, payload, set_ownership)


def _remove_volumes(pod_dir: Path) -> None:
    subpath.clean_up(pod_dir)  # first: what is mounted from a volume keeps it busy
    remove_tree(pod_dir / "volumes")
    if pod_dir.exists() and not any(pod_dir.iterdir()):
        pod_dir.rmdir()
