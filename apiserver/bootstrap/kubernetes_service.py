"""The ``kubernetes`` service: how pods find the API server, at the first address of the service range.

https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
"""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from apiserver.types import Object

NAMESPACE, NAME = "default", "kubernetes"


class ServiceSettings(Protocol):
    @property
    def service_cluster_ip_range(self) -> str: ...
    @property
    def advertise_address(self) -> str | None: ...
    @property
    def bind_address(self) -> str: ...
    @property
    def secure_port(self) -> int: ...


def advertised(settings: ServiceSettings) -> str:
    """The flag, or the address listened on, or that of the interface with the default route. Raises OSError."""
    if settings.advertise_address:
        return settings.advertise_address
    if not ipaddress.ip_address(settings.bind_address).is_unspecified:
        return settings.bind_address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # TEST-NET: the kernel picks a source address, nothing is sent
        return str(probe.getsockname()[0])


def first_address(cidr: str) -> str:
    return str(ipaddress.ip_network(cidr)[1])


def service(settings: ServiceSettings) -> Object:
    ip = first_address(settings.service_cluster_ip_range)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": ip,
            "clusterIPs": [ip],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": [f"IPv{ipaddress.ip_address(ip).version}"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": settings.secure_port}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }


def endpoints(members: Mapping[str, int]) -> Object:
    """``members`` is the port of each API server's address."""
    subsets = [
        {
            "addresses": [{"ip": address} for address in sorted(members) if members[address] == port],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
        for port in sorted(set(members.values()))
    ]
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": subsets,
    }


def endpoint_slice(members: Mapping[str, int], family: int) -> Object:
    """A slice names one port for all its addresses: those of the most common port."""
    of_family = {a: port for a, port in members.items() if ipaddress.ip_address(a).version == family}
    counted = Counter(of_family.values())
    port = min(counted, key=lambda each: (-counted[each], each))
    addresses = sorted(address for address, its in of_family.items() if its == port)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": f"IPv{family}",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
