"""The node lifecycle controller: looks at all nodes every few seconds.

https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller
"""

from __future__ import annotations

import asyncio
import logging
import time

from lightkube.models.core_v1 import NodeStatus, Taint
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod

from common.api.meta import clone
from common.api.status import Conflict, NotFound, StatusError
from common.api.time import now
from common.client import PatchType
from controller_manager.context import Context
from controller_manager.node_lifecycle import health, taints, zones
from controller_manager.objects import name_of, namespace_of, need
from controller_manager.requests import Batches

LEASES = "kube-node-lease"

log = logging.getLogger(__name__)


class NodeLifecycleController:
    """Marks silent nodes Unknown, taints nodes by their conditions, and takes pods of silent nodes out of services."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._client = context.client
        self._events = context.recorder("node-controller")
        self._period = settings.node_monitor_period
        self._grace, self._startup_grace = settings.node_monitor_grace_period, settings.node_startup_grace_period
        self._limits = zones.Limits(
            settings.node_eviction_rate,
            settings.secondary_node_eviction_rate,
            settings.unhealthy_zone_threshold,
            settings.large_cluster_size_threshold,
        )
        self._nodes = context.nodes.store
        self._pods = context.pods.store
        self._leases = context.informers.informer(Lease, namespace=LEASES).store
        self._seen: dict[str, health.Observation] = {}
        self._ready: set[str] = set()
        self._marked: set[str] = set()
        self._buckets: dict[str, zones.Bucket] = {}
        self._dark = False
        self._batches = Batches()
        self._loop = context.loop("node_lifecycle_controller", self.reconcile, workers=8)
        context.nodes.add_handler(self._added, self._updated, self._removed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._loop.run())
            tasks.create_task(self._monitor())

    def _added(self, node: Node) -> None:
        text = f"Node {name_of(node)} event: Registered Node {name_of(node)} in Controller"
        self._events.event(node, "Normal", "RegisteredNode", text)
        self._loop.enqueue(node)

    def _updated(self, old: Node, new: Node) -> None:
        """A heartbeat changes no taint: only what does is looked at."""
        if (
            taints.no_schedule_keys(old) != taints.no_schedule_keys(new)
            or need(old.spec).taints != need(new.spec).taints
        ):
            self._loop.enqueue(new)

    def _removed(self, node: Node) -> None:
        text = f"Node {name_of(node)} event: Removing Node {name_of(node)} from Controller"
        self._events.event(node, "Normal", "RemovingNode", text)
        self._seen.pop(name_of(node), None)
        self._ready.discard(name_of(node))
        self._marked.discard(name_of(node))

    # --- taints by condition, as soon as it changes --------------------------------------------------------------

    async def reconcile(self, key: str) -> None:
        """Sets the NoSchedule taints of one node, and lifts NoExecute ones from a node that is well again."""
        node = self._nodes.get(key)
        if node is None:
            return
        wanted = taints.with_no_schedule(node, now())
        if health.ready_status(node) == "True":
            wanted = taints.with_evicting(wanted, None, now())
        await self._set_taints(node, wanted)

    async def _set_taints(self, node: Node, wanted: list[Taint]) -> None:
        if _keys(wanted) == _keys(need(node.spec).taints or []):
            return
        version = need(node.metadata).resourceVersion
        patch = {
            "metadata": {"resourceVersion": version},
            "spec": {"taints": [taint.to_dict() for taint in wanted] or None},
        }
        try:
            await self._client.patch(Node, name_of(node), patch, patch_type=PatchType.MERGE)
        except NotFound:
            return

    # --- signs of life -------------------------------------------------------------------------------------------

    async def _monitor(self) -> None:
        while True:
            started = time.monotonic()
            try:
                await self._look()
            except StatusError as error:
                log.warning("looking at nodes: %s", error)
            await asyncio.sleep(max(0.0, started + self._period - time.monotonic()))

    async def _look(self) -> None:
        """One look at all nodes. What fails for one of them must not keep the others waiting."""
        present = time.monotonic()
        nodes = self._nodes.list()

        async def check(node: Node) -> None:
            try:
                await self._check(node, present)
            except StatusError as error:
                log.warning("node %s: %s", name_of(node), error)

        await self._batches.each(nodes, check)
        await self._evict(nodes, present)

    async def _check(self, node: Node, present: float) -> None:
        """Marks the node when it has been silent for too long, and its pods once when it is not ready any more: a
        kubelet that lives may then say that they are."""
        name = name_of(node)
        seen = health.observe(self._seen.get(name), node, self._leases.get(f"{LEASES}/{name}"), present)
        self._seen[name] = seen
        grace = self._grace if health.has_reported(node) else self._startup_grace
        was_ready = health.ready_status(node) == "True" or name in self._ready
        if present - seen.alive_at > grace and (conditions := health.silent_conditions(node)):
            changed = clone(node)
            changed.status = changed.status or NodeStatus()
            changed.status.conditions = conditions
            try:
                node = await self._client.replace_status(changed)
            except (Conflict, NotFound):
                return  # it has just changed or gone: the next look will tell
            log.warning("node %s has been silent for %.0f s", name, present - seen.alive_at)
        if health.ready_status(node) == "True":
            self._ready.add(name)
            self._marked.discard(name)
            return
        self._ready.discard(name)
        if was_ready:
            self._events.event(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        if name not in self._marked:
            await self._mark_pods_not_ready(name)
            self._marked.add(name)

    async def _mark_pods_not_ready(self, name: str) -> None:
        async def mark(pod: Pod) -> None:
            if (patch := health.not_ready_patch(pod)) is None:
                return
            try:
                await self._client.patch(Pod, name_of(pod), patch, namespace_of(pod), subresource="status")
            except (Conflict, NotFound):
                return
            self._events.event(pod, "Warning", "NodeNotReady", "Node is not ready")

        await self._batches.each(self._pods.by_index("node", name), mark)

    # --- eviction ------------------------------------------------------------------------------------------------

    async def _evict(self, nodes: list[Node], present: float) -> None:
        """Taints nodes NoExecute, as fast as the state of their zones allows."""
        by_zone: dict[str, list[Node]] = {}
        for node in nodes:
            by_zone.setdefault(zones.zone_of(node), []).append(node)
        ready = {zone: [health.ready_status(n) == "True" for n in members] for zone, members in by_zone.items()}
        rates = zones.rates(ready, self._limits)
        dark = bool(nodes) and not any(flag for flags in ready.values() for flag in flags)
        if dark != self._dark:
            self._dark = dark
            log.warning("all nodes are silent: evictions stop" if dark else "nodes are back: evictions go on")
            if not dark:  # the others may be back as well: give each of them its full grace period
                self._seen = {n: health.Observation(o.heartbeat, present) for n, o in self._seen.items()}
        for zone, members in by_zone.items():
            for node in members:
                await self._evict_one(node, self._buckets.setdefault(zone, zones.Bucket()), rates[zone], present)

    async def _evict_one(self, node: Node, bucket: zones.Bucket, rate: float, present: float) -> None:
        current = need(node.spec).taints or []
        wanted = taints.with_evicting(current, None if self._dark else taints.evicting_key(node), now())
        if _keys(wanted) == _keys(current):
            return
        begins = taints.is_evicting(wanted) and not taints.is_evicting(current)
        if begins and not bucket.take(rate, present):
            return
        try:
            await self._set_taints(node, wanted)
        except StatusError as error:
            level = logging.DEBUG if isinstance(error, Conflict) else logging.WARNING
            log.log(level, "node %s is not tainted yet, the next look will: %s", name_of(node), error)


def _keys(taints_: list[Taint]) -> set[tuple[str, str]]:
    return {(taint.key, taint.effect) for taint in taints_}
