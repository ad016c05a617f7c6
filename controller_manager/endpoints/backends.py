"""What a pod contributes to a Service: addresses, ports, and whether it serves. Pure.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from lightkube.models.core_v1 import ServicePort
from lightkube.resources.core_v1 import Pod, Service

from common.api.meta import is_deleting
from common.api.pods import is_ready, is_terminal
from controller_manager.objects import namespace_of, need

LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"
HEADLESS_LABEL = "service.kubernetes.io/headless"


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A port of an endpoint; the target port may differ from pod to pod."""

    name: str
    number: int
    protocol: str
    app_protocol: str | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """KEP-1672: a terminating pod may still serve, but is never ready."""

    ready: bool
    serving: bool
    terminating: bool


def needs_endpoints(service: Service) -> bool:
    """Services without a selector have endpoints that somebody else writes; ExternalName ones have none."""
    spec = need(service.spec)
    return bool(spec.selector) and spec.type != "ExternalName"


def is_headless(service: Service) -> bool:
    """Whether DNS answers with the pods' own addresses."""
    return need(service.spec).clusterIP == "None"


def conditions(pod: Pod, service: Service) -> Conditions:
    """The conditions of a pod as an endpoint of the service."""
    serving, terminating = is_ready(pod), is_deleting(pod)
    publish = bool(need(service.spec).publishNotReadyAddresses)
    return Conditions(ready=publish or (serving and not terminating), serving=serving, terminating=terminating)


def addresses(pod: Pod) -> list[str]:
    """The pod's IPs, empty before it has one."""
    if pod.status is None:
        return []
    return [ip.ip for ip in pod.status.podIPs or () if ip.ip] or ([pod.status.podIP] if pod.status.podIP else [])


def address(pod: Pod, family: str) -> str | None:
    """The pod's address of a family (IPv4, IPv6)."""
    version = 6 if family == "IPv6" else 4
    return next((ip for ip in addresses(pod) if ipaddress.ip_address(ip).version == version), None)


def belongs(pod: Pod, *, terminating: bool) -> bool:
    """Whether a pod can be an endpoint at all: it has an address, and has not ended."""
    return not is_terminal(pod) and bool(addresses(pod)) and (terminating or not is_deleting(pod))


def families(service: Service) -> list[str]:
    """The address families of a service."""
    spec = need(service.spec)
    if spec.ipFamilies:
        return list(spec.ipFamilies)
    cluster_ip = spec.clusterIP or ""
    return ["IPv6"] if ":" in cluster_ip else ["IPv4"]


def ports(pod: Pod, service: Service) -> tuple[Port, ...]:
    """The service's ports on this pod. A named port that the pod does not have is left out."""
    found = []
    for port in need(service.spec).ports or ():
        number = target_port(pod, port)
        if number is not None:
            found.append(Port(port.name or "", number, port.protocol or "TCP", port.appProtocol))
    return tuple(found)


def target_port(pod: Pod, port: ServicePort) -> int | None:
    """The number behind targetPort: itself, or a container's port of that name and protocol."""
    target = port.targetPort
    if target is None:
        return port.port
    if isinstance(target, int):
        return target or port.port
    spec = need(pod.spec)
    sidecars = [c for c in spec.initContainers or () if c.restartPolicy == "Always"]
    for container in (*spec.containers, *sidecars):
        for candidate in container.ports or ():
            if candidate.name == target and (candidate.protocol or "TCP") == (port.protocol or "TCP"):
                return candidate.containerPort
    return None


def hostname(pod: Pod, service: Service) -> str | None:
    """The name that DNS gives the pod below a headless service."""
    spec = need(pod.spec)
    same = namespace_of(pod) == namespace_of(service)
    return spec.hostname if spec.hostname and spec.subdomain == need(service.metadata).name and same else None


def trigger_time(service: Service, pods: Iterable[Pod], known: str | None) -> str | None:
    """When what changed the endpoints last happened: a pod's readiness, or the making of the service.

    `known` is what was written before; an older time never replaces it.
    """
    times = [need(service.metadata).creationTimestamp]
    for pod in pods:
        for condition in (pod.status and pod.status.conditions) or ():
            if condition.type == "Ready":
                times.append(condition.lastTransitionTime)
    newest = max((time for time in times if time is not None), default=None)
    text = newest.strftime("%Y-%m-%dT%H:%M:%SZ") if newest else None
    return max((each for each in (text, known) if each), default=None)
