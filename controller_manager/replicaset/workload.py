"""What ReplicaSet and ReplicationController differ in; all else of their control loop is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightkube.models.apps_v1 import ReplicaSetCondition, ReplicaSetStatus
from lightkube.models.core_v1 import PodTemplateSpec, ReplicationControllerCondition, ReplicationControllerStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import ReplicaSet
from lightkube.resources.core_v1 import Pod, ReplicationController

from common.api.conditions import get_condition
from common.api.meta import clone, owner_ref
from common.api.names import is_dns1123_subdomain
from common.api.selectors import Selector, label_selector_from, selector_of_map
from controller_manager.objects import name_of, namespace_of, need
from controller_manager.replicaset.status import Counts, Failure

REPLICA_FAILURE = "ReplicaFailure"


@dataclass(frozen=True)
class Workload:
    """A kind that keeps a number of pods."""

    name: str
    component: str
    kind: Any
    selector: Callable[[Any], Selector]
    status: Any
    condition: Any


def _replica_set_selector(obj: Any) -> Selector:
    return label_selector_from(obj.spec.selector)


def _replication_controller_selector(obj: Any) -> Selector:
    return selector_of_map(obj.spec.selector)


REPLICA_SET = Workload(
    "replicaset", "replicaset-controller", ReplicaSet, _replica_set_selector, ReplicaSetStatus, ReplicaSetCondition
)
REPLICATION_CONTROLLER = Workload(
    "replicationcontroller",
    "replication-controller",
    ReplicationController,
    _replication_controller_selector,
    ReplicationControllerStatus,
    ReplicationControllerCondition,
)


def replicas_of(obj: Any) -> int:
    """spec.replicas, which the server defaults to 1."""
    replicas: int | None = obj.spec.replicas
    return 1 if replicas is None else replicas


def new_pod(owner: Any) -> Pod:
    """A pod from the owner's template."""
    template: PodTemplateSpec = clone(need(owner.spec.template))
    meta = template.metadata or ObjectMeta()
    prefix = f"{name_of(owner)}-"
    return Pod(
        metadata=ObjectMeta(
            generateName=name_of(owner) if is_dns1123_subdomain(prefix + "x") else prefix,
            namespace=namespace_of(owner),
            labels=meta.labels,
            annotations=meta.annotations,
            finalizers=meta.finalizers,
            ownerReferences=[owner_ref(owner)],
        ),
        spec=template.spec,
    )


def failure_of(obj: Any) -> Failure | None:
    """The ReplicaFailure condition as it stands."""
    condition = get_condition(obj.status.conditions if obj.status else None, REPLICA_FAILURE)
    if condition is None:
        return None
    return Failure(condition.reason or "", condition.message or "", condition.lastTransitionTime)


def counts_of(obj: Any) -> Counts:
    """The status as it stands."""
    status = obj.status
    if status is None:
        return Counts()
    return Counts(
        replicas=status.replicas or 0,
        fully_labeled=status.fullyLabeledReplicas or 0,
        ready=status.readyReplicas or 0,
        available=status.availableReplicas or 0,
        observed_generation=status.observedGeneration or 0,
        failure=failure_of(obj),
    )


def with_status(workload: Workload, obj: Any, counts: Counts) -> Any:
    """A copy of the object with this status; conditions that are not ours are kept."""
    changed = clone(obj)
    conditions = [c for c in (obj.status.conditions if obj.status else None) or () if c.type != REPLICA_FAILURE]
    if failure := counts.failure:
        conditions.append(
            workload.condition(
                type=REPLICA_FAILURE,
                status="True",
                reason=failure.reason,
                message=failure.message,
                lastTransitionTime=failure.since,
            )
        )
    changed.status = workload.status(
        replicas=counts.replicas,
        fullyLabeledReplicas=counts.fully_labeled,
        readyReplicas=counts.ready,
        availableReplicas=counts.available,
        observedGeneration=counts.observed_generation,
        conditions=conditions or None,
    )
    return changed
