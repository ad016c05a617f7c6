"""Which volumes of which pod are set up: ``kubelet.types.Volumes``.

Setting up is idempotent and remembers nothing that matters across a restart: what is on disk and in the mount table is
looked at anew, and while the API server is away the files that are there do. A volume that takes long holds up nobody
but its pod: its set-up goes on by itself, and the pod's worker is woken when it has ended. While a pod runs, its files
follow what they show as soon as it changes; a slow look at everything is the net beneath.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from lightkube.models.core_v1 import Volume
from lightkube.resources.core_v1 import Node, Pod

from common.api.meta import is_deleting, meta_of
from common.api.pods import is_terminal
from kubelet.metrics import STORAGE_DURATION
from kubelet.types import DiskUsage, MountedVolume, ObjectSource, SubPath, VolumeError, VolumesNotMounted
from kubelet.volumes import subpath
from kubelet.volumes.atomic_writer import DATA_LINK
from kubelet.volumes.claims import ClaimClient, Unprocessed
from kubelet.volumes.content import fingerprint
from kubelet.volumes.mounts import abandon, is_network, points_below, remove_tree, unmount
from kubelet.volumes.operations import Operations
from kubelet.volumes.setup import PAYLOADS, PLUGINS, SetUp
from kubelet.volumes.token import TokenManager
from kubelet.volumes.usage import tree_usage
from kubelet.volumes.used import Reference, references, type_of, used_volumes

log = logging.getLogger("kubelet.volumes")

_REFRESH_SECONDS = 60.0
_PARALLEL_REFRESHES = 4
_PATIENCE_SECONDS = 5.0
"""How long a pod's worker waits for its volumes before others may have its place."""
_WAIT_SECONDS = 123.0
"""How long a pod waits for a volume before that is told (upstream: 2m3s)."""
_UNPROCESSED_RETRY = 10.0
_UNMOUNT_SECONDS = 20.0
_REMOVE_SECONDS = 60.0


class Followed(ObjectSource, Protocol):
    """Objects that tell of their changes: volumes/objects.py."""

    changed: Callable[[frozenset[str]], None]

    def follow(self, pod_uid: str, wanted: frozenset[Reference]) -> None: ...
    def watch(self) -> None: ...
    async def close(self) -> None: ...


@dataclass(slots=True)
class _PodVolumes:
    """What this process has set up for a pod, and the pod as it was last seen."""

    pod: Pod | None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    mounted: dict[str, MountedVolume] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[MountedVolume]] = field(default_factory=dict)
    """Set-ups that have not ended."""
    failed: dict[str, BaseException] = field(default_factory=dict)
    """How set-ups ended that nobody has been told of yet: the worker may not have waited so long."""
    since: float = field(default_factory=time.monotonic)
    """When the wait for its volumes began, or was last told."""
    written: dict[str, bytes] = field(default_factory=dict)
    """Fingerprints of what is in the files."""
    problems: dict[str, str] = field(default_factory=dict)


class VolumeManager:
    """Volumes of this node's pods, below ``<root>/pods/<uid>/volumes``."""

    def __init__(
        self,
        root_dir: Path,
        objects: Followed,
        tokens: TokenManager,
        allocatable: Mapping[str, int],
        claims: ClaimClient | None = None,
        node: Callable[[], Node | None] = lambda: None,
        operations: Operations | None = None,
    ) -> None:
        """``claims`` reads PersistentVolumeClaims and PersistentVolumes; ``node`` gives this node's object."""
        self._pods_dir = Path(root_dir).resolve() / "pods"
        self._objects = objects
        self._tokens = tokens
        self._operations = operations or Operations()
        self._set_up = SetUp(self._pods_dir, objects, tokens, allocatable, self._operations, claims, node)
        self._sub_paths = subpath.SubPaths(self._pods_dir.parent, self._operations)
        self._pods: dict[str, _PodVolumes] = {}
        self._dirty: set[str] = set()
        self._awake = asyncio.Event()
        self._wake_worker: Callable[[str], None] = lambda _: None
        objects.changed = self._changed

    # -- mounting ---------------------------------------------------------------------------------------------------

    async def mount(self, pod: Pod) -> Mapping[str, MountedVolume]:
        """Sets up every volume that a container uses. Raises VolumesNotMounted, which tells of each that fails; one
        that only takes long is left to go on."""
        uid = meta_of(pod).uid or ""
        held = self._pods.setdefault(uid, _PodVolumes(pod))
        async with held.lock:
            before, held.pod = held.pod, pod
            self._objects.follow(uid, references(pod))
            wanted = used_volumes(pod)
            if before is not None and _shown_metadata(before) != _shown_metadata(pod):
                await self._refresh_held(held, pod)
            missing = [each for each in wanted if each.name not in held.mounted and each.name not in held.failed]
            tasks = {each.name: self._begin(uid, held, each) for each in missing}
            try:
                if tasks:
                    await asyncio.wait(tasks.values(), timeout=_PATIENCE_SECONDS)
                problems, held.failed = held.failed, {}
                self._judge(held, wanted, problems, [name for name, task in tasks.items() if not task.done()])
            finally:
                self._awake.set()  # watches begin when the pod does not wait for them
            return dict(held.mounted)

    def _begin(self, uid: str, held: _PodVolumes, volume: Volume) -> asyncio.Task[MountedVolume]:
        task = held.tasks.get(volume.name)
        if task is None:
            assert held.pod is not None
            task = asyncio.create_task(self._set_up.volume(held.pod, volume), name=f"volume {uid}/{volume.name}")
            held.tasks[volume.name] = task
            task.add_done_callback(partial(self._set_up_ended, uid, held, volume.name, time.monotonic()))
        return task

    def _set_up_ended(
        self, uid: str, held: _PodVolumes, name: str, began: float, task: asyncio.Task[MountedVolume]
    ) -> None:
        held.tasks.pop(name, None)
        if task.cancelled():
            return
        error = task.exception()
        self._count(held, name, error is None, time.monotonic() - began)
        if error is None:
            held.mounted[name] = task.result()
        else:
            held.failed[name] = error
        if time.monotonic() - began > _PATIENCE_SECONDS - 1:
            self._wake_worker(uid)

    @staticmethod
    def _count(held: _PodVolumes, name: str, ok: bool, seconds: float) -> None:
        spec = held.pod.spec if held.pod is not None else None
        source = next((type_of(each) for each in (spec.volumes if spec else None) or () if each.name == name), "")
        plugin = PLUGINS.get(source, "kubernetes.io~pv").replace("~", "/", 1)
        status = "success" if ok else "fail-unknown"
        STORAGE_DURATION.labels(plugin, "volume_mount", status, "false").observe(seconds)

    def places(self, pod_uid: str) -> Mapping[str, str]:
        """Where a pod's volumes are, by name, as far as they are set up."""
        held = self._pods.get(pod_uid)
        return {name: found.path for name, found in held.mounted.items()} if held is not None else {}

    def _judge(
        self, held: _PodVolumes, wanted: Sequence[Volume], problems: Mapping[str, BaseException], pending: list[str]
    ) -> None:
        """Raises VolumesNotMounted unless all is well."""
        for error in problems.values():
            if not isinstance(error, VolumeError):
                raise error
        if not problems and not pending:
            held.since = time.monotonic()
            return
        unprocessed = {name: error for name, error in problems.items() if isinstance(error, Unprocessed)}
        messages = [str(error) for error in problems.values() if not isinstance(error, Unprocessed)]
        missing = sorted(volume.name for volume in wanted if volume.name not in held.mounted)
        if unprocessed:
            why = "; ".join(str(error) for error in unprocessed.values())
            messages.append(_unable(missing, sorted(unprocessed), why))
        elif time.monotonic() - held.since > _WAIT_SECONDS:
            held.since = time.monotonic()
            messages.append(_unable(missing, [], "timed out waiting for the condition"))
        retry = _UNPROCESSED_RETRY if unprocessed else VolumeError.retry_seconds
        text = "; ".join(messages) or f"volumes {' '.join(pending)} are not mounted yet"
        raise VolumesNotMounted(text, tuple(messages), retry)

    def bind_sub_path(self, wanted: SubPath) -> str:
        """Blocking, but not for ever. Raises VolumeError."""
        return self._sub_paths.bind(wanted)

    # -- unmounting -------------------------------------------------------------------------------------------------

    async def unmount(self, pod_uid: str) -> None:
        """Unmounts and removes the pod's volumes. Safe to repeat; hostPaths are left as they are."""
        held = self._pods.setdefault(pod_uid, _PodVolumes(None))
        async with held.lock:
            held.mounted.clear()
            held.failed.clear()
            await self._stop(pod_uid, held)
            try:
                await self._remove(pod_uid)
            except OSError as error:
                raise VolumeError(f"volumes of pod {pod_uid} could not be removed: {error}") from error
            self._pods.pop(pod_uid, None)
        self._dirty.discard(pod_uid)
        self._objects.follow(pod_uid, frozenset())
        self._tokens.forget(pod_uid)
        once = self._set_up.held_once
        for name in [name for name, holder in once.items() if holder == pod_uid]:
            del once[name]

    async def _stop(self, pod_uid: str, held: _PodVolumes) -> None:
        """What is being set up must not come after what is taken down."""
        tasks = list(held.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        settled = await self._operations.settled(f"{pod_uid}/", 2.0)
        if settled and await self._operations.settled(f"look/{pod_uid}/", 0):
            return
        for point in await asyncio.to_thread(points_below, self._pods_dir / pod_uid):
            if is_network(point):
                await asyncio.to_thread(abandon, point.path)
        if not await self._operations.settled(f"{pod_uid}/", 5.0):
            raise VolumeError("a file system does not answer")

    async def _remove(self, pod_uid: str) -> None:
        folder = self._pods_dir / pod_uid
        for point in await asyncio.to_thread(points_below, folder):
            if is_network(point):
                await self._unmount_network(pod_uid, point.path)
        what = f"volumes of pod {pod_uid}"
        remove = partial(_remove_volumes, folder)
        await self._operations.run(f"remove/{pod_uid}", remove, seconds=_REMOVE_SECONDS, what=what)

    async def _unmount_network(self, pod_uid: str, path: str) -> None:
        """A server that is gone would hold an ordinary unmount for ever."""
        key = f"unmount/{pod_uid}/{path}"
        try:
            await self._operations.run(key, partial(unmount, path), seconds=_UNMOUNT_SECONDS, what=path)
        except VolumeError as error:
            log.warning("unmount by force: %s", error)
            await asyncio.to_thread(abandon, path)

    # -- what files show --------------------------------------------------------------------------------------------

    async def usage(self, pod: Pod) -> Mapping[str, DiskUsage]:
        """What the pod's own volumes take, by name. Those that were not set up yet are 0."""
        uid, spec = meta_of(pod).uid or "", pod.spec
        paths = {
            volume.name: self._set_up.path(uid, type_of(volume), volume.name)
            for volume in (spec.volumes if spec else None) or []
            if type_of(volume) in PAYLOADS or volume.emptyDir is not None
        }
        return await asyncio.to_thread(lambda: {name: tree_usage(path) for name, path in paths.items()})

    def notice(self, pod: Pod) -> None:
        """A pod of this node as the API server has it now: its volumes may show its labels and annotations, and those
        that an earlier kubelet has set up are to follow what they show."""
        uid = meta_of(pod).uid or ""
        held = self._pods.get(uid)
        if held is None and (pod.status is None or pod.status.startTime is None):
            return  # no kubelet has begun with it
        if held is None or (held.pod is not None and _shown_metadata(held.pod) != _shown_metadata(pod)):
            self._changed(frozenset({uid}))

    async def run(
        self, current: Callable[[str], Pod | None] = lambda _: None, wake: Callable[[str], None] = lambda _: None
    ) -> None:
        """Refreshes running pods' files until cancelled. ``current`` gives a pod's newest version by uid; ``wake`` is
        called when it is worth while to try to mount a pod's volumes again."""
        self._wake_worker = wake
        gate = asyncio.Semaphore(_PARALLEL_REFRESHES)
        due = time.monotonic() + _REFRESH_SECONDS

        async def one(uid: str) -> None:
            async with gate:
                await self._adopt(uid, current(uid))
                await self.refresh(uid, current(uid))

        try:
            while True:
                try:
                    async with asyncio.timeout(max(0.0, due - time.monotonic())):
                        await self._awake.wait()
                except TimeoutError:
                    due = time.monotonic() + _REFRESH_SECONDS
                    self._dirty.update(self._pods)
                self._awake.clear()
                uids, self._dirty = self._dirty, set()
                await asyncio.gather(*(one(uid) for uid in uids))
                self._objects.watch()
        finally:
            await self._objects.close()

    async def refresh(self, pod_uid: str, pod: Pod | None = None) -> None:
        """Brings a pod's files up to date. A failure leaves them as they are and is logged when it is a new one."""
        held = self._pods.get(pod_uid)
        if held is None:
            return
        async with held.lock:
            if self._pods.get(pod_uid) is not held or (pod or held.pod) is None:
                return  # unmounted while this waited: nothing of it may come back
            held.pod = pod or held.pod
            assert held.pod is not None
            await self._refresh_held(held, held.pod)

    async def _refresh_held(self, held: _PodVolumes, pod: Pod) -> None:
        for volume in used_volumes(pod):
            if volume.name in held.mounted and type_of(volume) in PAYLOADS:
                try:
                    await self._refresh_one(held, pod, volume)
                    held.problems.pop(volume.name, None)
                except VolumeError as error:
                    self._told(held, pod, volume.name, str(error))

    async def _refresh_one(self, held: _PodVolumes, pod: Pod, volume: Volume) -> None:
        payload = await self._set_up.payload(pod, volume)
        mark = fingerprint(payload)
        if held.written.get(volume.name) != mark:
            await self._set_up.write(pod, volume, payload)
            held.written[volume.name] = mark

    def _told(self, held: _PodVolumes, pod: Pod, name: str, problem: str) -> None:
        if held.problems.get(name) != problem:
            log.warning("pod %s/%s: %s", meta_of(pod).namespace, meta_of(pod).name, problem)
        held.problems[name] = problem

    async def _adopt(self, uid: str, pod: Pod | None) -> None:
        """Takes over what an earlier kubelet has set up for a pod that runs on."""
        if uid in self._pods or pod is None or is_deleting(pod) or is_terminal(pod):
            return
        found = await asyncio.to_thread(self._on_disk, uid, pod)
        if found and uid not in self._pods:
            self._pods[uid] = _PodVolumes(pod, mounted=found)
            self._objects.follow(uid, references(pod))

    def _on_disk(self, uid: str, pod: Pod) -> dict[str, MountedVolume]:
        paths = {
            volume.name: self._set_up.path(uid, type_of(volume), volume.name)
            for volume in used_volumes(pod)
            if type_of(volume) in PAYLOADS
        }
        return {
            name: MountedVolume(str(path), read_only=True)
            for name, path in paths.items()
            if (path / DATA_LINK).is_symlink()
        }

    def _changed(self, uids: frozenset[str]) -> None:
        """Something that these pods' volumes show is different now."""
        self._dirty |= uids
        self._awake.set()
        for uid in uids:
            held = self._pods.get(uid)
            if held is not None and held.pod is not None and len(held.mounted) < len(used_volumes(held.pod)):
                self._wake_worker(uid)


def _unable(unmounted: list[str], unprocessed: list[str], why: str) -> str:
    return (
        f"Unable to attach or mount volumes: unmounted volumes=[{' '.join(unmounted)}], unattached volumes=[], "
        f"failed to process volumes=[{' '.join(unprocessed)}]: {why}"
    )


def _shown_metadata(pod: Pod) -> tuple[object, object]:
    return meta_of(pod).labels, meta_of(pod).annotations


def _remove_volumes(pod_dir: Path) -> None:
    subpath.clean_up(pod_dir)  # first: what is mounted from a volume keeps it busy
    remove_tree(pod_dir / "volumes")
    if pod_dir.exists() and not any(pod_dir.iterdir()):
        pod_dir.rmdir()
