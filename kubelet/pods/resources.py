"""What a pod's containers were promised, what they have, and what they want instead: pure functions of KEP-1287.

https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lightkube.models.core_v1 import Container, ContainerStatus, PodSpec, ResourceRequirements
from lightkube.resources.core_v1 import Pod

from common.api.meta import clone
from common.api.pods import amounts
from common.api.quantity import format_quantity
from kubelet.cgroups.values import MIN_SHARES
from kubelet.cri import Resources, RuntimeContainer
from kubelet.pods.actions import is_sidecar
from kubelet.pods.containers import resources as in_kernel_terms
from kubelet.pods.identity import spec_of
from kubelet.pods.observed import PodObservation
from kubelet.types import KubeletConfig

RESIZABLE = ("cpu", "memory")
Allocation = dict[str, dict[str, dict[str, str]]]
"""Container -> "requests" and "limits" -> cpu and memory, as they are written in a spec."""


@dataclass(frozen=True, slots=True)
class Step:
    """A running container that has something else than it was promised."""

    container: RuntimeContainer
    wanted: Resources
    restart: bool


def resizable(spec: PodSpec) -> Iterator[Container]:
    """Of init containers only those that stay."""
    yield from (container for container in spec.initContainers or () if is_sidecar(container))
    yield from spec.containers


def allocation_of(spec: PodSpec) -> Allocation:
    return {container.name: _compute(container.resources) for container in resizable(spec)}


def reported(pod: Pod) -> Allocation:
    """What an earlier run of the kubelet has said that the containers have."""
    status = pod.status
    statuses = [*(status.initContainerStatuses or ()), *(status.containerStatuses or ())] if status else []
    return {each.name: _compute(each.resources) for each in statuses if each.resources is not None}


def same(one: Allocation, other: Allocation) -> bool:
    return _parsed(one) == _parsed(other)


def with_allocation(pod: Pod, allocation: Mapping[str, Any]) -> Pod:
    """The pod as it was promised; what the allocation does not name stays as it is."""
    if all(
        same({c.name: _compute(c.resources)}, {c.name: allocation.get(c.name, _compute(c.resources))})
        for c in resizable(spec_of(pod))
    ):
        return pod
    copy = clone(pod)
    for container in resizable(spec_of(copy)):
        given = allocation.get(container.name)
        if given is not None:
            own = container.resources or ResourceRequirements()
            own.requests = _merged(own.requests, given.get("requests"))
            own.limits = _merged(own.limits, given.get("limits"))
            container.resources = own
    return copy


def steps(pod: Pod, observed: PodObservation, config: KubeletConfig) -> list[Step]:
    """What has to be done to containers that run, those that become smaller first."""
    spec, sandbox = spec_of(pod), observed.sandbox
    found = []
    for container in resizable(spec) if sandbox is not None and sandbox.running else ():
        latest = observed.latest_in_sandbox(container.name, sandbox.id) if sandbox is not None else None
        if latest is None or not latest.running:
            continue
        wanted = in_kernel_terms(spec, container, config.capacity.get("memory", 0), config.cpu_cfs_quota)
        cpu = (wanted.cpu_shares, wanted.cpu_quota) != (latest.resources.cpu_shares, latest.resources.cpu_quota)
        memory = wanted.memory_bytes != latest.resources.memory_bytes
        if latest.resources.cpu_shares and (cpu or memory):
            restart = (cpu and _restarts(container, "cpu")) or (memory and _restarts(container, "memory"))
            found.append(Step(latest, wanted, restart))
    return sorted(found, key=lambda step: step.wanted.memory_bytes - step.container.resources.memory_bytes)


def _restarts(container: Container, resource: str) -> bool:
    policies = container.resizePolicy or ()
    return any(each.resourceName == resource and each.restartPolicy == "RestartContainer" for each in policies)


def show(
    status: ContainerStatus, pod: Pod, container: Container, latest: RuntimeContainer | None, config: KubeletConfig
) -> None:
    """Says in a container's status what it was promised and what it has."""
    own = container.resources or ResourceRequirements()
    status.allocatedResources = dict(own.requests) if own.requests else None
    status.resources = ResourceRequirements(
        requests=dict(own.requests) if own.requests else None, limits=dict(own.limits) if own.limits else None
    )
    if latest is None or not latest.running or not latest.resources.cpu_shares:
        return
    actual = latest.resources
    wanted = in_kernel_terms(spec_of(pod), container, 0, config.cpu_cfs_quota)
    requests, limits = status.resources.requests or {}, status.resources.limits or {}
    if "cpu" in requests and actual.cpu_shares != wanted.cpu_shares and actual.cpu_shares > MIN_SHARES:
        requests["cpu"] = _milli(-(-actual.cpu_shares * 1000 // 1024))
    if "cpu" in limits and actual.cpu_quota != wanted.cpu_quota and actual.cpu_quota:
        limits["cpu"] = _milli(actual.cpu_quota * 1000 // actual.cpu_period)
    if "memory" in limits and actual.memory_bytes != wanted.memory_bytes and actual.memory_bytes:
        limits["memory"] = format_quantity(actual.memory_bytes, binary=True)


def _milli(amount: int) -> str:
    return format_quantity(Decimal(amount) / 1000)


def _compute(resources: ResourceRequirements | None) -> dict[str, dict[str, str]]:
    if resources is None:
        return {}
    parts = {"requests": resources.requests, "limits": resources.limits}
    return {
        name: {key: str(value) for key, value in part.items() if key in RESIZABLE}
        for name, part in parts.items()
        if part and any(key in RESIZABLE for key in part)
    }


def _merged(own: Any, given: Mapping[str, str] | None) -> Any:
    merged = {**{key: value for key, value in (own or {}).items() if key not in RESIZABLE}, **(given or {})}
    return merged or None


def _parsed(allocation: Allocation) -> dict[str, Any]:
    return {
        name: {part: amounts(values) for part, values in parts.items()} for name, parts in allocation.items() if parts
    }
