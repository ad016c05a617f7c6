"""The garbage collector: carries out what the graph and the decisions say.

An owner that the graph does not show is looked up at the server before anything is deleted for its absence. What the
graph shows is deleted on condition that it is still what was seen (uid and resourceVersion); when it is not, the watch
will tell, and the decision is made again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from common.api.status import NotFound, StatusError
from common.client import PatchType, ResourceInfo, discover
from common.informer import Informer
from controller_manager.context import Context
from controller_manager.garbage_collector.decisions import Decision, OwnerState, Verdict, decide
from controller_manager.garbage_collector.graph import FOREGROUND, ORPHAN, Graph, GraphNode, Ref, Work, could_be
from controller_manager.garbage_collector.monitors import Monitors
from controller_manager.metadata import METADATA, Metadata, Owner, decode
from controller_manager.requests import Batches

DISCOVERY_SECONDS = 30.0
FIRST_SYNC_SECONDS = 30.0
ABSENT_CACHE = 1000

log = logging.getLogger(__name__)


class UnknownKind(StatusError):
    """An owner's kind is not served (any more, or yet): nothing can be said of it."""


class GarbageCollector:
    """Two control loops over one graph: objects to delete, and objects whose dependents are to be orphaned."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._graph = Graph()
        self._absent: OrderedDict[Ref, None] = OrderedDict()
        self._kinds: dict[tuple[str, str], ResourceInfo] = {}
        workers = context.settings.concurrent_gc_syncs
        self._deleter = context.loop("garbage_collector_attempt_to_delete", self._attempt_to_delete, workers=workers)
        self._orphaner = context.loop("garbage_collector_attempt_to_orphan", self._attempt_to_orphan, workers=5)
        self._batches = Batches(10)
        informers: list[Informer[Any]] = [
            context.pods,
            context.replica_sets,
            context.deployments,
            context.nodes,
            context.namespaces,
            context.services,
        ]
        shared = {ResourceInfo.of(informer.kind): informer for informer in informers}  # type: ignore[arg-type]
        self._monitors = Monitors(context.client, shared, self._seen, self._removed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            await self._rediscover(tasks)
            await self._monitors.wait_synced(FIRST_SYNC_SECONDS)
            tasks.create_task(self._deleter.run())
            tasks.create_task(self._orphaner.run())
            while True:
                await asyncio.sleep(DISCOVERY_SECONDS)
                await self._rediscover(tasks)
                self._look_again_at_virtual_owners()

    async def _rediscover(self, tasks: asyncio.TaskGroup) -> None:
        try:
            resources = await discover(self._client)
        except StatusError as error:
            log.warning("discovery: %s", error)
            return
        self._kinds = {(each.group, each.kind): each for each in resources}
        self._monitors.follow(resources, tasks)

    def _look_again_at_virtual_owners(self) -> None:
        for uid in self._graph.virtual():
            if node := self._graph.get(uid):
                for dependent in node.dependents:
                    self._deleter.queue.add(dependent)

    # --- what the watches tell -----------------------------------------------------------------------------------

    def _seen(self, ref: Ref, metadata: Metadata) -> None:
        self._take_up(self._graph.observe(ref, metadata))

    def _removed(self, uid: str) -> None:
        if node := self._graph.get(uid):
            self._remember_absent(node.ref)
        self._take_up(self._graph.remove(uid))

    def _take_up(self, work: Work) -> None:
        for uid in work.delete:
            self._deleter.queue.add(uid)
        for uid in work.orphan:
            self._orphaner.queue.add(uid)

    def _remember_absent(self, ref: Ref) -> None:
        self._absent[ref] = None
        if len(self._absent) > ABSENT_CACHE:
            self._absent.popitem(last=False)

    # --- deletion ------------------------------------------------------------------------------------------------

    async def _attempt_to_delete(self, uid: str) -> None:
        node = self._graph.get(uid)
        if node is None or node.virtual:
            return
        if node.foreground:
            await self._continue_foreground(node)
            return
        if node.deleting:
            return
        states = [(owner, await self._state(node, owner)) for owner in node.owners]
        await self._carry_out(node, decide(node, states))

    async def _carry_out(self, node: GraphNode, decision: Decision) -> None:
        if decision.verdict is Verdict.DISOWN:
            await self._disown(node, decision.drop)
        elif decision.verdict is Verdict.DELETE:
            if decision.unblock:
                await self._unblock(node)
            else:
                await self._delete(node, decision.policy)

    async def _delete(self, node: GraphNode, policy: str) -> None:
        ref = node.ref
        log.debug("deleting %s %s/%s (%s)", ref.kind, ref.namespace, ref.name, policy)
        try:
            await self._client.dynamic.delete(
                self._resource(ref),
                ref.name,
                ref.namespace or None,
                propagation_policy=policy,
                uid=ref.uid,
                resource_version=node.version or None,
            )
        except NotFound:
            self._removed(ref.uid)

    async def _continue_foreground(self, node: GraphNode) -> None:
        """Waits for what blocks, or lets the owner go when nothing does any more."""
        blocking = node.blocking()
        if not blocking:
            await self._remove_finalizer(node, FOREGROUND)
            return
        for dependent in blocking:
            if not dependent.foreground:
                self._deleter.queue.add(dependent.ref.uid)

    async def _state(self, node: GraphNode, owner: Owner) -> OwnerState:
        known = self._graph.get(owner.uid)
        if known is not None and not known.virtual and could_be(owner, node.ref.namespace, known.ref):
            return OwnerState.WAITING if known.foreground else OwnerState.SOLID
        return await self._state_at_server(node, owner)

    async def _state_at_server(self, node: GraphNode, owner: Owner) -> OwnerState:
        try:
            resource = self._resource(Ref(owner.apiVersion, owner.kind, "", owner.name, owner.uid))
        except UnknownKind as error:
            log.debug("owner of %s %s: %s", node.ref.kind, node.ref.name, error)
            return OwnerState.SOLID  # looked at again after the next discovery
        if resource.namespaced and not node.ref.namespace:
            return OwnerState.SOLID  # an owner in a namespace of a cluster-scoped object: cannot be resolved
        namespace = node.ref.namespace if resource.namespaced else ""
        ref = Ref(resource.api_version, owner.kind, namespace, owner.name, owner.uid)
        if ref in self._absent:
            return OwnerState.DANGLING
        try:
            live = await self._live(ref)
        except NotFound:
            live = None
        if live is None or live.uid != owner.uid:
            self._remember_absent(ref)
            return OwnerState.DANGLING
        waits = live.deletionTimestamp is not None and FOREGROUND in live.finalizers
        return OwnerState.WAITING if waits else OwnerState.SOLID

    # --- orphans -------------------------------------------------------------------------------------------------

    async def _attempt_to_orphan(self, uid: str) -> None:
        node = self._graph.get(uid)
        if node is None or not node.orphaning:
            return
        await self._batches.each(list(node.dependents.values()), lambda each: self._disown(each, (uid,)))
        await self._remove_finalizer(node, ORPHAN)

    # --- writes of metadata --------------------------------------------------------------------------------------

    async def _disown(self, node: GraphNode, uids: Iterable[str]) -> None:
        drop = set(uids)
        await self._rewrite_owners(node, lambda owner: None if owner.uid in drop else owner)

    async def _unblock(self, node: GraphNode) -> None:
        """Breaks a circle of objects that each wait for another: its owners need not wait for this one."""
        await self._rewrite_owners(
            node, lambda owner: Owner(owner.apiVersion, owner.kind, owner.name, owner.uid, owner.controller, False)
        )

    async def _rewrite_owners(self, node: GraphNode, change: Any) -> None:
        live = await self._live_or_removed(node)
        if live is None:
            return
        owners = tuple(kept for owner in live.ownerReferences if (kept := change(owner)) is not None)
        if owners != live.ownerReferences:
            await self._patch(node, live, {"ownerReferences": [_plain(owner) for owner in owners]})

    async def _remove_finalizer(self, node: GraphNode, finalizer: str) -> None:
        live = await self._live_or_removed(node)
        if live is not None and finalizer in live.finalizers:
            await self._patch(node, live, {"finalizers": [each for each in live.finalizers if each != finalizer]})

    async def _patch(self, node: GraphNode, live: Metadata, change: dict[str, Any]) -> None:
        ref = node.ref
        patch = {"metadata": {"uid": ref.uid, "resourceVersion": live.resourceVersion, **change}}
        try:
            await self._client.dynamic.patch(
                self._resource(ref), ref.name, patch, ref.namespace or None, patch_type=PatchType.MERGE
            )
        except NotFound:
            self._removed(ref.uid)

    async def _live_or_removed(self, node: GraphNode) -> Metadata | None:
        """The object as it is now; one that is gone is taken out of the graph."""
        try:
            live = await self._live(node.ref)
        except NotFound:
            live = None
        if live is None or live.uid != node.ref.uid:
            self._removed(node.ref.uid)
            return None
        return live

    async def _live(self, ref: Ref) -> Metadata:
        path = self._resource(ref).path(ref.namespace or None, ref.name)
        return decode(await self._client.dynamic.send("GET", path, accept=METADATA))

    def _resource(self, ref: Ref) -> ResourceInfo:
        group, _, _ = ref.api_version.rpartition("/")
        resource = self._kinds.get((group, ref.kind))
        if resource is None:
            raise UnknownKind(f"no resource of kind {ref.kind} in {ref.api_version} is served")
        return resource


def _plain(owner: Owner) -> dict[str, Any]:
    plain = {key: getattr(owner, key) for key in owner.__struct_fields__}
    return {key: value for key, value in plain.items() if value is not None}
