"""How one volume of a pod is set up: a file system below ``<root>/pods/<uid>/volumes/<plugin>/<name>``, or the host's
own path. Doing it again changes nothing but content that is out of date.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lightkube.models.core_v1 import HostPathVolumeSource, LocalVolumeSource, NFSVolumeSource, Volume
from lightkube.resources.core_v1 import Node, PersistentVolume, Pod

from common.api.meta import labels_of, meta_of
from common.api.status import InternalError, ServiceUnavailable, StatusError, Timeout, TooManyRequests
from kubelet.types import MountedVolume, ObjectSource, VolumeError
from kubelet.volumes import empty_dir, host_path, local, nfs, ownership
from kubelet.volumes.affinity import reachable
from kubelet.volumes.atomic_writer import DATA_LINK, write_payload
from kubelet.volumes.claims import ClaimClient, Unprocessed, claim_name, claimed
from kubelet.volumes.content import Content
from kubelet.volumes.mounts import is_mount_point, mount_tmpfs
from kubelet.volumes.operations import Operations
from kubelet.volumes.payload import Payload, fs_group
from kubelet.volumes.token import TokenManager
from kubelet.volumes.used import type_of, used_names

T = TypeVar("T")
log = logging.getLogger("kubelet.volumes")

PLUGINS = {
    "emptyDir": "kubernetes.io~empty-dir",
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
    "nfs": "kubernetes.io~nfs",
    "local": "kubernetes.io~local-volume",
}
IN_MEMORY = frozenset({"secret", "downwardAPI", "projected"})
PAYLOADS = IN_MEMORY | {"configMap"}
ANSWER_SECONDS = 20.0
"""How long a file system of the host's may take to answer."""
LONG_SECONDS = 123.0
"""What may take its time: the change of many files' group."""
_GROUP = "pv.beta.kubernetes.io/gid"
_MOUNT_OPTIONS = "volume.beta.kubernetes.io/mount-options"


@dataclass(frozen=True, slots=True)
class _Source:
    """What a volume is in the end, whether a pod or a persistent volume says so."""

    name: str
    """In the path and in messages: a persistent volume's own name."""
    host_path: HostPathVolumeSource | None = None
    local: LocalVolumeSource | None = None
    nfs: NFSVolumeSource | None = None
    read_only: bool = False
    block: bool = False
    mount_options: Sequence[str] = ()
    volume: PersistentVolume | None = None

    def key(self, pod_uid: str) -> str:
        return f"{pod_uid}/{'persistent' if self.volume else 'inline'}/{self.name}"


class SetUp:
    """Sets up volumes one at a time; knows nothing of which are."""

    def __init__(
        self,
        pods_dir: Path,
        objects: ObjectSource,
        tokens: TokenManager,
        allocatable: Mapping[str, int],
        operations: Operations,
        claims: ClaimClient | None = None,
        node: Callable[[], Node | None] = lambda: None,
    ) -> None:
        self._pods_dir = pods_dir
        self._content = Content(objects, tokens, allocatable)
        self._allocatable = allocatable
        self._operations = operations
        self._claims = claims
        self._node = node
        self.held_once: dict[str, str] = {}
        """Persistent volumes with the access mode ReadWriteOncePod -> the pod that has them."""

    async def volume(self, pod: Pod, volume: Volume) -> MountedVolume:
        """Raises Unprocessed, or VolumeError with all that its event says."""
        kind = type_of(volume)
        if kind == "emptyDir" or kind in PAYLOADS:
            return await self._described(volume.name, self._own(pod, volume, kind))
        source = await self._source(pod, volume)
        mounted = await self._described(source.name, self._foreign(pod, source))
        return replace(mounted, group=_group(source.volume))

    async def payload(self, pod: Pod, volume: Volume) -> Payload:
        """What its files should be. Raises VolumeError."""
        return await self._described(volume.name, self._content.payload(pod, volume))

    def path(self, pod_uid: str, kind: str, name: str) -> Path:
        return self._pods_dir / pod_uid / "volumes" / PLUGINS[kind] / name

    async def write(self, pod: Pod, volume: Volume, payload: Payload) -> None:
        path, kind = self.path(meta_of(pod).uid or "", type_of(volume), volume.name), type_of(volume)
        size = empty_dir.memory_size(None, pod, self._allocatable) if kind in IN_MEMORY else None
        task = partial(_write, path, payload, in_memory=kind in IN_MEMORY, size=size, group=fs_group(pod))
        await self._described(volume.name, asyncio.to_thread(task))

    async def _described(self, name: str, step: Awaitable[T]) -> T:
        try:
            return await step
        except local.NewMounterError as error:
            text = f'MountVolume.NewMounter initialization failed for volume "{name}" : {error}'
            raise VolumeError(text) from error
        except _NodeAffinity as error:
            raise VolumeError(f'MountVolume.NodeAffinity check failed for volume "{name}" : {error}') from error
        except (VolumeError, StatusError, OSError, ValueError) as error:
            if str(error).startswith("MountVolume."):
                raise
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {_text(error)}') from error

    # -- the kubelet's own ------------------------------------------------------------------------------------------

    async def _own(self, pod: Pod, volume: Volume, kind: str) -> MountedVolume:
        path = self.path(meta_of(pod).uid or "", kind, volume.name)
        if volume.emptyDir is not None:
            make = partial(empty_dir.set_up, path, volume.emptyDir, pod, self._allocatable, fs_group(pod))
            await self._operations.run(
                f"{meta_of(pod).uid}/own/{volume.name}", make, seconds=LONG_SECONDS, what=f"emptyDir {path}"
            )
            return MountedVolume(str(path))
        try:
            payload = await self._content.payload(pod, volume)
        except (ServiceUnavailable, Timeout, TooManyRequests, InternalError) as error:
            if not (path / DATA_LINK).exists():
                raise
            log.warning("volume %s of pod %s: what is there is used: %s", volume.name, meta_of(pod).name, error)
        else:
            await self.write(pod, volume, payload)
        return MountedVolume(str(path), read_only=True)

    # -- the host's, the network's ----------------------------------------------------------------------------------

    async def _source(self, pod: Pod, volume: Volume) -> _Source:
        if volume.hostPath is not None:
            return _Source(volume.name, host_path=volume.hostPath)
        if volume.nfs is not None:
            return _Source(volume.name, nfs=volume.nfs, read_only=bool(volume.nfs.readOnly))
        if claim_name(pod, volume) and self._claims is not None:
            mounted, devices = used_names(pod)
            return await self._persistent(pod, volume, mounted, devices)
        raise _no_plugin(volume.name)

    async def _persistent(self, pod: Pod, volume: Volume, mounted: Set[str], devices: Set[str]) -> _Source:
        assert self._claims is not None
        found = await claimed(self._claims, pod, volume, mounted, devices)
        spec, meta = found.volume.spec, meta_of(found.volume)
        assert spec is not None
        if (found.block and spec.local is None) or not (spec.hostPath or spec.local or spec.nfs):
            raise _no_plugin(meta.name or "")
        annotated = (meta.annotations or {}).get(_MOUNT_OPTIONS, "")
        return _Source(
            meta.name or "",
            host_path=spec.hostPath,
            local=spec.local,
            nfs=spec.nfs,
            read_only=found.read_only,
            block=found.block,
            mount_options=spec.mountOptions or [each for each in annotated.split(",") if each],
            volume=found.volume,
        )

    async def _foreign(self, pod: Pod, source: _Source) -> MountedVolume:
        uid = meta_of(pod).uid or ""
        if source.volume is not None:
            await self._check(uid, source)
        if source.host_path is not None:
            path, kind = source.host_path.path, source.host_path.type or ""
            await self._answered(source.key(uid), partial(host_path.set_up, Path(path), kind), f"hostPath {path}")
            return MountedVolume(path, source.read_only)
        if source.local is not None:
            return await self._local(pod, uid, source, source.local.path)
        assert source.nfs is not None
        target, what = self.path(uid, "nfs", source.name), nfs.source(source.nfs.server, source.nfs.path)
        if not await asyncio.to_thread(is_mount_point, target):
            await asyncio.to_thread(partial(target.mkdir, mode=0o750, parents=True, exist_ok=True))
            await nfs.mount(nfs.arguments(what, str(target), source.mount_options, read_only=source.read_only))
        # The runtime would wait for a server that does not answer, and others for the runtime.
        await self._answered(source.key(uid), target.stat, what)
        return MountedVolume(str(target), source.read_only)

    async def _local(self, pod: Pod, uid: str, source: _Source, path: str) -> MountedVolume:
        if source.block:
            found = await self._answered(source.key(uid), partial(local.device, path), path)
            return MountedVolume(found, source.read_only)
        target = self.path(uid, "local", source.name)
        context = pod.spec.securityContext if pod.spec else None
        make = partial(
            local.set_up,
            path,
            target,
            read_only=source.read_only,
            group=fs_group(pod),
            on_root_mismatch=bool(context and context.fsGroupChangePolicy == "OnRootMismatch"),
        )
        await self._operations.run(source.key(uid), make, seconds=LONG_SECONDS, what=path)
        return MountedVolume(str(target), source.read_only)

    async def _check(self, uid: str, source: _Source) -> None:
        """What must hold before a persistent volume is mounted."""
        node, volume = self._node(), source.volume
        assert volume is not None and volume.spec is not None
        if volume.spec.nodeAffinity is not None:
            if node is None:
                raise _NodeAffinity("this node's labels are not known yet")
            if not reachable(volume, meta_of(node).name or "", labels_of(node)):
                raise _NodeAffinity("no matching NodeSelectorTerms")
        if source.mount_options and source.nfs is None:
            raise VolumeError("Mount options are not supported for this volume type")
        if "ReadWriteOncePod" in (volume.spec.accessModes or ()):
            before = await asyncio.to_thread(self._on_disk, source.name)  # set up by an earlier kubelet
            if self.held_once.setdefault(source.name, uid) != uid or before - {uid}:
                raise VolumeError("volume uses the ReadWriteOncePod access mode and is already in use by another pod")

    def _on_disk(self, name: str) -> set[str]:
        """The pods in whose folders a volume of that name is."""
        return {path.parts[-4] for path in self._pods_dir.glob(f"*/volumes/*/{name}")}

    async def _answered(self, key: str, function: Callable[[], Any], what: str) -> Any:
        """Of what only looks: nobody need wait for it when the pod ends."""
        return await self._operations.run(f"look/{key}", function, seconds=ANSWER_SECONDS, what=what)


class _NodeAffinity(VolumeError):
    pass


def _no_plugin(name: str) -> Unprocessed:
    return Unprocessed(f'failed to get Plugin from volumeSpec for volume "{name}" err=no volume plugin matched')


def _text(error: Exception) -> str:
    """Errors of the system as Go writes them: path first, without a number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)


def _group(volume: PersistentVolume | None) -> int | None:
    """What is no number is nothing, as upstream has it."""
    text = (meta_of(volume).annotations or {}).get(_GROUP, "") if volume is not None else ""
    return int(text) if text.isdigit() else None


def _write(path: Path, payload: Payload, *, in_memory: bool, size: int | None, group: int | None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if in_memory:
        mount_tmpfs(path, size=size)
    else:
        path.chmod(0o777)
    set_ownership = None if group is None else partial(ownership.set_group, group=group, read_only=True)
    write_payload(path, payload, set_ownership)
