"""Looks now and then whether the claimed numbers are those that Services carry, and puts right what is not.

A Service and its claims are written together, so there is something to repair only after foreign hands were in etcd:
an older server, a backup that was put back in part, an administrator. Every correction compares the state that it was
computed from, so any number of servers may do this at once. What only the Service's owner can put right is said by an
Event with upstream's reason and words (pkg/registry/core/service/ipallocator/controller/repair.go, portallocator/…).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from apiserver.allocation.spec import IP_KEYS, PORT_KEYS, addresses_of, claims_of, node_ports_of, owner_of
from apiserver.types import Object

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Claim:
    """What etcd has: a key's owner, and its revision."""

    owner: str
    revision: int


@dataclass(frozen=True)
class Finding:
    """Something to say of a Service."""

    service: Object
    reason: str
    message: str

    @property
    def component(self) -> str:
        return f"{'portallocator' if self.reason.startswith('Port') else 'ipallocator'}-repair-controller"


@dataclass(frozen=True)
class Correction:
    """What a key should say; None is nothing."""

    key: bytes
    owner: str | None
    seen: int
    """The key's revision, 0 when it was not there."""
    services: Mapping[str, int]
    """Revisions of the Services that this rests on, 0 for one that is not there."""
    finding: Finding | None = None
    """What to say when it was done."""


def examine(
    services: Iterable[Object], claims: Mapping[bytes, Claim], network: Network, ports: tuple[int, int]
) -> tuple[list[Finding], list[Correction]]:
    """What is wrong, and what puts right what can be. The claims must be no newer than the Services."""
    findings: list[Finding] = []
    corrections: list[Correction] = []
    carriers: dict[bytes, list[Object]] = {}
    by_owner: dict[str, Object] = {}
    for service in services:
        by_owner[owner_of(service)] = service
        findings += _out_of_range(service, network, ports)
        for key in claims_of(service):
            carriers.setdefault(key, []).append(service)
    for key, carrying in carriers.items():
        claim = claims.get(key)
        rightful = next((s for s in carrying if claim is not None and owner_of(s) == claim.owner), None)
        if rightful is None:
            rightful = carrying[0]
            seen = 0 if claim is None else claim.revision
            said = Finding(rightful, *_words(key, "NotAllocated", "is not allocated; repairing"))
            corrections.append(Correction(key, owner_of(rightful), seen, _at(rightful), said))
        for other in carrying:
            if other is not rightful:
                text = "was assigned to multiple services; please recreate service"
                findings.append(Finding(other, *_words(key, "AlreadyAllocated", text)))
    for key, claim in claims.items():
        if key not in carriers:
            owner = by_owner.get(claim.owner)
            rests = {claim.owner: 0} if owner is None else _at(owner)
            corrections.append(Correction(key, None, claim.revision, rests))
    return findings, corrections


def _out_of_range(service: Object, network: Network, ports: tuple[int, int]) -> Iterable[Finding]:
    spec = service.get("spec") or {}
    for ip in addresses_of(spec):
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            text = f"Cluster IP {ip} is not a valid IP; please recreate service"
            yield Finding(service, "ClusterIPNotValid", text)
            continue
        if address.version != network.version:
            text = (
                f"Cluster IP {ip}(IPv{address.version}) is of ip family that is no longer configured on cluster; "
                "please recreate service"
            )
            yield Finding(service, "ClusterIPNotValid", text)
        elif address not in network:
            text = f"Cluster IP [IPv{address.version}]:{ip} is not within the service CIDR {network}; "
            yield Finding(service, "ClusterIPOutOfRange", text + "please recreate service")
    low, high = ports
    for port in node_ports_of(spec):
        if not low <= port <= high:
            text = f"Port {port} is not within the port range {low}-{high}; please recreate service"
            yield Finding(service, "PortOutOfRange", text)


def _words(key: bytes, reason: str, text: str) -> tuple[str, str]:
    if key.startswith(PORT_KEYS):
        return f"Port{reason}", f"Port {key.removeprefix(PORT_KEYS).decode()} {text}"
    ip = key.removeprefix(IP_KEYS).decode()
    return f"ClusterIP{reason}", f"Cluster IP [IPv{ipaddress.ip_address(ip).version}]:{ip} {text}"


def _at(service: Object) -> dict[str, int]:
    return {owner_of(service): int(service["metadata"]["resourceVersion"])}
