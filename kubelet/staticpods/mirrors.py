"""Mirror pods: what the API server is shown of static pods, so that people and the scheduler see them.

A mirror is read-only: what is deleted comes back, what does not belong to a static pod goes. A static pod's worker
writes its status to the mirror without knowing it (upstream: pkg/kubelet/pod/mirror_client.go).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx
from lightkube.models.meta_v1 import OwnerReference
from lightkube.resources.core_v1 import Node, Pod

from common.api.meta import annotations_of, clone, is_deleting, key_of, meta_of
from common.api.status import Conflict, NotFound, ServiceUnavailable, StatusError
from common.client import Client
from kubelet.pods.identity import ANNOTATION_MIRROR, is_mirror
from kubelet.staticpods.manifest import ANNOTATION_HASH

log = logging.getLogger("kubelet.staticpods")

FIRST_RETRY, MAX_RETRY = 0.5, 60.0
_TROUBLE = (StatusError, httpx.HTTPError, OSError, TimeoutError)


def mirror_of(pod: Pod, node: Node) -> Pod:
    mirror = clone(pod)
    meta = meta_of(mirror)
    meta.uid = None
    meta.annotations = {**annotations_of(pod), ANNOTATION_MIRROR: annotations_of(pod)[ANNOTATION_HASH]}
    owner = OwnerReference("v1", "Node", meta_of(node).name or "", meta_of(node).uid or "", controller=True)
    meta.ownerReferences = [owner]
    mirror.status = None
    return mirror


def reflects(mirror: Pod, pod: Pod) -> bool:
    """Whether a mirror is of this very pod, and stays."""
    shown = annotations_of(mirror).get(ANNOTATION_MIRROR)
    return shown == annotations_of(pod).get(ANNOTATION_HASH) and not is_deleting(mirror)


@dataclass(frozen=True, slots=True)
class Difference:
    create: tuple[Pod, ...]
    """Static pods without a mirror."""
    delete: tuple[Pod, ...]
    """Mirrors of what is no more, or of an older version."""


def difference(static: Iterable[Pod], shown: Iterable[Pod]) -> Difference:
    wanted = {key_of(pod): pod for pod in static}
    mirrors = {key_of(pod): pod for pod in shown if is_mirror(pod)}
    stale = tuple(m for key, m in mirrors.items() if key not in wanted or not reflects(m, wanted[key]))
    gone = {key_of(mirror) for mirror in stale}
    missing = tuple(pod for key, pod in wanted.items() if key not in mirrors or key in gone)
    return Difference(missing, stale)


class Mirrors:
    """``shown`` gives this node's pods as the API server has them, None while it has not been read."""

    def __init__(
        self,
        client: Client,
        static: Callable[[], Iterable[Pod]],
        shown: Callable[[], Iterable[Pod] | None],
        node: Callable[[], Node | None],
    ) -> None:
        self._client = client
        self._static = static
        self._shown = shown
        self._node = node
        self._wake = asyncio.Event()
        self._problems: dict[str, str] = {}

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        delay = FIRST_RETRY
        while True:
            self._wake.clear()
            done = await self.sync()
            delay = FIRST_RETRY if done else min(delay * 2, MAX_RETRY)
            try:
                async with asyncio.timeout(None if done else delay):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def sync(self) -> bool:
        """Whether all is done that can be."""
        node, shown = self._node(), self._shown()
        if node is None or shown is None:
            return not list(self._static())
        changes = difference(self._static(), shown)
        done = True
        for mirror in changes.delete:
            done &= await self._attempt(mirror, self._delete(mirror))
        for pod in changes.create:
            done &= await self._attempt(pod, self._client.create(mirror_of(pod, node)))
        return done

    async def _delete(self, mirror: Pod) -> None:
        meta = meta_of(mirror)
        try:
            await self._client.delete(
                Pod, meta.name or "", meta.namespace or "", grace_period_seconds=0, uid=meta.uid or ""
            )
        except NotFound:
            return

    async def _attempt(self, pod: Pod, step: Any) -> bool:
        key = key_of(pod)
        try:
            await step
            self._problems.pop(key, None)
            return True
        except _TROUBLE as error:
            if self._problems.get(key) != str(error):
                log.warning("mirror of pod %s: %s", key, error)
            self._problems[key] = str(error)
            return False


class MirrorClient:
    """In place of a client for the worker of one static pod: what it writes reaches the mirror, once there is one."""

    def __init__(self, client: Client, pod: Pod, mirror: Callable[[], Pod | None]) -> None:
        self._client = client
        self._pod = pod
        self._mirror = mirror

    async def patch(self, kind: Any, name: str, patch: Any, namespace: str, **options: Any) -> Any:
        mirror = self._mirror()
        if mirror is None or not reflects(mirror, self._pod):
            raise ServiceUnavailable("there is no mirror pod yet")
        aimed = {**patch, "metadata": {"uid": meta_of(mirror).uid}}
        try:
            return await self._client.patch(kind, name, aimed, namespace, **options)
        except (NotFound, Conflict) as error:
            # The mirror has just been deleted, or made anew; the static pod is still there.
            raise ServiceUnavailable(error.message) from error
