"""The status of a Deployment: counts, and the conditions Available, Progressing and ReplicaFailure. Pure.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status
Reasons and messages are upstream's: `kubectl rollout status` and people's scripts read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from lightkube.models.apps_v1 import DeploymentCondition, DeploymentStatus
from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from common.api.conditions import get_condition
from common.api.meta import clone
from controller_manager.deployment.rolling import Goal
from controller_manager.objects import name_of, need

AVAILABLE, PROGRESSING, REPLICA_FAILURE = "Available", "Progressing", "ReplicaFailure"

NEW_REPLICA_SET_CREATED = "NewReplicaSetCreated"
FOUND_NEW_REPLICA_SET = "FoundNewReplicaSet"
REPLICA_SET_CREATE_ERROR = "ReplicaSetCreateError"
REPLICA_SET_UPDATED = "ReplicaSetUpdated"
NEW_REPLICA_SET_AVAILABLE = "NewReplicaSetAvailable"
PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
DEPLOYMENT_PAUSED = "DeploymentPaused"
DEPLOYMENT_RESUMED = "DeploymentResumed"

Conditions = list[DeploymentCondition]


def condition(type_: str, status: str, reason: str, message: str, now: datetime) -> DeploymentCondition:
    """A condition that has just come to be."""
    return DeploymentCondition(
        type=type_, status=status, reason=reason, message=message, lastTransitionTime=now, lastUpdateTime=now
    )


def put(conditions: Conditions, new: DeploymentCondition) -> None:
    """Sets a condition. One with the same status and reason stays as it is, times and all: they measure progress."""
    old = get_condition(conditions, new.type)
    if old is not None and old.status == new.status and old.reason == new.reason:
        return
    if old is not None and old.status == new.status:
        new.lastTransitionTime = old.lastTransitionTime
    drop(conditions, new.type)
    conditions.append(new)


def drop(conditions: Conditions, type_: str) -> None:
    """Removes a condition."""
    conditions[:] = [each for each in conditions if each.type != type_]


def has_deadline(deployment: Deployment) -> bool:
    """Whether progressDeadlineSeconds is set and not "never"."""
    seconds = need(deployment.spec).progressDeadlineSeconds
    return seconds is not None and seconds != 2**31 - 1


def status_of(deployment: Deployment) -> DeploymentStatus:
    """The status as it stands, to change."""
    return clone(deployment.status) if deployment.status else DeploymentStatus()


def paused_condition(deployment: Deployment, now: datetime) -> DeploymentCondition | None:
    """The Progressing condition to set for a pause or a resume, None when there is nothing to say."""
    if not has_deadline(deployment):
        return None
    current = get_condition(status_of(deployment).conditions, PROGRESSING)
    reason = current.reason if current else None
    if reason == PROGRESS_DEADLINE_EXCEEDED:
        return None
    paused = bool(need(deployment.spec).paused)
    if paused and reason != DEPLOYMENT_PAUSED:
        return condition(PROGRESSING, "Unknown", DEPLOYMENT_PAUSED, "Deployment is paused", now)
    if not paused and reason == DEPLOYMENT_PAUSED:
        return condition(PROGRESSING, "Unknown", DEPLOYMENT_RESUMED, "Deployment is resumed", now)
    return None


def calculate(
    deployment: Deployment, goal: Goal, new: ReplicaSet | None, sets: Sequence[ReplicaSet], now: datetime
) -> DeploymentStatus:
    """Counts and the Available condition."""
    old = status_of(deployment)
    available = sum(_available(each) for each in sets)
    status = DeploymentStatus(
        observedGeneration=need(deployment.metadata).generation,
        replicas=sum(_actual(each) for each in sets),
        updatedReplicas=_actual(new) if new else 0,
        readyReplicas=sum((each.status and each.status.readyReplicas) or 0 for each in sets),
        availableReplicas=available,
        unavailableReplicas=max(0, sum(need(each.spec).replicas or 0 for each in sets) - available),
        collisionCount=old.collisionCount,
        conditions=list(old.conditions or ()),
    )
    if available >= goal.least_available:
        text = "Deployment has minimum availability."
        put(need(status.conditions), condition(AVAILABLE, "True", "MinimumReplicasAvailable", text, now))
    else:
        text = "Deployment does not have minimum availability."
        put(need(status.conditions), condition(AVAILABLE, "False", "MinimumReplicasUnavailable", text, now))
    return status


def _actual(each: ReplicaSet) -> int:
    return (each.status and each.status.replicas) or 0


def _available(each: ReplicaSet) -> int:
    return (each.status and each.status.availableReplicas) or 0


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Whether all pods are of the new revision, available, and no old ones run."""
    replicas = need(deployment.spec).replicas
    return (
        status.updatedReplicas == replicas
        and status.replicas == replicas
        and status.availableReplicas == replicas
        and (status.observedGeneration or 0) >= (need(deployment.metadata).generation or 0)
    )


def is_progressing(old: DeploymentStatus, new: DeploymentStatus) -> bool:
    """Whether a step forward was made since the last status."""

    def count(value: int | None) -> int:
        return value or 0

    old_left = count(old.replicas) - count(old.updatedReplicas)
    new_left = count(new.replicas) - count(new.updatedReplicas)
    return (
        count(new.updatedReplicas) > count(old.updatedReplicas)
        or new_left < old_left
        or count(new.readyReplicas) > count(old.readyReplicas)
        or count(new.availableReplicas) > count(old.availableReplicas)
    )


def timed_out(deployment: Deployment, status: DeploymentStatus, now: datetime) -> bool:
    """Whether the deadline has passed without progress."""
    current = get_condition(status.conditions, PROGRESSING)
    if not has_deadline(deployment) or current is None or current.reason == NEW_REPLICA_SET_AVAILABLE:
        return False
    return current.reason == PROGRESS_DEADLINE_EXCEEDED or _deadline(deployment, current) < now


def _deadline(deployment: Deployment, current: DeploymentCondition) -> datetime:
    seconds = need(need(deployment.spec).progressDeadlineSeconds)
    return need(current.lastUpdateTime) + timedelta(seconds=seconds)


def check_again_in(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float | None:
    """Seconds until a rollout that stands still runs out of time."""
    current = get_condition(status.conditions, PROGRESSING)
    if not has_deadline(deployment) or current is None or is_complete(deployment, status):
        return None
    if current.reason in (PROGRESS_DEADLINE_EXCEEDED, NEW_REPLICA_SET_AVAILABLE):
        return None
    return max(0.0, (_deadline(deployment, current) - now).total_seconds()) + 1


def rollout_status(
    deployment: Deployment, goal: Goal, new: ReplicaSet | None, sets: Sequence[ReplicaSet], now: datetime
) -> DeploymentStatus:
    """The status of a rollout under way: counts, and how it gets on."""
    old, status = status_of(deployment), calculate(deployment, goal, new, sets, now)
    conditions = need(status.conditions)
    if not has_deadline(deployment):
        drop(conditions, PROGRESSING)
    elif not _was_complete(old, status):
        _put_progress(deployment, old, status, new, now)
    failure = _failure(new, sets)
    if failure is not None:
        put(conditions, failure)
    else:
        drop(conditions, REPLICA_FAILURE)
    return status


def _was_complete(old: DeploymentStatus, status: DeploymentStatus) -> bool:
    current = get_condition(old.conditions, PROGRESSING)
    done = current is not None and current.reason == NEW_REPLICA_SET_AVAILABLE
    return done and status.replicas == status.updatedReplicas


def _put_progress(
    deployment: Deployment, old: DeploymentStatus, status: DeploymentStatus, new: ReplicaSet | None, now: datetime
) -> None:
    subject = f'ReplicaSet "{name_of(new)}"' if new else f'Deployment "{name_of(deployment)}"'
    conditions, current = need(status.conditions), get_condition(old.conditions, PROGRESSING)
    if is_complete(deployment, status):
        text = f"{subject} has successfully progressed."
        put(conditions, condition(PROGRESSING, "True", NEW_REPLICA_SET_AVAILABLE, text, now))
    elif is_progressing(old, status):
        progress = condition(PROGRESSING, "True", REPLICA_SET_UPDATED, f"{subject} is progressing.", now)
        if current is not None and current.status == "True":
            progress.lastTransitionTime = current.lastTransitionTime
        drop(conditions, PROGRESSING)  # so that lastUpdateTime moves even when the reason stays
        put(conditions, progress)
    elif timed_out(deployment, status, now):
        text = f"{subject} has timed out progressing."
        put(conditions, condition(PROGRESSING, "False", PROGRESS_DEADLINE_EXCEEDED, text, now))


def _failure(new: ReplicaSet | None, sets: Iterable[ReplicaSet]) -> DeploymentCondition | None:
    """The new ReplicaSet's failure, else any."""
    for each in (*([new] if new else []), *sets):
        found = get_condition(each.status.conditions if each.status else None, REPLICA_FAILURE)
        if found is not None:
            return DeploymentCondition(
                type=REPLICA_FAILURE,
                status=found.status,
                reason=found.reason,
                message=found.message,
                lastTransitionTime=found.lastTransitionTime,
                lastUpdateTime=found.lastTransitionTime,
            )
    return None


def same(a: DeploymentStatus, b: DeploymentStatus) -> bool:
    """Whether two statuses are equal; absent counts are zero."""
    return _normal(a) == _normal(b)


def _normal(status: DeploymentStatus) -> tuple[object, ...]:
    return (
        status.observedGeneration,
        status.replicas or 0,
        status.updatedReplicas or 0,
        status.readyReplicas or 0,
        status.availableReplicas or 0,
        status.unavailableReplicas or 0,
        status.collisionCount,
        status.conditions or [],
    )
