"""The status of a pod: a pure function of its spec, what the runtime shows, and what the node found out.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Mapping
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
    PodIP,
    PodSpec,
    PodStatus,
    VolumeMount,
    VolumeMountStatus,
)
from lightkube.resources.core_v1 import Pod

from common.api.meta import is_deleting
from common.api.pods import qos_class
from kubelet.cri import ContainerState as RuntimeState
from kubelet.cri import RuntimeContainer
from kubelet.pods.actions import is_sidecar, should_restart
from kubelet.pods.conditions import CONDITIONS, build_conditions
from kubelet.pods.identity import as_container, spec_of, wants_recursive_read_only
from kubelet.pods.observed import PodObservation
from kubelet.pods.phase import compute_phase

__all__ = ["CONDITIONS", "Findings", "Waiting", "build_status", "rejected_status", "termination_reason"]

MAX_MESSAGES = 12 * 1024
"""Characters of termination messages in one pod: each container has an equal part of it."""
KILLED = 137
"""The exit code of what SIGKILL ended, and of what nobody knows how it ended."""


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
    resize: str | None = None
    """How far a change of its resources has come."""
    recursive_read_only: bool = False
    """Mounts can be read-only with all that is mounted within."""


def build_status(pod: Pod, observed: PodObservation, found: Findings) -> PodStatus:
    spec, old = spec_of(pod), pod.status or PodStatus()
    init = [_container_status(c, pod, observed, found, init=True) for c in spec.initContainers or ()]
    apps = [_container_status(c, pod, observed, found, init=False) for c in spec.containers]
    ephemeral = [
        _container_status(as_container(c), pod, observed, found, init=False) for c in spec.ephemeralContainers or ()
    ]
    for status_ in ephemeral:  # nothing probes them, and nothing waits for them
        status_.ready, status_.started = False, None
    _bound_messages([*init, *apps, *ephemeral])
    phase = compute_phase(spec, [*init, *apps], terminal=found.terminating and not observed.running())
    if old.phase in ("Succeeded", "Failed"):
        phase = old.phase
    status = PodStatus(
        phase=phase,
        reason=old.reason,
        message=old.message,
        startTime=old.startTime or found.now,
        qosClass=old.qosClass or qos_class(spec),
        resize=found.resize,
        hostIP=found.host_ips[0] if found.host_ips else None,
        hostIPs=[HostIP(ip=ip) for ip in found.host_ips] or None,
        podIP=found.pod_ips[0] if found.pod_ips else None,
        podIPs=[PodIP(ip=ip) for ip in found.pod_ips] or None,
        initContainerStatuses=init or None,
        containerStatuses=sorted(apps, key=_by_name),
        ephemeralContainerStatuses=sorted(ephemeral, key=_by_name) or None,
    )
    status.conditions = build_conditions(pod, status, observed, found.now)
    return status


def rejected_status(pod: Pod, reason: str, message: str, now: datetime) -> PodStatus:
    """Of a pod that this node does not take: nothing is said of its containers, and only others' conditions stay."""
    old = pod.status or PodStatus()
    own = (*CONDITIONS, "PodScheduled")
    return PodStatus(
        phase="Failed",
        reason=reason,
        message=message,
        startTime=old.startTime or now,
        qosClass=old.qosClass or qos_class(spec_of(pod)),
        conditions=[condition for condition in old.conditions or () if condition.type not in own] or None,
    )


def _by_name(status: ContainerStatus) -> str:
    return status.name


def _bound_messages(statuses: list[ContainerStatus]) -> None:
    """A status must not grow with what its containers write. Upstream's bound is of the pod."""
    bound = MAX_MESSAGES // len(statuses)
    for status in statuses:
        for state in (status.state, status.lastState):
            if state is not None and state.terminated is not None and state.terminated.message:
                state.terminated.message = state.terminated.message[:bound]


def _container_status(
    container: Container, pod: Pod, observed: PodObservation, found: Findings, *, init: bool
) -> ContainerStatus:
    history = observed.containers.get(container.name, ())
    if not history:
        return _without_runtime(container, pod, found)
    latest, old = history[0], _old_status(pod, container.name)
    state, last = _state(spec_of(pod), latest, found), None
    if len(history) > 1:
        last = ContainerState(terminated=_terminated(history[1], found))
    elif old is not None and old.restartCount == latest.attempt:
        last = old.lastState
    elif old is not None and old.restartCount == latest.attempt - 1 and old.state and old.state.terminated:
        last = old.state  # the one before has been removed: what was known of it stays true
    waiting = found.waiting.get(container.name)
    again = not found.terminating and (is_sidecar(container) or should_restart(spec_of(pod), latest))
    if waiting is not None and state.running is None and (again or state.terminated is None):
        last = state if state.terminated is not None else last
        state = _waiting(waiting)
    running = state.running is not None
    if init and not is_sidecar(container):
        ready = state.terminated is not None and state.terminated.exitCode == 0
    else:
        ready = running and latest.id in found.ready
    return ContainerStatus(
        name=container.name,
        image=container.image or "",
        imageID=latest.image_ref or f"docker://{latest.image_id}",
        containerID=f"docker://{latest.id}",
        restartCount=latest.attempt,
        ready=ready,
        started=running and latest.id in found.started,
        state=state,
        lastState=last or ContainerState(),
        volumeMounts=_volume_mounts(container, found),
    )


def _without_runtime(container: Container, pod: Pod, found: Findings) -> ContainerStatus:
    """Of a container that was not made yet, or that somebody has removed: what was known of it stays true."""
    old = _old_status(pod, container.name)
    if old is not None and old.state is not None and old.state.terminated is not None:
        return old
    restarts, last = (old.restartCount, old.lastState) if old is not None else (0, None)
    waiting = found.waiting.get(container.name)
    if waiting is None and old is not None and old.state is not None and old.state.running is not None:
        text = "The container could not be located when the pod was deleted.  The container used to be Running"
        unknown = ContainerStateTerminated(exitCode=KILLED, reason="ContainerStatusUnknown", message=text)
        last = ContainerState(terminated=unknown)
        restarts += not is_deleting(pod)
    return ContainerStatus(
        name=container.name,
        image=container.image or "",
        imageID="",
        restartCount=restarts,
        ready=False,
        started=False,
        state=_waiting(waiting or Waiting(waiting_default(spec_of(pod)))),
        lastState=last or ContainerState(),
        volumeMounts=_volume_mounts(container, found),
    )


def _volume_mounts(container: Container, found: Findings) -> list[VolumeMountStatus] | None:
    """What the container mounts, and whether read-only goes for mounts within too."""

    def recursive(mount: VolumeMount) -> str | None:
        if not mount.readOnly:
            return None
        return "Enabled" if found.recursive_read_only and wants_recursive_read_only(mount) else "Disabled"

    mounts = [
        VolumeMountStatus(
            name=mount.name,
            mountPath=mount.mountPath,
            readOnly=mount.readOnly,
            recursiveReadOnly=recursive(mount),
        )
        for mount in container.volumeMounts or ()
    ]
    return mounts or None


def _waiting(waiting: Waiting) -> ContainerState:
    return ContainerState(waiting=ContainerStateWaiting(reason=waiting.reason, message=waiting.message or None))


def waiting_default(spec: PodSpec) -> str:
    return "PodInitializing" if spec.initContainers else "ContainerCreating"


def _old_status(pod: Pod, name: str) -> ContainerStatus | None:
    status = pod.status
    if status is None:
        return None
    groups = (status.initContainerStatuses, status.containerStatuses, status.ephemeralContainerStatuses)
    statuses = [each for group in groups for each in group or ()]
    return next((each for each in statuses if each.name == name), None)


def _state(spec: PodSpec, latest: RuntimeContainer, found: Findings) -> ContainerState:
    if latest.running:
        return ContainerState(running=ContainerStateRunning(startedAt=_seconds(latest.started)))
    if latest.state is RuntimeState.EXITED:
        return ContainerState(terminated=_terminated(latest, found))
    return _waiting(Waiting(waiting_default(spec)))


def _terminated(container: RuntimeContainer, found: Findings) -> ContainerStateTerminated:
    return ContainerStateTerminated(
        exitCode=container.exit_code if container.state is RuntimeState.EXITED else KILLED,
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
