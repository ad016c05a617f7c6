"""Makes a Deployment's new ReplicaSet, or keeps the annotations of the one that is there true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from lightkube.models.apps_v1 import DeploymentCondition
from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from common.api.conditions import get_condition
from common.api.meta import annotations_of, clone, controller_of
from common.api.status import AlreadyExists, Conflict, StatusError
from common.api.time import now
from common.client import Client, PatchType
from common.events import EventRecorder
from controller_manager.deployment import progress, rolling
from controller_manager.deployment.revisions import (
    REVISION,
    new_annotations,
    new_replica_set,
    next_revision,
    same_template,
)
from controller_manager.deployment.rollout import Rollout, view
from controller_manager.objects import name_of, namespace_of, need, uid_of
from controller_manager.requests import is_namespace_terminating


@dataclass(frozen=True)
class RevisionMaker:
    """The I/O around the pure rules of `revisions`."""

    client: Client
    events: EventRecorder

    async def ensure(self, rollout: Rollout) -> Rollout:
        """The rollout with a new ReplicaSet that exists, and is known as the highest revision."""
        return await self.keep(rollout) if rollout.new else await self._create(rollout)

    async def keep(self, rollout: Rollout) -> Rollout:
        """Gives the new ReplicaSet, if there is one, the next revision's number, as after an undo."""
        if rollout.new is None:
            return rollout
        deployment, revision = rollout.deployment, next_revision(rollout.old)
        new = await self._annotated(deployment, rollout.new, revision)
        number = annotations_of(new).get(REVISION, "")
        deployment = await self._numbered(deployment, number)
        if get_condition(progress.status_of(deployment).conditions, progress.PROGRESSING) is None:
            text = f'Found new replica set "{name_of(new)}"'
            deployment = await self._progressing(deployment, "True", progress.FOUND_NEW_REPLICA_SET, text)
        return replace(rollout, deployment=deployment, new=new)

    async def _annotated(self, deployment: Deployment, new: ReplicaSet, revision: int) -> ReplicaSet:
        annotations = new_annotations(deployment, new, revision)
        seconds = need(deployment.spec).minReadySeconds
        if annotations == annotations_of(new) and (need(new.spec).minReadySeconds or 0) == (seconds or 0):
            return new
        changed = clone(new)
        need(changed.metadata).annotations = annotations
        need(changed.spec).minReadySeconds = seconds
        return await self.client.replace(changed)

    async def _numbered(self, deployment: Deployment, revision: str) -> Deployment:
        """Writes the Deployment's own revision annotation."""
        if annotations_of(deployment).get(REVISION) == revision:
            return deployment
        version = need(deployment.metadata).resourceVersion
        patch = {"metadata": {"resourceVersion": version, "annotations": {REVISION: revision}}}
        return await self.client.patch(
            Deployment, name_of(deployment), patch, namespace_of(deployment), patch_type=PatchType.MERGE
        )

    async def _create(self, rollout: Rollout) -> Rollout:
        deployment, goal, revision = rollout.deployment, rollout.goal, next_revision(rollout.old)
        size = rolling.new_size(goal, _NOT_YET, [view(each) for each in rollout.old])
        wanted = new_replica_set(deployment, revision, size, goal)
        try:
            new = await self.client.create(wanted)
        except AlreadyExists:
            new = await self._taken(deployment, name_of(wanted))
            return replace(rollout, deployment=await self._numbered(deployment, str(revision)), new=new)
        except StatusError as error:
            await self._failed(deployment, name_of(wanted), error)
            raise
        if size > 0:
            text = f"Scaled up replica set {name_of(new)} from 0 to {size}"
            self.events.event(deployment, "Normal", "ScalingReplicaSet", text)
        deployment = await self._numbered(deployment, str(revision))
        text = f'Created new replica set "{name_of(new)}"'
        deployment = await self._progressing(deployment, "True", progress.NEW_REPLICA_SET_CREATED, text)
        return replace(rollout, deployment=deployment, new=new)

    async def _taken(self, deployment: Deployment, name: str) -> ReplicaSet:
        """The ReplicaSet that has our name: ours, made a moment ago, or a stranger's. Then the hash must change."""
        found = await self.client.get(ReplicaSet, name, namespace_of(deployment))
        ref, template = controller_of(found), need(need(found.spec).template)
        if (
            ref is not None
            and ref.uid == uid_of(deployment)
            and same_template(template, need(deployment.spec).template)
        ):
            return found
        changed = clone(deployment)
        changed.status = progress.status_of(deployment)
        changed.status.collisionCount = (changed.status.collisionCount or 0) + 1
        await self.client.replace_status(changed)
        raise Conflict(f"replica set {name} exists and is not this Deployment's: trying another name")

    async def _failed(self, deployment: Deployment, name: str, error: StatusError) -> None:
        if is_namespace_terminating(error):
            return
        text = f'Failed to create new replica set "{name}": {error.message}'
        await self._progressing(deployment, "False", progress.REPLICA_SET_CREATE_ERROR, text)
        self.events.event(deployment, "Warning", progress.REPLICA_SET_CREATE_ERROR, text)

    async def _progressing(self, deployment: Deployment, status: str, reason: str, text: str) -> Deployment:
        if not progress.has_deadline(deployment):
            return deployment
        changed = clone(deployment)
        changed.status = progress.status_of(deployment)
        conditions: list[DeploymentCondition] = list(changed.status.conditions or ())
        progress.put(conditions, progress.condition(progress.PROGRESSING, status, reason, text, now()))
        changed.status.conditions = conditions
        if progress.same(progress.status_of(deployment), changed.status):
            return deployment
        return await self.client.replace_status(changed)


_NOT_YET = rolling.View(name="", created=datetime.min.replace(tzinfo=UTC), replicas=0)
