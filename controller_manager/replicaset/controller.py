"""The control loop of ReplicaSets and ReplicationControllers.

https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/

A round claims the owner's pods, creates or deletes the difference and writes the status. It never acts while earlier
creations or deletions are still to be seen (`expectations`), so a slow watch cannot double the pods.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lightkube.resources.core_v1 import Pod, ReplicationController

from common.api.meta import controller_of, is_deleting, key_of, labels_of
from common.api.pods import is_ready
from common.api.status import Conflict, NotFound, StatusError
from common.api.time import now
from common.informer import Informer
from controller_manager.context import Context
from controller_manager.objects import is_active, name_of, namespace_of, need, uid_of
from controller_manager.ownership import claim, orphans_key
from controller_manager.replicaset.expectations import Expectations
from controller_manager.replicaset.ranking import pods_to_delete
from controller_manager.replicaset.status import Counts, count, next_available, with_failure
from controller_manager.replicaset.workload import (
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    Workload,
    counts_of,
    new_pod,
    replicas_of,
    with_status,
)
from controller_manager.requests import Batches, is_namespace_terminating

BURST_REPLICAS = 500
"""The most pods created or deleted in one round, as upstream."""

log = logging.getLogger(__name__)


class ReplicaController:
    """Keeps `spec.replicas` pods for every object of one workload kind."""

    def __init__(self, context: Context, workload: Workload, owners: Informer[Any]) -> None:
        self._client = context.client
        self._events = context.recorder(workload.component)
        self._workload = workload
        self._owners = owners.store
        self._pods = context.pods.store
        self._expectations = Expectations()
        self._batches = Batches()
        self._kind = workload.kind._api_info.resource.kind
        self._loop = context.loop(workload.name, self.reconcile, workers=context.settings.concurrent_replicaset_syncs)
        owners.add_handler(self._loop.enqueue, self._owner_updated, self._loop.enqueue)
        context.pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    # --- what wakes an owner -------------------------------------------------------------------------------------

    def _owner_updated(self, old: Any, new: Any) -> None:
        if uid_of(old) != uid_of(new):
            self._expectations.forget(key_of(old))
        self._loop.enqueue(new)

    def _pod_added(self, pod: Pod) -> None:
        if is_deleting(pod):
            self._pod_deleted(pod)
        elif key := self._owner_key(pod):
            self._expectations.creation_observed(key)
            self._loop.queue.add(key)
        else:
            self._wake_adopters(pod)

    def _pod_updated(self, old: Pod, new: Pod) -> None:
        old_key, key = self._owner_key(old), self._owner_key(new)
        if old_key and old_key != key:
            self._loop.queue.add(old_key)
        if is_deleting(new):
            self._pod_deleted(new)
        elif key:
            self._loop.queue.add(key)
            if not is_ready(old) and is_ready(new) and (owner := self._owners.get(key)) and owner.spec.minReadySeconds:
                self._loop.queue.add_after(key, owner.spec.minReadySeconds + 1)
        elif labels_of(old) != labels_of(new) or old_key:
            self._wake_adopters(new)

    def _pod_deleted(self, pod: Pod) -> None:
        if key := self._owner_key(pod):
            self._expectations.deletion_observed(key, key_of(pod))
            self._loop.queue.add(key)

    def _owner_key(self, pod: Pod) -> str | None:
        ref = controller_of(pod)
        if ref is None or ref.kind != self._kind:
            return None
        key = f"{namespace_of(pod)}/{ref.name}"
        owner = self._owners.get(key)
        return key if owner is not None and uid_of(owner) == ref.uid else None

    def _wake_adopters(self, pod: Pod) -> None:
        if controller_of(pod) is not None:
            return
        for owner in self._owners.by_index("namespace", namespace_of(pod)):
            selector = self._workload.selector(owner)
            if not selector.everything and selector.matches(labels_of(pod)):
                self._loop.enqueue(owner)

    # --- one round -----------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """One round for one owner."""
        owner = self._owners.get(key)
        if owner is None:
            self._expectations.forget(key)
            return None
        may_act = self._expectations.satisfied(key)
        pods = await self._claimed(owner)
        error: Exception | None = None
        if may_act and not is_deleting(owner):
            try:
                await self._manage(key, owner, pods)
            except StatusError as failed:
                error = failed
        await self._write_status(owner, pods, error)
        if error is not None:
            raise error
        return next_available(pods, owner.spec.minReadySeconds or 0, now())

    async def _claimed(self, owner: Any) -> list[Pod]:
        mine = self._pods.by_index("controller", uid_of(owner))
        orphans = self._pods.by_index("controller", orphans_key(namespace_of(owner)))
        candidates = [pod for pod in (*mine, *orphans) if is_active(pod)]
        return await claim(self._client, Pod, owner, candidates, self._workload.selector(owner))

    async def _manage(self, key: str, owner: Any, pods: Sequence[Pod]) -> None:
        difference = len(pods) - replicas_of(owner)
        if difference < 0:
            await self._create(key, owner, min(-difference, BURST_REPLICAS))
        elif difference > 0:
            await self._delete(key, owner, pods, min(difference, BURST_REPLICAS))

    async def _create(self, key: str, owner: Any, wanted: int) -> None:
        log.info("creating %d pods for %s %s", wanted, self._workload.name, key)
        self._expectations.expect_creations(key, wanted)
        pod = new_pod(owner)

        async def create() -> None:
            try:
                created = await self._client.create(pod)
            except StatusError as error:
                if not is_namespace_terminating(error):
                    self._events.event(owner, "Warning", "FailedCreate", f"Error creating: {error.message}")
                raise
            self._events.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {name_of(created)}")

        result = await self._batches.slow_start(wanted, create)
        self._expectations.creation_observed(key, wanted - result.done)
        if result.error is not None and not is_namespace_terminating(result.error):
            raise result.error

    async def _delete(self, key: str, owner: Any, pods: Sequence[Pod], wanted: int) -> None:
        log.info("deleting %d pods of %s %s", wanted, self._workload.name, key)
        chosen = pods_to_delete(pods, self._related(owner), wanted, now())
        self._expectations.expect_deletions(key, map(key_of, chosen))

        async def delete(pod: Pod) -> None:
            try:
                await self._client.delete(Pod, name_of(pod), namespace_of(pod), uid=uid_of(pod))
            except NotFound:
                self._expectations.deletion_observed(key, key_of(pod))
                return
            except Exception as error:
                self._expectations.deletion_observed(key, key_of(pod))
                if isinstance(error, StatusError):
                    self._events.event(owner, "Warning", "FailedDelete", f"Error deleting: {error.message}")
                raise
            self._events.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

        await self._batches.each(chosen, delete)

    def _related(self, owner: Any) -> list[Pod]:
        """The pods of all ReplicaSets of the same Deployment, or just of this owner."""
        ref = controller_of(owner)
        owners = (
            self._owners.by_index("controller", ref.uid) if ref is not None and self._kind == "ReplicaSet" else [owner]
        )
        return [pod for each in owners for pod in self._pods.by_index("controller", uid_of(each))]

    async def _write_status(self, owner: Any, pods: Sequence[Pod], error: Exception | None) -> None:
        template = need(owner.spec.template)
        counts = count(pods, labels_of(template), owner.spec.minReadySeconds or 0, now())
        message = error.message if isinstance(error, StatusError) else None
        old = counts_of(owner)
        counts = with_failure(counts, message, len(pods) - replicas_of(owner), old.failure, now())
        counts = replace(counts, observed_generation=need(owner.metadata).generation or 0)
        if counts != old:
            await self._put_status(owner, counts)

    async def _put_status(self, owner: Any, counts: Counts) -> None:
        """Writes it, once more from fresh state when somebody else wrote in between."""
        try:
            await self._client.replace_status(with_status(self._workload, owner, counts))
        except NotFound:
            return
        except Conflict:
            await self._put_status_again(owner, counts)

    async def _put_status_again(self, owner: Any, counts: Counts) -> None:
        try:
            fresh = await self._client.get(type(owner), name_of(owner), namespace_of(owner))
            if uid_of(fresh) == uid_of(owner):
                await self._client.replace_status(with_status(self._workload, fresh, counts))
        except NotFound:
            return


def replica_set_controller(context: Context) -> ReplicaController:
    """The ReplicaSet controller."""
    return ReplicaController(context, REPLICA_SET, context.replica_sets)


def replication_controller_controller(context: Context) -> ReplicaController:
    """The ReplicationController controller (upstream's name for it is a pun, too)."""
    return ReplicaController(context, REPLICATION_CONTROLLER, context.informers.informer(ReplicationController))
