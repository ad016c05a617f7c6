"""The status of a ReplicaSet or ReplicationController, computed from its pods (upstream: replica_set_utils.go)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lightkube.resources.core_v1 import Pod

from common.api.meta import labels_of
from common.api.pods import is_ready
from controller_manager.objects import available_in


@dataclass(frozen=True, slots=True)
class Failure:
    """Why pods could not be created or deleted: the ReplicaFailure condition."""

    reason: str
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Counts:
    """What both kinds' status has in common."""

    replicas: int = 0
    fully_labeled: int = 0
    ready: int = 0
    available: int = 0
    observed_generation: int = 0
    failure: Failure | None = None


def count(pods: Sequence[Pod], template_labels: dict[str, str], min_ready_seconds: int, now: datetime) -> Counts:
    """Counts active pods that are there, fully labelled, ready and available."""
    wanted = template_labels.items()
    return Counts(
        replicas=len(pods),
        fully_labeled=sum(1 for pod in pods if wanted <= labels_of(pod).items()),
        ready=sum(1 for pod in pods if is_ready(pod)),
        available=sum(1 for pod in pods if available_in(pod, min_ready_seconds, now) == 0),
    )


def next_available(pods: Sequence[Pod], min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until the next ready pod becomes available, so that somebody looks again."""
    if min_ready_seconds == 0:
        return None
    waits = (available_in(pod, min_ready_seconds, now) for pod in pods)
    return min((wait for wait in waits if wait), default=None)


def with_failure(counts: Counts, error: str | None, difference: int, old: Failure | None, now: datetime) -> Counts:
    """Adds the failure of this round (`difference`: pods there minus pods wanted); an old one keeps its words."""
    if error is None:
        return counts
    reason = "FailedCreate" if difference < 0 else "FailedDelete"
    return replace(counts, failure=old or Failure(reason, error, now))
