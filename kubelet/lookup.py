"""Which container logs, exec, attach and port-forward mean; upstream's words when there is none."""

from __future__ import annotations

from dataclasses import dataclass

from lightkube.models.core_v1 import ContainerStatus, PodStatus

from common.api.status import BadRequest, NotFound
from kubelet.pods.identity import PodIdentity, spec_of
from kubelet.pods.observed import PodObservation
from kubelet.pods.worker import PodWorker


@dataclass(frozen=True, slots=True)
class Lookup:
    identity: PodIdentity
    default_container: str
    known: frozenset[str]
    observed: PodObservation
    pod_status: PodStatus | None

    @classmethod
    def of(cls, worker: PodWorker | None, name: str = "") -> Lookup:
        """Raises NotFound."""
        if worker is None:
            raise NotFound(f'pod "{name}" does not exist')
        spec = spec_of(worker.pod)
        groups = (spec.initContainers, spec.containers, spec.ephemeralContainers)
        names = frozenset(container.name for group in groups for container in group or ())
        status = worker.status or worker.pod.status
        return cls(worker.identity, spec.containers[0].name, names, worker.observed, status)

    def status(self, container: str) -> ContainerStatus | None:
        status = self.pod_status or PodStatus()
        groups = (status.initContainerStatuses, status.containerStatuses, status.ephemeralContainerStatuses)
        statuses = (each for group in groups for each in group or ())
        return next((each for each in statuses if each.name == container), None)

    def for_logs(self, container: str, previous: bool) -> str:
        """The newest run of the container, or the one before it."""
        name = self._checked(container)
        history = self.observed.containers.get(name, ())
        if previous:
            status = self.status(name)
            ended = status.lastState.terminated if status and status.lastState else None
            if ended is None or not ended.containerID:
                raise BadRequest(f'previous terminated container "{name}" in pod "{self.identity.name}" not found')
            return str(ended.containerID).removeprefix("docker://")
        began = next((each for each in history if each.started is not None), None)
        if began is None:
            raise BadRequest(f'container "{name}" in pod "{self.identity.name}" is {self._why_not(name)}')
        return began.id

    def running(self, container: str) -> str:
        name = self._checked(container)
        latest = self.observed.latest(name)
        if latest is None or not latest.running:
            raise NotFound(f'container not found ("{name}")')
        return latest.id

    def sandbox_pid(self) -> int:
        sandbox = self.observed.sandbox
        if sandbox is None or not sandbox.running:
            raise NotFound(f'pod "{self.identity.name}" has no running sandbox')
        return sandbox.pid

    def _checked(self, container: str) -> str:
        name = container or self.default_container
        if name not in self.known:
            raise BadRequest(f"container {name} is not valid for pod {self.identity.name}")
        return name

    def _why_not(self, name: str) -> str:
        status = self.status(name)
        state = status.state if status else None
        if state is not None and state.waiting is not None:
            reason = state.waiting.reason or ""
            if reason in ("ErrImagePull", "ImagePullBackOff"):
                return "waiting to start: trying and failing to pull image"
            return f"waiting to start: {reason}"
        return "not available"
