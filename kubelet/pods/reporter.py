"""What is reported of a pod: gathers what the pure status function needs, and keeps the newest status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime

from lightkube.models.core_v1 import Container, PodCondition, PodStatus
from lightkube.resources.core_v1 import Pod

from common.api.meta import clone
from common.api.time import now
from kubelet.cri import ContainerState, RuntimeContainer, RuntimeFailure
from kubelet.pods.conditions import CONDITIONS, DISRUPTION
from kubelet.pods.files import PodDirectory
from kubelet.pods.identity import find_container, identity_of, spec_of
from kubelet.pods.observed import PodObservation
from kubelet.pods.resources import resizable, show
from kubelet.pods.status import Findings, Waiting, build_status, rejected_status
from kubelet.pods.tools import Tools
from kubelet.types import Ending

FALLBACK_LINES, FALLBACK_BYTES = 80, 2048


class Reporter:
    def __init__(self, pod: Pod, tools: Tools, directory: PodDirectory) -> None:
        self.pod = pod
        self.status: PodStatus | None = None
        self.pod_ips: tuple[str, ...] = ()
        self.resize: str | None = None
        self.before = _ids_before(pod.status)
        """Ids of the containers that an earlier run of the kubelet had found ready, and of those found started."""
        self._tools = tools
        self._directory = directory
        self._known_messages: dict[str, str] = {}
        if pod.status is not None and pod.status.podIP:
            self.pod_ips = (pod.status.podIP,)

    async def find_ip(self) -> None:
        """Also of a sandbox that an earlier run of the kubelet made."""
        if spec_of(self.pod).hostNetwork:
            self.pod_ips = self._tools.host_ips()
            return
        address = await self._tools.network.pod_ip(identity_of(self.pod).uid)
        if address:
            self.pod_ips = (address,)

    async def compute(
        self,
        observed: PodObservation,
        waiting: Mapping[str, Waiting],
        ready: frozenset[str],
        started: frozenset[str],
        terminating: bool,
        failure: Ending | None,
    ) -> PodStatus:
        messages = await self._messages(observed)
        found = Findings(
            now=now(),
            waiting=waiting,
            ready=ready,
            started=started,
            messages=messages,
            pod_ips=self.pod_ips,
            host_ips=self._tools.host_ips(),
            terminating=terminating,
            resize=self.resize,
            recursive_read_only=self._tools.config.recursive_read_only,
        )
        pod = clone(self.pod)
        pod.status = self._base()
        if failure is not None:
            pod.status.phase, pod.status.reason, pod.status.message = "Failed", failure.reason, failure.message
            if failure.disruption:
                pod.status.conditions = with_disruption(pod.status.conditions or (), failure.disruption, found.now)
        self.status = build_status(pod, observed, found)
        self._show_resources(self.status, observed)
        return self.status

    def _show_resources(self, status: PodStatus, observed: PodObservation) -> None:
        spec = spec_of(self.pod)
        statuses = {
            each.name: each for each in (*(status.initContainerStatuses or ()), *(status.containerStatuses or ()))
        }
        for container in resizable(spec):
            shown = statuses.get(container.name)
            if shown is not None:
                show(shown, self.pod, container, observed.latest(container.name), self._tools.config)

    def reject(self, reason: str, message: str) -> PodStatus:
        """The status of a pod that this node does not take."""
        self.status = rejected_status(self.pod, reason, message, now())
        return self.status

    def _base(self) -> PodStatus:
        """The newest status of our own, with the conditions that others have set since."""
        known = self.pod.status or PodStatus()
        if self.status is None:
            return clone(known)
        base = clone(self.status)
        own = [condition for condition in base.conditions or () if condition.type in CONDITIONS]
        others: list[PodCondition] = [c for c in known.conditions or () if c.type not in CONDITIONS]
        if not any(condition.type == DISRUPTION for condition in others):
            others += [condition for condition in base.conditions or () if condition.type == DISRUPTION]
        base.conditions = own + others
        return base

    async def _messages(self, observed: PodObservation) -> dict[str, str]:
        """Termination messages of what has ended: from the file that the container had, or the end of its log."""
        result = {}
        for history in observed.containers.values():
            for ended in history[:2]:
                container = find_container(spec_of(self.pod), ended.name)
                if ended.state is not ContainerState.EXITED or container is None:
                    continue
                if ended.id not in self._known_messages:
                    self._known_messages[ended.id] = await self._message(container, ended)
                result[ended.id] = self._known_messages[ended.id]
        self._known_messages = dict(result)
        return result

    async def _message(self, container: Container, ended: RuntimeContainer) -> str:
        text = await asyncio.to_thread(self._directory.termination_message, container.name, ended.attempt)
        if text or ended.exit_code == 0 or container.terminationMessagePolicy != "FallbackToLogsOnError":
            return text
        try:
            last = bytearray()  # lines may be long: only their end is kept
            async for _, data in self._tools.runtime.logs(ended.id, tail=FALLBACK_LINES):
                last += data
                del last[:-FALLBACK_BYTES]
            return last.decode(errors="replace")
        except RuntimeFailure as error:
            return f"Error on reading termination message from logs: {error}"


def with_disruption(conditions: Iterable[PodCondition], message: str, at: datetime) -> list[PodCondition]:
    """https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions"""
    kept = [condition for condition in conditions if condition.type != DISRUPTION]
    added = PodCondition(type=DISRUPTION, status="True", reason="TerminationByKubelet", message=message)
    added.lastTransitionTime = at
    return [*kept, added]


def _ids_before(status: PodStatus | None) -> tuple[frozenset[str], frozenset[str]]:
    groups = (status.initContainerStatuses, status.containerStatuses) if status else ()
    known = [(each, each.containerID.removeprefix("docker://")) for g in groups for each in g or () if each.containerID]
    return frozenset(i for each, i in known if each.ready), frozenset(i for each, i in known if each.started)
