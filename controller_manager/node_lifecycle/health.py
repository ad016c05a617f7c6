"""Whether a node still reports, and what its conditions say when it does not. Pure.

https://kubernetes.io/docs/concepts/architecture/nodes/#node-heartbeats

A node reports by its Lease or its status. Only the controller's own clock counts: a node is silent when neither of the
two has changed for the grace period, whatever times they carry.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightkube.models.core_v1 import NodeCondition
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod

from common.api.conditions import get_condition
from common.api.time import now

WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
NEVER_UPDATED = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
UNKNOWN = ("NodeStatusUnknown", "Kubelet stopped posting node status.")


@dataclass(frozen=True, slots=True)
class Observation:
    """What was last seen of a node, and when (monotonic seconds) it last gave a sign of life."""

    heartbeat: object
    alive_at: float


def heartbeat(node: Node, lease: Lease | None) -> object:
    """All that a living node changes: any difference is a sign of life."""
    conditions = (node.status and node.status.conditions) or ()
    reported = tuple((c.type, c.lastHeartbeatTime) for c in conditions if c.status != "Unknown")
    return reported, lease.spec.renewTime if lease and lease.spec else None


def observe(old: Observation | None, node: Node, lease: Lease | None, time: float) -> Observation:
    """The observation after a look at the node."""
    seen = heartbeat(node, lease)
    if old is not None and old.heartbeat == seen:
        return old
    return Observation(seen, time)


def ready_status(node: Node) -> str:
    """True, False or Unknown; Unknown as well when the node has never said."""
    condition = get_condition(node.status.conditions if node.status else None, "Ready")
    return condition.status if condition else "Unknown"


def has_reported(node: Node) -> bool:
    """Whether the node has ever posted its Ready condition."""
    return get_condition(node.status.conditions if node.status else None, "Ready") is not None


def silent_conditions(node: Node) -> list[NodeCondition] | None:
    """The conditions of a silent node, None when they say so already."""
    conditions = list((node.status and node.status.conditions) or ())
    changed, present = False, now()
    for type_ in WATCHED:
        current = get_condition(conditions, type_)
        if current is None:
            reason, message = NEVER_UPDATED
            conditions.append(_unknown(type_, reason, message, node.metadata and node.metadata.creationTimestamp))
            changed = True
        elif current.status != "Unknown":
            reason, message = UNKNOWN
            unknown = _unknown(type_, reason, message, current.lastHeartbeatTime)
            unknown.lastTransitionTime = present
            conditions[conditions.index(current)] = unknown
            changed = True
    return conditions if changed else None


def _unknown(type_: str, reason: str, message: str, beat: object) -> NodeCondition:
    return NodeCondition(
        type=type_,
        status="Unknown",
        reason=reason,
        message=message,
        lastHeartbeatTime=beat,  # type: ignore[arg-type]
        lastTransitionTime=now(),
    )


def not_ready_patch(pod: Pod) -> dict[str, object] | None:
    """The patch that takes a pod of a silent node out of its services, None when it is not ready anyway."""
    condition = get_condition(pod.status.conditions if pod.status else None, "Ready")
    if condition is None or condition.status != "True":
        return None
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": now().strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {"metadata": {"uid": pod.metadata.uid if pod.metadata else None}, "status": {"conditions": [ready]}}
