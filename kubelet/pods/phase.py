"""The phase of a pod: a pure function of its spec and of its containers' statuses.

The rules are upstream's getPhase (pkg/kubelet/kubelet_pods.go).
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lightkube.models.core_v1 import ContainerState, ContainerStateTerminated, ContainerStatus, PodSpec

from kubelet.pods.actions import is_sidecar


@dataclass
class _Count:
    waiting: int = 0
    running: int = 0
    stopped: int = 0
    succeeded: int = 0


def compute_phase(spec: PodSpec, statuses: Iterable[ContainerStatus], *, terminal: bool = False) -> str:
    """``statuses``: of init and app containers. ``terminal``: nothing of the pod runs any more, nor will again."""
    known = {each.name: each for each in statuses}
    pending, failed = _regular_init(spec, known)
    if failed and spec.restartPolicy == "Never":
        return "Failed"
    count = _Count()
    sidecars_pending = _sidecars(spec, known, count)
    _apps(spec, known, count)
    if pending or (sidecars_pending and not any_app_began(spec, known)) or count.waiting:
        return "Pending"
    if count.running:
        return "Running"
    if not count.stopped:
        return "Pending"
    if terminal:
        return "Succeeded" if count.stopped == count.succeeded else "Failed"
    if spec.restartPolicy in (None, "Always"):
        return "Running"
    if count.stopped == count.succeeded:
        return "Succeeded"
    return "Failed" if spec.restartPolicy == "Never" else "Running"


def any_app_began(spec: PodSpec, known: Mapping[str, ContainerStatus]) -> bool:
    """Whether an app container runs or has run: the pod has been initialized then, whatever its sidecars do."""
    for container in spec.containers:
        status = known.get(container.name)
        if status is None:
            continue
        state, last = status.state or ContainerState(), status.lastState or ContainerState()
        if state.running or state.terminated or last.terminated:
            return True
    return False


def _regular_init(spec: PodSpec, known: Mapping[str, ContainerStatus]) -> tuple[int, int]:
    """How many init containers are still to finish, and how many have failed."""
    pending = failed = 0
    for container in spec.initContainers or ():
        if is_sidecar(container):
            continue
        status = known.get(container.name)
        ended = _ended(status) if status is not None else None
        if ended is None:
            pending += 1
        elif ended.exitCode != 0:
            failed += 1
    return pending, failed


def _sidecars(spec: PodSpec, known: Mapping[str, ContainerStatus], count: _Count) -> int:
    """How many sidecars have never started; those that run keep the pod running."""
    pending = 0
    for container in spec.initContainers or ():
        if not is_sidecar(container):
            continue
        status = known.get(container.name)
        state = (status.state if status else None) or ContainerState()
        if status is not None and state.running:
            pending += not status.started
            count.running += 1
        elif status is None or _ended(status) is None:
            pending += 1
            count.waiting += 1
    return pending


def _apps(spec: PodSpec, known: Mapping[str, ContainerStatus], count: _Count) -> None:
    for container in spec.containers:
        status = known.get(container.name)
        state = (status.state if status else None) or ContainerState()
        if state.running:
            count.running += 1
        elif status is None or _ended(status) is None:
            count.waiting += 1
        else:
            count.stopped += 1
            count.succeeded += state.terminated is not None and state.terminated.exitCode == 0


def _ended(status: ContainerStatus) -> ContainerStateTerminated | None:
    """How the container ended, also when it waits for its next run."""
    state, last = status.state or ContainerState(), status.lastState or ContainerState()
    return state.terminated or (None if state.running else last.terminated)
