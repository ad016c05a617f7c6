"""The EndpointSlices of a service: which to create, change and delete. Pure.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/

Slices hold up to 100 endpoints with the same ports. Few writes matter more than full slices, since every write goes to
every node: what is in a slice stays there, and new endpoints fill slices that must change anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lightkube.models.discovery_v1 import Endpoint, EndpointConditions, EndpointPort
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from common.api.meta import annotations_of, clone, is_deleting, labels_of, owner_ref
from controller_manager.endpoints import backends
from controller_manager.objects import name_of, namespace_of, need, pod_reference

MAX_ENDPOINTS = 100
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
_RESERVED_LABELS = (SERVICE_NAME, MANAGED_BY, backends.HEADLESS_LABEL)

PortsKey = tuple[str, tuple[backends.Port, ...]]
"""Address family and sorted ports: what all endpoints of a slice share."""


@dataclass
class Plan:
    """What to write."""

    create: list[EndpointSlice] = field(default_factory=list)
    update: list[EndpointSlice] = field(default_factory=list)
    delete: list[EndpointSlice] = field(default_factory=list)


def endpoint(pod: Pod, service: Service, ip: str, zones: Mapping[str, str]) -> Endpoint:
    """A pod as an endpoint. `zones` tells the zone of a node."""
    conditions, node = backends.conditions(pod, service), need(pod.spec).nodeName
    return Endpoint(
        addresses=[ip],
        conditions=EndpointConditions(
            ready=conditions.ready, serving=conditions.serving, terminating=conditions.terminating
        ),
        hostname=backends.hostname(pod, service),
        nodeName=node,
        targetRef=pod_reference(pod),
        zone=zones.get(node) if node else None,
    )


def wanted(service: Service, pods: Sequence[Pod], zones: Mapping[str, str]) -> dict[PortsKey, dict[str, Endpoint]]:
    """All endpoints, by ports and then by address. A family without any has one empty group: a placeholder slice."""
    groups: dict[PortsKey, dict[str, Endpoint]] = {}
    for family in backends.families(service):
        for pod in pods:
            ip = backends.address(pod, family)
            if ip is None or not backends.belongs(pod, terminating=True):
                continue
            ports = tuple(sorted(backends.ports(pod, service), key=_port_key))
            groups.setdefault((family, ports), {})[ip] = endpoint(pod, service, ip, zones)
        if not any(key[0] == family for key in groups):
            groups[family, ()] = {}
    return groups


def plan(service: Service, pods: Sequence[Pod], zones: Mapping[str, str], existing: Sequence[EndpointSlice]) -> Plan:
    """The fewest writes that make the service's slices say where its pods are."""
    result = Plan()
    mine: dict[PortsKey, list[EndpointSlice]] = {}
    for each in existing:
        if not is_deleting(each):
            mine.setdefault(_key_of(each), []).append(each)
    trigger = backends.trigger_time(service, pods, None)
    for key, endpoints in wanted(service, pods, zones).items():
        _plan_group(result, service, key, endpoints, mine.pop(key, []), trigger)
    for leftovers in mine.values():
        result.delete += leftovers
    return result


def _plan_group(
    result: Plan,
    service: Service,
    key: PortsKey,
    endpoints: dict[str, Endpoint],
    existing: list[EndpointSlice],
    trigger: str | None,
) -> None:
    missing = dict(endpoints)
    kept: list[tuple[EndpointSlice, list[Endpoint], bool]] = []
    for each in sorted(existing, key=name_of):
        stay = [missing.pop(e.addresses[0]) for e in each.endpoints or () if e.addresses[0] in missing]
        changed = stay != list(each.endpoints or ()) or not _is_labelled(each, service)
        kept.append((each, stay, changed))
    additions = list(missing.values())
    # First into slices that change anyway, the fullest first; then into any with room; then into new ones.
    order = sorted(range(len(kept)), key=lambda i: (not kept[i][2], -len(kept[i][1])))
    for i in order:
        each, stay, changed = kept[i]
        room = MAX_ENDPOINTS - len(stay)
        fits = changed or len(additions) <= room
        if additions and room > 0 and fits:
            kept[i] = (each, stay + additions[:room], True)
            additions = additions[room:]
    chunks = [additions[i : i + MAX_ENDPOINTS] for i in range(0, len(additions), MAX_ENDPOINTS)]
    filled = [entry for entry in kept if entry[1]]
    if not filled and not chunks:  # a service without endpoints keeps one slice, empty
        filled, chunks = kept[:1], [] if kept else [[]]
    for each, stay, changed in filled:
        if changed:
            result.update.append(_changed(each, service, stay, trigger))
    alive = {name_of(entry[0]) for entry in filled}
    result.delete += [each for each, _, _ in kept if name_of(each) not in alive]
    result.create += [_new(service, key, chunk, trigger) for chunk in chunks]


def _key_of(each: EndpointSlice) -> PortsKey:
    ports = (
        backends.Port(port.name or "", port.port or 0, port.protocol or "TCP", port.appProtocol)
        for port in each.ports or ()
    )
    return each.addressType, tuple(sorted(ports, key=_port_key))


def _port_key(port: backends.Port) -> tuple[str, int, str, str]:
    return port.name, port.number, port.protocol, port.app_protocol or ""


def labels(service: Service) -> dict[str, str]:
    """The labels of a service's slices: the service's own, and those by which slices are found."""
    own = {key: value for key, value in labels_of(service).items() if key not in _RESERVED_LABELS}
    if backends.is_headless(service):
        own[backends.HEADLESS_LABEL] = ""
    return {**own, SERVICE_NAME: name_of(service), MANAGED_BY: CONTROLLER}


def _is_labelled(each: EndpointSlice, service: Service) -> bool:
    return labels_of(each) == labels(service)


def _changed(each: EndpointSlice, service: Service, endpoints: list[Endpoint], trigger: str | None) -> EndpointSlice:
    changed = clone(each)
    meta = need(changed.metadata)
    meta.labels = labels(service)
    meta.annotations = _annotations(annotations_of(each), trigger)
    changed.endpoints = endpoints
    return changed


def _new(service: Service, key: PortsKey, endpoints: list[Endpoint], trigger: str | None) -> EndpointSlice:
    family, ports = key
    return EndpointSlice(
        metadata=ObjectMeta(
            generateName=f"{name_of(service)}-",
            namespace=namespace_of(service),
            labels=labels(service),
            annotations=_annotations({}, trigger),
            ownerReferences=[owner_ref(service)],
        ),
        addressType=family,
        endpoints=endpoints,
        ports=[
            EndpointPort(name=port.name, port=port.number, protocol=port.protocol, appProtocol=port.app_protocol)
            for port in ports
        ],
    )


def _annotations(old: dict[str, str], trigger: str | None) -> dict[str, str] | None:
    known = old.get(backends.LAST_CHANGE)
    newest = max((time for time in (trigger, known) if time), default=None)
    return {**old, **({backends.LAST_CHANGE: newest} if newest else {})} or None
