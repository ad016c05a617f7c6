"""What the proxy knows of Services: one `ServicePort` for each port of a Service, with the endpoints behind it.

Everything here is a pure function of API objects. A Service of three ports is three independent load balancers in the
kernel, so the port (upstream: ServicePortName) is the unit, not the Service.

Which endpoints take traffic follows https://kubernetes.io/docs/concepts/services-networking/service/ and KEP-1669
(serving, terminating endpoints are the last resort when none is ready) and KEP-2086 (internalTrafficPolicy).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXIED_SELECTOR = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"
"""Objects which carry one of these labels are nobody's to proxy, or another proxy's."""

DEFAULT_AFFINITY_SECONDS = 10800


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One address and port behind a service port."""

    ip: str
    port: int
    is_local: bool = False
    ready: bool = True
    serving: bool = True
    terminating: bool = False

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service, in the terms that rules need. ``protocol`` is lower-case, as iptables wants it."""

    namespace: str
    name: str
    port_name: str
    protocol: str
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_vips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    external_local: bool = False
    internal_local: bool = False
    affinity_seconds: int = 0
    health_check_node_port: int = 0

    def __str__(self) -> str:
        """Upstream's ServicePortName: it is in every comment and hashed into every chain's name."""
        suffix = f":{self.port_name}" if self.port_name else ""
        return f"{self.namespace}/{self.name}{suffix}"

    @property
    def externally_accessible(self) -> bool:
        return bool(self.node_port or self.external_ips or self.load_balancer_vips)

    @property
    def uses_cluster_endpoints(self) -> bool:
        """Even with externalTrafficPolicy Local, pods' own traffic to external addresses goes to any endpoint."""
        return not self.internal_local or self.externally_accessible

    @property
    def uses_local_endpoints(self) -> bool:
        return self.internal_local or (self.external_local and self.externally_accessible)


@dataclass(frozen=True, slots=True)
class EndpointSets:
    """The endpoints of a service port by the policy that uses them (upstream: CategorizeEndpoints)."""

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    any_usable: bool = False
    """Whether the service has a usable endpoint on any node: decides between REJECT and DROP."""

    @property
    def reachable(self) -> tuple[Endpoint, ...]:
        return tuple(sorted({*self.cluster, *self.local}))


def usable(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """The ready endpoints, or, with none ready, those that still serve while they terminate."""
    found = sorted(endpoints)
    ready = tuple(e for e in found if e.ready)
    return ready or tuple(e for e in found if e.serving and e.terminating)


def categorize(service: ServicePort, endpoints: Iterable[Endpoint]) -> EndpointSets:
    found = tuple(endpoints)
    anywhere = usable(found)
    return EndpointSets(
        cluster=anywhere if service.uses_cluster_endpoints else (),
        local=usable(e for e in found if e.is_local) if service.uses_local_endpoints else (),
        any_usable=bool(anywhere),
    )


def service_ports(service: Service) -> list[ServicePort]:
    """The load balancers that a Service asks for; headless and ExternalName Services ask for none."""
    spec, metadata = service.spec, service.metadata
    if spec is None or metadata is None or spec.type == "ExternalName":
        return []
    cluster_ip = next((ip for ip in spec.clusterIPs or [spec.clusterIP or ""] if _is_ipv4(ip)), None)
    if cluster_ip is None:
        return []
    is_load_balancer = spec.type == "LoadBalancer"
    return [
        ServicePort(
            namespace=metadata.namespace or "",
            name=metadata.name or "",
            port_name=port.name or "",
            protocol=(port.protocol or "TCP").lower(),
            cluster_ip=cluster_ip,
            port=port.port,
            node_port=port.nodePort or 0,
            external_ips=tuple(ip for ip in spec.externalIPs or () if _is_ipv4(ip)),
            load_balancer_vips=_load_balancer_vips(service) if is_load_balancer else (),
            source_ranges=_ipv4_ranges(spec.loadBalancerSourceRanges) if is_load_balancer else (),
            external_local=spec.externalTrafficPolicy == "Local",
            internal_local=spec.internalTrafficPolicy == "Local",
            affinity_seconds=_affinity_seconds(service),
            health_check_node_port=spec.healthCheckNodePort or 0,
        )
        for port in spec.ports or ()
    ]


def endpoints_of(port: ServicePort, slices: Iterable[EndpointSlice], node_name: str) -> list[Endpoint]:
    """The endpoints of one service port, from all slices of its Service.

    While an endpoint moves from one slice to another it is in both for a moment: a ready entry wins.
    """
    found: dict[tuple[str, int], Endpoint] = {}
    for endpoint in _all_endpoints(port, slices, node_name):
        key = (endpoint.ip, endpoint.port)
        known = found.get(key)
        if known is None or (endpoint.ready and not known.ready):
            found[key] = endpoint
    return sorted(found.values())


def _all_endpoints(port: ServicePort, slices: Iterable[EndpointSlice], node_name: str) -> Iterable[Endpoint]:
    for endpoint_slice in slices:
        if endpoint_slice.addressType != "IPv4":
            continue
        numbers = [
            p.port
            for p in endpoint_slice.ports or ()
            if p.port and (p.name or "") == port.port_name and (p.protocol or "TCP").lower() == port.protocol
        ]
        for item in endpoint_slice.endpoints or ():
            conditions = item.conditions
            # A condition that is absent means: ready, serving as ready is, not terminating.
            ready = conditions is None or conditions.ready is not False
            serving = ready if conditions is None or conditions.serving is None else conditions.serving
            for number in numbers:
                yield Endpoint(
                    ip=item.addresses[0],  # upstream: consumers use the first address alone
                    port=number,
                    is_local=bool(node_name) and item.nodeName == node_name,
                    ready=ready,
                    serving=serving,
                    terminating=bool(conditions and conditions.terminating),
                )


def _affinity_seconds(service: Service) -> int:
    assert service.spec is not None
    if service.spec.sessionAffinity != "ClientIP":
        return 0
    config = service.spec.sessionAffinityConfig
    client_ip = config.clientIP if config else None
    return (client_ip.timeoutSeconds if client_ip else None) or DEFAULT_AFFINITY_SECONDS


def _load_balancer_vips(service: Service) -> tuple[str, ...]:
    """Ingress addresses whose packets reach the node unchanged (ipMode VIP, KEP-1860)."""
    status = service.status.loadBalancer if service.status else None
    ingress = (status.ingress if status else None) or ()
    return tuple(i.ip for i in ingress if i.ip and _is_ipv4(i.ip) and (i.ipMode or "VIP") == "VIP")


def _ipv4_ranges(ranges: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(r.strip() for r in ranges or () if _is_ipv4_network(r.strip()))


def _is_ipv4_network(text: str) -> bool:
    try:
        ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
