"""Short ways to what every controller reads of an object.

The API server fills in `metadata` and `spec` of everything it serves, but the types (rightly) call them optional.
`need` says once, here, that their absence is a broken promise of the server and not a case to handle.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, TypeVar

from lightkube.models.core_v1 import ObjectReference, PodCondition
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from common.api.conditions import get_condition
from common.api.meta import is_deleting

T = TypeVar("T")


class HasMetadata(Protocol):
    """Any API object."""

    metadata: ObjectMeta | None


def need(value: T | None) -> T:
    """`value`, which the API server promises to be there."""
    if value is None:
        raise ValueError("the API server served an object without a required field")
    return value


def name_of(obj: HasMetadata) -> str:
    """metadata.name."""
    return need(need(obj.metadata).name)


def namespace_of(obj: HasMetadata) -> str:
    """metadata.namespace, empty for cluster-scoped objects."""
    return need(obj.metadata).namespace or ""


def uid_of(obj: HasMetadata) -> str:
    """metadata.uid."""
    return need(obj.metadata).uid or ""


def created_at(obj: HasMetadata) -> datetime:
    """metadata.creationTimestamp."""
    return need(need(obj.metadata).creationTimestamp)


def phase_of(pod: Pod) -> str:
    """status.phase; a pod without one has just been made."""
    return (pod.status.phase if pod.status else None) or "Pending"


def is_active(pod: Pod) -> bool:
    """Whether a pod still counts for its owner: neither ended nor on its way out."""
    return phase_of(pod) not in ("Succeeded", "Failed") and not is_deleting(pod)


def ready_condition(pod: Pod) -> PodCondition | None:
    """The pod's Ready condition."""
    return get_condition(pod.status.conditions, "Ready") if pod.status else None


def available_in(pod: Pod, min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until a ready pod counts as available: 0 when it does, None while it is not ready."""
    condition = ready_condition(pod)
    if condition is None or condition.status != "True":
        return None
    if min_ready_seconds == 0:
        return 0.0
    if condition.lastTransitionTime is None:
        return None
    return max(0.0, min_ready_seconds - (now - condition.lastTransitionTime).total_seconds())


def pod_reference(pod: Pod) -> ObjectReference:
    """The reference that endpoints carry."""
    return ObjectReference(kind="Pod", namespace=namespace_of(pod), name=name_of(pod), uid=uid_of(pod))
