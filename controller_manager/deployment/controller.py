"""The control loop of Deployments.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/

A round claims the Deployment's ReplicaSets, makes at most one step (scale, or one move of a rollout) and writes the
status. The ReplicaSets' own changes wake the next round.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from lightkube.models.apps_v1 import DeploymentStatus
from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Pod

from common.api.meta import annotations_of, clone, controller_of, is_deleting, key_of, labels_of
from common.api.selectors import label_selector_from
from common.api.status import NotFound
from common.api.time import now
from controller_manager.context import Context
from controller_manager.deployment import progress, rolling
from controller_manager.deployment.creation import RevisionMaker
from controller_manager.deployment.revisions import find_new, find_old, outdated, replica_annotations
from controller_manager.deployment.rollout import Rollout, goal_of, view
from controller_manager.objects import name_of, namespace_of, need, phase_of, uid_of
from controller_manager.ownership import claim, orphans_key

log = logging.getLogger(__name__)


class DeploymentController:
    """Moves every Deployment towards its spec."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.recorder("deployment-controller")
        self._deployments = context.deployments.store
        self._sets = context.replica_sets.store
        self._pods = context.pods.store
        self._maker = RevisionMaker(self._client, self._events)
        self._loop = context.loop("deployment", self.reconcile, workers=context.settings.concurrent_deployment_syncs)
        context.deployments.add_handler(self._loop.enqueue, lambda _, new: self._loop.enqueue(new), self._loop.enqueue)
        context.replica_sets.add_handler(self._set_changed, self._set_updated, self._set_changed)
        context.pods.add_handler(on_delete=self._pod_deleted)

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    # --- what wakes a Deployment ---------------------------------------------------------------------------------

    def _set_updated(self, old: ReplicaSet, new: ReplicaSet) -> None:
        before, after = controller_of(old), controller_of(new)
        if before is not None and (after is None or before.uid != after.uid):
            self._set_changed(old)
        self._set_changed(new)

    def _set_changed(self, each: ReplicaSet) -> None:
        if key := self._owner_key(each):
            self._loop.queue.add(key)
        elif controller_of(each) is None:
            for deployment in self._deployments.by_index("namespace", namespace_of(each)):
                if label_selector_from(need(deployment.spec).selector).matches(labels_of(each)):
                    self._loop.enqueue(deployment)

    def _owner_key(self, each: ReplicaSet) -> str | None:
        ref = controller_of(each)
        if ref is None or ref.kind != "Deployment":
            return None
        key = f"{namespace_of(each)}/{ref.name}"
        owner = self._deployments.get(key)
        return key if owner is not None and uid_of(owner) == ref.uid else None

    def _pod_deleted(self, pod: Pod) -> None:
        """A Recreate rollout waits for the last old pod to go."""
        ref = controller_of(pod)
        each = self._sets.get(f"{namespace_of(pod)}/{ref.name}") if ref and ref.kind == "ReplicaSet" else None
        key = self._owner_key(each) if each is not None else None
        deployment = self._deployments.get(key) if key else None
        if deployment is not None and not goal_of(deployment).rolling:
            self._loop.enqueue(deployment)

    # --- one round -----------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """One round for one Deployment."""
        deployment = self._deployments.get(key)
        if deployment is None:
            return None
        selector = label_selector_from(need(deployment.spec).selector)
        if selector.everything:
            await self._refuse(deployment)
            return None
        mine = self._sets.by_index("controller", uid_of(deployment))
        orphans = self._sets.by_index("controller", orphans_key(namespace_of(deployment)))
        sets = await claim(self._client, ReplicaSet, deployment, [*mine, *orphans], selector)
        new = find_new(deployment, sets)
        rollout = Rollout(deployment, goal_of(deployment), new, find_old(new, sets))
        if is_deleting(deployment):
            await self._write(deployment, self._plain_status(rollout))
            return None
        rollout = await self._note_pause(rollout)
        if need(deployment.spec).paused or rolling.is_scaling(rollout.goal, [view(each) for each in sets]):
            await self._scale(rollout)
            return None
        if rollout.goal.rolling:
            return await self._roll(rollout)
        return await self._recreate(rollout)

    async def _refuse(self, deployment: Deployment) -> None:
        text = "This deployment is selecting all pods. A non-empty selector is required."
        self._events.event(deployment, "Warning", "SelectingAll", text)
        status = progress.status_of(deployment)
        status.observedGeneration = need(deployment.metadata).generation
        await self._write(deployment, status)

    async def _note_pause(self, rollout: Rollout) -> Rollout:
        changed = progress.paused_condition(rollout.deployment, now())
        if changed is None:
            return rollout
        status = progress.status_of(rollout.deployment)
        status.conditions = list(status.conditions or ())
        progress.put(status.conditions, changed)
        return replace(rollout, deployment=await self._write(rollout.deployment, status))

    async def _scale(self, rollout: Rollout) -> None:
        """Follows a change of replicas; a paused Deployment does that and nothing else."""
        rollout = await self._maker.keep(rollout)
        new = view(rollout.new) if rollout.new else None
        sizes = rolling.scale(rollout.goal, new, [view(each) for each in rollout.old])
        rollout = await self._resize(rollout, sizes)
        if need(rollout.deployment.spec).paused:
            await self._clean_up(rollout)
        await self._write(rollout.deployment, self._plain_status(rollout))

    async def _roll(self, rollout: Rollout) -> float | None:
        rollout = await self._maker.ensure(rollout)
        new, old = view(need(rollout.new)), [view(each) for each in rollout.old]
        size = rolling.new_size(rollout.goal, new, old)
        if size != new.replicas:
            return await self._finish(await self._resize(rollout, {new.name: size}))
        if sizes := rolling.shrink_old(rollout.goal, new, old):
            return await self._finish(await self._resize(rollout, sizes))
        return await self._finish(rollout)

    async def _recreate(self, rollout: Rollout) -> float | None:
        """All old pods go before the first new one comes."""
        running = {name_of(each): 0 for each in rollout.old if view(each).replicas > 0}
        if running:
            return await self._finish(await self._resize(rollout, running))
        if self._old_pods_run(rollout):
            return await self._finish(rollout)
        rollout = await self._maker.ensure(rollout)
        new = view(need(rollout.new))
        if new.replicas != rollout.goal.replicas:
            rollout = await self._resize(rollout, {new.name: rollout.goal.replicas})
        return await self._finish(rollout)

    def _old_pods_run(self, rollout: Rollout) -> bool:
        if any(view(each).actual for each in rollout.old):
            return True
        pods = (pod for each in rollout.old for pod in self._pods.by_index("controller", uid_of(each)))
        return any(phase_of(pod) not in ("Succeeded", "Failed") for pod in pods)

    async def _finish(self, rollout: Rollout) -> float | None:
        """Cleans up after a complete rollout and writes the status."""
        deployment = rollout.deployment
        if progress.is_complete(deployment, progress.status_of(deployment)):
            await self._clean_up(rollout)
        status = progress.rollout_status(deployment, rollout.goal, rollout.new, rollout.all, now())
        written = await self._write(deployment, status)
        return progress.check_again_in(written, progress.status_of(written), now())

    def _plain_status(self, rollout: Rollout) -> DeploymentStatus:
        return progress.calculate(rollout.deployment, rollout.goal, rollout.new, rollout.all, now())

    # --- writes --------------------------------------------------------------------------------------------------

    async def _resize(self, rollout: Rollout, sizes: rolling.Sizes) -> Rollout:
        """Gives ReplicaSets their new sizes. A Conflict ends the round: the next one decides from fresh state."""
        changed = {
            name_of(each): await self._resize_one(rollout, each, sizes[name_of(each)])
            for each in rollout.all
            if name_of(each) in sizes
        }
        new = changed.get(name_of(rollout.new), rollout.new) if rollout.new else None
        return replace(rollout, new=new, old=[changed.get(name_of(each), each) for each in rollout.old])

    async def _resize_one(self, rollout: Rollout, each: ReplicaSet, size: int) -> ReplicaSet:
        before, annotations = view(each).replicas, replica_annotations(rollout.goal)
        if before == size and annotations.items() <= annotations_of(each).items():
            return each
        resized = clone(each)
        need(resized.spec).replicas = size
        need(resized.metadata).annotations = {**annotations_of(each), **annotations}
        written = await self._client.replace(resized)
        if before != size:
            direction = "up" if before < size else "down"
            text = f"Scaled {direction} replica set {name_of(each)} from {before} to {size}"
            self._events.event(rollout.deployment, "Normal", "ScalingReplicaSet", text)
        return written

    async def _clean_up(self, rollout: Rollout) -> None:
        for each in outdated(rollout.deployment, rollout.old):
            log.info("deleting old replica set %s", key_of(each))
            try:
                await self._client.delete(ReplicaSet, name_of(each), namespace_of(each), uid=uid_of(each))
            except NotFound:
                continue

    async def _write(self, deployment: Deployment, status: DeploymentStatus) -> Deployment:
        if progress.same(progress.status_of(deployment), status):
            return deployment
        changed = clone(deployment)
        changed.status = status
        return await self._client.replace_status(changed)
