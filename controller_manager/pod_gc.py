"""Garbage collection of pods that nobody else will remove.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection

Three sorts: pods on nodes that do not exist any more, pods that are being deleted and were never on a node, and ended
pods beyond a number.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence

from lightkube.resources.core_v1 import Node, Pod

from common.api.meta import is_deleting, key_of
from common.api.pods import is_terminal
from common.api.status import Conflict, NotFound, StatusError
from controller_manager.context import Context
from controller_manager.node_lifecycle.eviction import disruption_patch
from controller_manager.objects import created_at, name_of, namespace_of, need, uid_of
from controller_manager.requests import Batches

PERIOD = 20.0
QUARANTINE_SECONDS = 40.0
"""How long a node must be missing before its pods go: the pods' cache may be ahead of the nodes'."""

log = logging.getLogger(__name__)


def beyond_threshold(pods: Iterable[Pod], threshold: int) -> list[Pod]:
    """The oldest ended pods over the threshold; none when the threshold is not positive."""
    if threshold <= 0:
        return []
    ended = sorted((pod for pod in pods if is_terminal(pod)), key=lambda pod: (created_at(pod), key_of(pod)))
    return ended[: max(0, len(ended) - threshold)]


def unscheduled_terminating(pods: Iterable[Pod]) -> list[Pod]:
    """Pods being deleted that no kubelet will ever confirm."""
    return [pod for pod in pods if is_deleting(pod) and not need(pod.spec).nodeName]


class PodGCController:
    """Looks every 20 seconds."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._threshold = context.settings.terminated_pod_gc_threshold
        self._pods = context.pods.store
        self._nodes = context.nodes.store
        self._missing_since: dict[str, float] = {}
        self._batches = Batches(10)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.collect()
            except StatusError as error:
                log.warning("pod garbage collection: %s", error)
            await asyncio.sleep(PERIOD)

    async def collect(self) -> None:
        """One look."""
        pods = self._pods.list()
        await self._batches.each(beyond_threshold(pods, self._threshold), self._delete)
        await self._batches.each(await self._orphaned(pods), self._fail_and_delete)
        await self._batches.each(unscheduled_terminating(pods), self._delete)

    async def _orphaned(self, pods: Sequence[Pod]) -> list[Pod]:
        used = {need(pod.spec).nodeName or "" for pod in pods} - {""}
        missing = {name for name in used if name not in self._nodes}
        present = time.monotonic()
        self._missing_since = {name: self._missing_since.get(name, present) for name in missing}
        due = {name for name, since in self._missing_since.items() if present - since >= QUARANTINE_SECONDS}
        gone = {name for name in due if not await self._exists(name)}
        return [pod for pod in pods if need(pod.spec).nodeName in gone]

    async def _exists(self, name: str) -> bool:
        """Asks the server itself: what follows cannot be undone."""
        try:
            await self._client.get(Node, name)
        except NotFound:
            return False
        return True

    async def _fail_and_delete(self, pod: Pod) -> None:
        if not is_terminal(pod):
            patch = disruption_patch(pod, "DeletionByPodGC", "PodGC: node no longer exists")
            patch["status"] = {**dict(patch["status"]), "phase": "Failed"}  # type: ignore[call-overload]
            try:
                await self._client.patch(Pod, name_of(pod), patch, namespace_of(pod), subresource="status")
            except (Conflict, NotFound):
                return
        await self._delete(pod)

    async def _delete(self, pod: Pod) -> None:
        log.info("deleting pod %s", key_of(pod))
        try:
            await self._client.delete(Pod, name_of(pod), namespace_of(pod), grace_period_seconds=0, uid=uid_of(pod))
        except (Conflict, NotFound):
            return
