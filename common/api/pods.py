"""What several processes ask of a Pod: is it ready, is it over, what does it request, which QoS class is it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightkube.models.core_v1 import Container, PodSpec

from common.api.conditions import is_true
from common.api.quantity import parse_bytes, parse_cpu_milli

Amounts = dict[str, int]
"""Resource name -> amount: millicores for cpu, whole units (bytes, pieces) for the rest."""


def is_ready(pod: Any) -> bool:
    return pod.status is not None and is_true(pod.status.conditions, "Ready")


def is_terminal(pod: Any) -> bool:
    """Succeeded or Failed: its containers will not run again."""
    return pod.status is not None and pod.status.phase in ("Succeeded", "Failed")


def amounts(resources: Mapping[str, str | int] | None) -> Amounts:
    """Quantities by resource name -> amounts."""
    return {n: parse_cpu_milli(q) if n == "cpu" else parse_bytes(q) for n, q in (resources or {}).items()}


def requests(spec: PodSpec) -> Amounts:
    """What a pod needs of its node: its containers and sidecars, or its largest init container; and overhead.

    https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
    """
    return _effective(spec, lambda c: (c.resources and (_requests(c))) or {})


def limits(spec: PodSpec) -> Amounts:
    """The same sum over limits."""
    return _effective(spec, lambda c: amounts(c.resources.limits) if c.resources else {})


def _requests(container: Container) -> Amounts:
    """Requests default to limits."""
    resources = container.resources
    if resources is None:
        return {}
    return amounts(resources.limits) | amounts(resources.requests)


def _effective(spec: PodSpec, of: Any) -> Amounts:
    total = _sum(of(c) for c in spec.containers)
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.initContainers or ():
        if container.restartPolicy == "Always":
            sidecars = _sum((sidecars, of(container)))
            _raise_to(peak, sidecars)
        else:
            _raise_to(peak, _sum((sidecars, of(container))))
    total = _sum((total, sidecars))
    _raise_to(total, peak)
    return _sum((total, amounts(spec.overhead))) if spec.overhead else total


def _sum(parts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _raise_to(total: Amounts, floor: Amounts) -> None:
    for name, amount in floor.items():
        total[name] = max(total.get(name, 0), amount)


def qos_class(spec: PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort.

    https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
    """
    containers = [*spec.containers, *(spec.initContainers or ())]
    guaranteed, any_set = True, False
    for container in containers:
        resources = container.resources
        requested = _compute(amounts(resources.requests) if resources else {})
        limited = _compute(amounts(resources.limits) if resources else {})
        any_set = any_set or bool(requested or limited)
        if set(limited) != {"cpu", "memory"} or any(requested.get(n, a) != a for n, a in limited.items()):
            guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _compute(resources: Amounts) -> Amounts:
    return {n: a for n, a in resources.items() if n in ("cpu", "memory") and a > 0}
