"""Eviction by NoExecute taints (upstream: the taint-eviction-controller).

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions

A pod that does not tolerate a taint leaves at once; one that tolerates it for some seconds leaves after them, counted
from the taint's `timeAdded`, so that a restart of this process starts no clock anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from lightkube.models.core_v1 import Taint
from lightkube.resources.core_v1 import Node, Pod

from common.api.meta import is_deleting, key_of, split_key
from common.api.pods import is_terminal
from common.api.status import NotFound
from common.api.taints import tolerates
from common.api.time import now, to_rfc3339
from controller_manager.context import Context
from controller_manager.objects import created_at, name_of, need, uid_of

log = logging.getLogger(__name__)


def eviction_time(pod: Pod, taints: Sequence[Taint]) -> datetime | None:
    """When the pod must leave a node with these NoExecute taints; None for never."""
    ends = []
    for taint in taints:
        matching = [t for t in need(pod.spec).tolerations or () if tolerates(t, taint)]
        since = max(taint.timeAdded or created_at(pod), created_at(pod))
        if not matching:
            return since
        seconds = [t.tolerationSeconds for t in matching if t.tolerationSeconds is not None]
        if seconds:
            ends.append(since + timedelta(seconds=max(0, min(seconds))))
    return min(ends, default=None)


def evicting_taints(node: Node) -> list[Taint]:
    """The node's NoExecute taints."""
    return [taint for taint in need(node.spec).taints or () if taint.effect == "NoExecute"]


class TaintEvictionController:
    """Deletes pods whose time on a tainted node is over."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.recorder("taint-eviction-controller")
        self._nodes = context.nodes.store
        self._pods = context.pods.store
        self._waiting: dict[str, datetime] = {}
        loop = context.loop("taint_eviction", self.reconcile, workers=8)
        self._loop = loop
        context.nodes.add_handler(self._node_changed, self._node_updated)
        context.pods.add_handler(self._pod_changed, self._pod_updated, self._pod_gone)

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    def _node_updated(self, old: Node, new: Node) -> None:
        if evicting_taints(old) != evicting_taints(new):
            for pod in self._pods.by_index("node", name_of(new)):
                self._loop.enqueue(pod)

    def _node_changed(self, node: Node) -> None:
        if evicting_taints(node):
            for pod in self._pods.by_index("node", name_of(node)):
                self._loop.enqueue(pod)

    def _pod_updated(self, old: Pod, new: Pod) -> None:
        before, after = need(old.spec), need(new.spec)
        if before.nodeName != after.nodeName or before.tolerations != after.tolerations:
            self._pod_changed(new)

    def _pod_changed(self, pod: Pod) -> None:
        node = self._nodes.get(need(pod.spec).nodeName or "")
        if node is not None and evicting_taints(node):
            self._loop.enqueue(pod)

    def _pod_gone(self, pod: Pod) -> None:
        self._waiting.pop(key_of(pod), None)

    async def reconcile(self, key: str) -> float | None:
        """One round for one pod."""
        pod = self._pods.get(key)
        if pod is None or is_deleting(pod) or is_terminal(pod):
            self._waiting.pop(key, None)
            return None
        node = self._nodes.get(need(pod.spec).nodeName or "")
        due = eviction_time(pod, evicting_taints(node)) if node else None
        if due is None:
            self._cancel(key, pod)
            return None
        self._waiting[key] = due
        left = (due - now()).total_seconds()
        if left > 0:
            return left
        await self._evict(key, pod)
        return None

    def _cancel(self, key: str, pod: Pod) -> None:
        if self._waiting.pop(key, None) is not None:
            self._events.event(pod, "Normal", "TaintManagerEviction", f"Cancelling deletion of Pod {key}")

    async def _evict(self, key: str, pod: Pod) -> None:
        log.info("evicting pod %s from its tainted node", key)
        self._events.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}")
        namespace, name = split_key(key)
        patch = disruption_patch(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
        try:
            await self._client.patch(Pod, name, patch, namespace, subresource="status")
            await self._client.delete(Pod, name, namespace, uid=uid_of(pod))
        except NotFound:
            return


def disruption_patch(pod: Pod, reason: str, message: str) -> dict[str, object]:
    """The DisruptionTarget condition, which tells a Job that the pod did not fail by itself (KEP-3329)."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": to_rfc3339(now()),
    }
    return {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [condition]}}
