"""One round's view of a Deployment, and how the API's objects look to the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from common.api.meta import annotations_of
from controller_manager.deployment import rolling
from controller_manager.deployment.revisions import DESIRED_REPLICAS, MAX_REPLICAS
from controller_manager.objects import created_at, name_of, need


@dataclass(frozen=True)
class Rollout:
    """A Deployment in one round."""

    deployment: Deployment
    goal: rolling.Goal
    new: ReplicaSet | None
    old: list[ReplicaSet]

    @property
    def all(self) -> list[ReplicaSet]:
        """All ReplicaSets."""
        return [*self.old, *([self.new] if self.new else [])]


def goal_of(deployment: Deployment) -> rolling.Goal:
    """What the Deployment asks for, its bounds resolved."""
    spec = need(deployment.spec)
    replicas = 1 if spec.replicas is None else spec.replicas
    if spec.strategy is not None and spec.strategy.type == "Recreate":
        return rolling.Goal(replicas, rolling=False)
    bounds = spec.strategy.rollingUpdate if spec.strategy else None
    return rolling.goal(replicas, bounds.maxSurge if bounds else "25%", bounds.maxUnavailable if bounds else "25%")


def view(each: ReplicaSet) -> rolling.View:
    """A ReplicaSet as the arithmetic sees it."""
    spec, status, annotations = need(each.spec), each.status, annotations_of(each)
    return rolling.View(
        name=name_of(each),
        created=created_at(each),
        replicas=1 if spec.replicas is None else spec.replicas,
        actual=(status and status.replicas) or 0,
        ready=(status and status.readyReplicas) or 0,
        available=(status and status.availableReplicas) or 0,
        desired_then=_number(annotations.get(DESIRED_REPLICAS)),
        most_then=_number(annotations.get(MAX_REPLICAS)),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
