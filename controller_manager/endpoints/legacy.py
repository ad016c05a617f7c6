"""The Endpoints object of a service, the older form of EndpointSlices. Pure.

https://kubernetes.io/docs/concepts/services-networking/service/#endpoints
"""

from __future__ import annotations

from collections.abc import Sequence

from lightkube.models.core_v1 import EndpointAddress, EndpointPort, EndpointSubset
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Endpoints, Pod, Service

from common.api.meta import annotations_of, clone, labels_of
from controller_manager.endpoints import backends
from controller_manager.objects import name_of, namespace_of, need, pod_reference

MAX_ADDRESSES = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


def subsets(service: Service, pods: Sequence[Pod]) -> list[EndpointSubset]:
    """Addresses, those of pods with the same ports together."""
    family = backends.families(service)[0]
    publish = bool(need(service.spec).publishNotReadyAddresses)
    groups: dict[tuple[backends.Port, ...], tuple[list[EndpointAddress], list[EndpointAddress]]] = {}
    for pod in pods:
        ip = backends.address(pod, family)
        if ip is None or not backends.belongs(pod, terminating=publish):
            continue
        ports = backends.ports(pod, service)
        if not ports and need(service.spec).ports:
            continue
        ready, not_ready = groups.setdefault(tuple(sorted(ports)), ([], []))
        conditions = backends.conditions(pod, service)
        (ready if conditions.ready else not_ready).append(_address(pod, service, ip))
    return [_subset(ports, *groups[ports]) for ports in sorted(groups, key=lambda ports: [_key(p) for p in ports])]


def _address(pod: Pod, service: Service, ip: str) -> EndpointAddress:
    node = need(pod.spec).nodeName
    hostname = backends.hostname(pod, service)
    return EndpointAddress(ip=ip, hostname=hostname, nodeName=node, targetRef=pod_reference(pod))


def _subset(
    ports: Sequence[backends.Port], ready: list[EndpointAddress], not_ready: list[EndpointAddress]
) -> EndpointSubset:
    def by_ip(address: EndpointAddress) -> str:
        return address.ip

    return EndpointSubset(
        addresses=sorted(ready, key=by_ip) or None,
        notReadyAddresses=sorted(not_ready, key=by_ip) or None,
        ports=[_port(port) for port in ports] or None,
    )


def _port(port: backends.Port) -> EndpointPort:
    return EndpointPort(port=port.number, protocol=port.protocol, name=port.name or None, appProtocol=port.app_protocol)


def _key(port: backends.Port) -> tuple[str, int, str, str]:
    return port.name, port.number, port.protocol, port.app_protocol or ""


def truncate(all_subsets: list[EndpointSubset]) -> tuple[list[EndpointSubset], bool]:
    """At most 1,000 addresses, ready ones first; and whether any were dropped."""
    total = sum(len(s.addresses or ()) + len(s.notReadyAddresses or ()) for s in all_subsets)
    if total <= MAX_ADDRESSES:
        return all_subsets, False
    room = MAX_ADDRESSES
    kept: list[EndpointSubset] = []
    readies = []
    for subset in all_subsets:
        readies.append((subset.addresses or [])[:room])
        room -= len(readies[-1])
    for subset, ready in zip(all_subsets, readies, strict=True):
        not_ready = (subset.notReadyAddresses or [])[:room]
        room -= len(not_ready)
        if ready or not_ready:
            kept.append(
                EndpointSubset(addresses=ready or None, notReadyAddresses=not_ready or None, ports=subset.ports)
            )
    return kept, True


def desired(service: Service, pods: Sequence[Pod], current: Endpoints | None) -> Endpoints | None:
    """The Endpoints to write, None when what is there is right."""
    wanted, truncated = truncate(subsets(service, pods))
    labels = {k: v for k, v in labels_of(service).items() if k != backends.HEADLESS_LABEL}
    if backends.is_headless(service):
        labels[backends.HEADLESS_LABEL] = ""
    if current is not None and _equal(current, wanted, labels, truncated):
        return None
    result = (
        clone(current)
        if current
        else Endpoints(metadata=ObjectMeta(name=name_of(service), namespace=namespace_of(service)))
    )
    meta = need(result.metadata)
    annotations = {k: v for k, v in annotations_of(result).items() if k != OVER_CAPACITY}
    if trigger := backends.trigger_time(service, pods, annotations.get(backends.LAST_CHANGE)):
        annotations[backends.LAST_CHANGE] = trigger
    if truncated:
        annotations[OVER_CAPACITY] = "truncated"
    meta.labels, meta.annotations, result.subsets = labels or None, annotations or None, wanted or None
    return result


def _equal(current: Endpoints, wanted: list[EndpointSubset], labels: dict[str, str], truncated: bool) -> bool:
    noted = annotations_of(current).get(OVER_CAPACITY) == "truncated"
    return (current.subsets or []) == wanted and labels_of(current) == labels and noted == truncated
