"""The conditions of a pod that the kubelet answers for: pure functions, in upstream's words.

The rules are upstream's pkg/kubelet/status/generate.go.
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from lightkube.models.core_v1 import ContainerStatus, PodCondition, PodSpec, PodStatus
from lightkube.resources.core_v1 import Pod

from common.api.conditions import get_condition
from kubelet.pods.actions import is_sidecar
from kubelet.pods.identity import spec_of
from kubelet.pods.observed import PodObservation
from kubelet.pods.phase import any_app_began

DISRUPTION = "DisruptionTarget"
"""Of the node's own when it ends a pod, and of others: the scheduler's, an eviction's through the API."""
CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")


def build_conditions(pod: Pod, status: PodStatus, observed: PodObservation, now: datetime) -> list[PodCondition]:
    """The kubelet's own first; those of others stay as they are. The time of a transition is kept while the condition
    says the same."""
    old = list(pod.status.conditions or ()) if pod.status else []
    spec = spec_of(pod)
    known = {each.name: each for each in [*(status.initContainerStatuses or ()), *(status.containerStatuses or ())]}
    ready = _containers_ready(spec, status, known)
    new = [_ready_to_start(observed, status), _initialized(spec, status, known), _ready(spec, ready, old), ready]
    kept = [condition for condition in old if condition.type not in CONDITIONS]
    if not any(condition.type == "PodScheduled" for condition in kept):
        new.append(PodCondition(type="PodScheduled", status="True"))
    for condition in new:
        previous = get_condition(old, condition.type)
        same = previous is not None and previous.status == condition.status
        condition.lastTransitionTime = previous.lastTransitionTime if previous is not None and same else now
    return [*new, *kept]


def _ready_to_start(observed: PodObservation, status: PodStatus) -> PodCondition:
    given = observed.sandbox is not None and observed.sandbox.running and bool(status.podIP)
    return PodCondition(type="PodReadyToStartContainers", status=str(given))


def _initialized(spec: PodSpec, status: PodStatus, known: Mapping[str, ContainerStatus]) -> PodCondition:
    incomplete = []
    for container in spec.initContainers or ():
        found = known[container.name]
        if not (found.started if is_sidecar(container) else found.ready):
            incomplete.append(container.name)
    if status.phase == "Succeeded":
        return PodCondition(type="Initialized", status="True", reason="PodCompleted")
    if not incomplete or any_app_began(spec, known):
        return PodCondition(type="Initialized", status="True")
    message = f"containers with incomplete status: [{' '.join(incomplete)}]"
    return PodCondition(type="Initialized", status="False", reason="ContainersNotInitialized", message=message)


def _containers_ready(spec: PodSpec, status: PodStatus, known: Mapping[str, ContainerStatus]) -> PodCondition:
    """Of the app containers and of the sidecars."""
    kind = "ContainersReady"
    if status.phase == "Succeeded":
        return PodCondition(type=kind, status="False", reason="PodCompleted")
    if status.phase == "Failed":
        return PodCondition(type=kind, status="False", reason="PodFailed")
    sidecars = [container for container in spec.initContainers or () if is_sidecar(container)]
    unready = [each.name for each in (*sidecars, *spec.containers) if not known[each.name].ready]
    if not unready:
        return PodCondition(type=kind, status="True")
    message = f"containers with unready status: [{' '.join(unready)}]"
    return PodCondition(type=kind, status="False", reason="ContainersNotReady", message=message)


def _ready(spec: PodSpec, containers: PodCondition, old: list[PodCondition]) -> PodCondition:
    """As the containers are, and what the pod's readiness gates name must be true."""
    if containers.status != "True":
        return PodCondition(
            type="Ready", status=containers.status, reason=containers.reason, message=containers.message
        )
    problems = []
    for gate in spec.readinessGates or ():
        found = get_condition(old, gate.conditionType)
        if found is None:
            problems.append(f'corresponding condition of pod readiness gate "{gate.conditionType}" does not exist.')
        elif found.status != "True":
            problems.append(
                f'the status of pod readiness gate "{gate.conditionType}" is not "True", but {found.status}'
            )
    if problems:
        return PodCondition(type="Ready", status="False", reason="ReadinessGatesNotReady", message=", ".join(problems))
    return PodCondition(type="Ready", status="True")
