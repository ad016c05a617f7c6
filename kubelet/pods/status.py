"""The status of a pod: a pure function of its spec, what the runtime shows, and what the node found out.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lightkube.models.core_v1 import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    HostIP,
    PodCondition,
    PodIP,
    PodSpec,
    PodStatus,
)
from lightkube.resources.core_v1 import Pod

from common.api.conditions import get_condition, is_true
from common.api.pods import qos_class
from kubelet.pods.actions import is_sidecar, should_restart
from kubelet.pods.identity import as_container, spec_of
from kubelet.pods.observed import PodObservation
from kubelet.types import ContainerState as RuntimeState
from kubelet.types import RuntimeContainer

CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run, of what the runtime cannot know."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the node found out, beside what the runtime shows."""

    now: datetime
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    """By container name."""
    ready: frozenset[str] = frozenset()
    """Ids of running containers whose readiness (if they have a probe) is given."""
    started: frozenset[str] = frozenset()
    """Ids of running containers that have started: their startup probe succeeded, or they have none."""
    messages: Mapping[str, str] = field(default_factory=dict)
    """Termination messages by container id."""
    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    terminating: bool = False
    """The pod is being ended: its containers are not started again."""


def build_status(pod: Pod, observed: PodObservation, found: Findings) -> PodStatus:
    spec, old = spec_of(pod), pod.status or PodStatus()
    init = [_container_status(c, pod, observed, found, init=True) for c in spec.initContainers or ()]
    apps = [_container_status(c, pod, observed, found, init=False) for c in spec.containers]
    ephemeral = [
        _container_status(as_container(c), pod, observed, found, init=False) for c in spec.ephemeralContainers or ()
    ]
    for status_ in ephemeral:  # nothing probes them, and nothing waits for them
        status_.ready, status_.started = False, None
    ended = found.terminating and not observed.running()
    phase = compute_phase("Never" if ended else spec.restartPolicy, spec, init, apps)
    if old.phase in ("Succeeded", "Failed"):
        phase = old.phase
    status = PodStatus(
        phase=phase,
        reason=old.reason,
        message=old.message,
        startTime=old.startTime or found.now,
        qosClass=old.qosClass or qos_class(spec),
        hostIP=found.host_ips[0] if found.host_ips else None,
        hostIPs=[HostIP(ip=ip) for ip in found.host_ips] or None,
        podIP=found.pod_ips[0] if found.pod_ips else None,
        podIPs=[PodIP(ip=ip) for ip in found.pod_ips] or None,
        initContainerStatuses=init or None,
        containerStatuses=apps,
        ephemeralContainerStatuses=ephemeral or None,
    )
    status.conditions = _conditions(pod, status, observed, found.now)
    return status


def _container_status(
    container: Container, pod: Pod, observed: PodObservation, found: Findings, *, init: bool
) -> ContainerStatus:
    spec = spec_of(pod)
    history = observed.containers.get(container.name, ())
    latest = history[0] if history else None
    old = _old_status(pod, container.name)
    if latest is None and old is not None and old.state is not None and old.state.terminated is not None:
        return old  # its container has been removed: what was known of it stays true
    state, last = _state(spec, latest, found, waiting_default(spec, observed, init)), None
    if len(history) > 1:
        last = ContainerState(terminated=_terminated(history[1], found))
    elif old is not None and latest is not None and old.restartCount == latest.attempt:
        last = old.lastState
    waiting = found.waiting.get(container.name)
    again = is_sidecar(container) or should_restart(spec, latest)  # else it is over, however it came to be
    if waiting is not None and state.running is None and again:
        if state.terminated is not None:
            last = state
        state = ContainerState(waiting=ContainerStateWaiting(reason=waiting.reason, message=waiting.message or None))
    running = latest is not None and state.running is not None
    done = init and not is_sidecar(container) and state.terminated is not None and state.terminated.exitCode == 0
    return ContainerStatus(
        name=container.name,
        image=container.image or "",
        imageID=(latest.image_ref or f"docker://{latest.image_id}") if latest else "",
        containerID=f"docker://{latest.id}" if latest else None,
        restartCount=latest.attempt if latest else (old.restartCount if old else 0),
        ready=done or (running and latest is not None and latest.id in found.ready),
        started=running and latest is not None and latest.id in found.started,
        state=state,
        lastState=last or ContainerState(),
    )


def waiting_default(spec: PodSpec, observed: PodObservation, init: bool) -> str:
    """Upstream: PodInitializing once there is a sandbox and init containers are in front."""
    return "PodInitializing" if spec.initContainers and (not init or observed.containers) else "ContainerCreating"


def _old_status(pod: Pod, name: str) -> ContainerStatus | None:
    status = pod.status
    if status is None:
        return None
    groups = (status.initContainerStatuses, status.containerStatuses, status.ephemeralContainerStatuses)
    statuses = [each for group in groups for each in group or ()]
    return next((each for each in statuses if each.name == name), None)


def _state(spec: PodSpec, latest: RuntimeContainer | None, found: Findings, default: str) -> ContainerState:
    if latest is not None and latest.running:
        return ContainerState(running=ContainerStateRunning(startedAt=_seconds(latest.started)))
    if latest is not None and latest.state is RuntimeState.EXITED:
        return ContainerState(terminated=_terminated(latest, found))
    return ContainerState(waiting=ContainerStateWaiting(reason=default))


def _terminated(container: RuntimeContainer, found: Findings) -> ContainerStateTerminated:
    return ContainerStateTerminated(
        exitCode=container.exit_code if container.state is RuntimeState.EXITED else 137,
        reason=termination_reason(container),
        message=found.messages.get(container.id) or container.error or None,
        startedAt=_seconds(container.started),
        finishedAt=_seconds(container.finished),
        containerID=f"docker://{container.id}",
    )


def termination_reason(container: RuntimeContainer) -> str:
    if container.oom_killed:
        return "OOMKilled"
    if container.started is None and container.error:
        return "StartError"
    return "Completed" if container.exit_code == 0 else "Error"


def _seconds(time: datetime | None) -> datetime | None:
    return time.replace(microsecond=0) if time else None


def compute_phase(
    policy: str | None, spec: PodSpec, init: Iterable[ContainerStatus], apps: Iterable[ContainerStatus]
) -> str:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase"""
    pending, failed = _count_init(policy, spec, init)
    if failed and policy == "Never":
        return "Failed"
    waiting = running = stopped = succeeded = 0
    for status in apps:
        state, last = status.state or ContainerState(), status.lastState or ContainerState()
        ended = state.terminated or (last.terminated if not state.running else None)
        if state.running:
            running += 1
        elif ended:
            stopped += 1
            succeeded += ended.exitCode == 0
        else:
            waiting += 1
    if pending or waiting:
        return "Pending"
    if running or policy in (None, "Always"):
        return "Running"
    if stopped == succeeded:
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _count_init(policy: str | None, spec: PodSpec, statuses: Iterable[ContainerStatus]) -> tuple[int, int]:
    """How many init containers are still to finish, and how many have failed."""
    sidecars = {container.name for container in spec.initContainers or () if is_sidecar(container)}
    pending = failed = 0
    for status in statuses:
        state, last = status.state or ContainerState(), status.lastState or ContainerState()
        if status.name in sidecars:
            pending += not (state.terminated or last.terminated or (state.running and status.started))
            continue
        ended = state.terminated or (last.terminated if state.waiting else None)
        if ended is None:
            pending += 1
        elif ended.exitCode != 0:
            failed += 1
            pending += policy != "Never"
    return pending, failed


def _conditions(pod: Pod, status: PodStatus, observed: PodObservation, now: datetime) -> list[PodCondition]:
    """The kubelet's own conditions first; those of others stay as they are."""
    old = list(pod.status.conditions or ()) if pod.status else []
    new = [
        _ready_to_start(observed, status),
        _initialized(spec_of(pod), status),
        _ready(pod, status),
        _containers_ready(status),
    ]
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


def _initialized(spec: PodSpec, status: PodStatus) -> PodCondition:
    sidecars = {container.name for container in spec.initContainers or () if is_sidecar(container)}
    incomplete = [
        each.name
        for each in status.initContainerStatuses or ()
        if not (each.started if each.name in sidecars else each.ready)
    ]
    if status.phase == "Succeeded":
        return PodCondition(type="Initialized", status="True", reason="PodCompleted")
    if not incomplete or _any_began(status):
        return PodCondition(type="Initialized", status="True")
    message = f"containers with incomplete status: [{' '.join(incomplete)}]"
    return PodCondition(type="Initialized", status="False", reason="ContainersNotInitialized", message=message)


def _any_began(status: PodStatus) -> bool:
    return any(each.containerID for each in status.containerStatuses or ())


def _containers_ready(status: PodStatus) -> PodCondition:
    return _containers_condition("ContainersReady", status)


def _containers_condition(kind: str, status: PodStatus) -> PodCondition:
    if status.phase == "Succeeded":
        return PodCondition(type=kind, status="False", reason="PodCompleted")
    if status.phase == "Failed":
        return PodCondition(type=kind, status="False", reason="PodFailed")
    unready = [each.name for each in status.containerStatuses or () if not each.ready]
    if not unready:
        return PodCondition(type=kind, status="True")
    message = f"containers with unready status: [{' '.join(unready)}]"
    return PodCondition(type=kind, status="False", reason="ContainersNotReady", message=message)


def _ready(pod: Pod, status: PodStatus) -> PodCondition:
    condition = _containers_condition("Ready", status)
    if condition.status != "True":
        return condition
    old = pod.status.conditions if pod.status else None
    problems = []
    for gate in spec_of(pod).readinessGates or ():
        found = get_condition(old, gate.conditionType)
        if found is None:
            problems.append(f'corresponding condition of pod readiness gate "{gate.conditionType}" does not exist.')
        elif not is_true(old, gate.conditionType):
            problems.append(
                f'the status of pod readiness gate "{gate.conditionType}" is not "True", but {found.status}'
            )
    if problems:
        return PodCondition(type="Ready", status="False", reason="ReadinessGatesNotReady", message=", ".join(problems))
    return condition
