"""Forgets UDP flows that the kernel would go on sending to endpoints which are no more.

Rules decide on a flow's first packet only. A TCP client notices that its peer is gone; a UDP client (a resolver that
reuses its socket) goes on in the same flow, to an address where nobody listens, for as long as it sends. So after each
change of a UDP service its flows are compared with its endpoints and the stale ones deleted, as kube-proxy's conntrack
reconciler does: level-triggered, so nothing is missed by a crash between rule and clean-up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.model import Endpoint, ServicePort, categorize

log = logging.getLogger(__name__)

UDP = 17
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Flow:
    """A UDP flow: as the client sent it, and whom the answer comes from."""

    source: Address
    destination: Address
    answers: Address


@dataclass(frozen=True, slots=True)
class UdpEndpoints:
    """Where UDP flows may lead: by service address, and by node port (on any address of the node)."""

    by_address: Mapping[Address, frozenset[Address]]
    by_node_port: Mapping[int, frozenset[Address]]


def udp_endpoints(services: Iterable[tuple[ServicePort, Iterable[Endpoint]]]) -> UdpEndpoints:
    by_address: dict[Address, frozenset[Address]] = {}
    by_node_port: dict[int, frozenset[Address]] = {}
    for service, endpoints in services:
        if service.protocol != "udp":
            continue
        valid = frozenset((e.ip, e.port) for e in categorize(service, endpoints).reachable)
        for ip in (service.cluster_ip, *service.external_ips, *service.load_balancer_vips):
            by_address[(ip, service.port)] = valid
        if service.node_port:
            by_node_port[service.node_port] = valid
    return UdpEndpoints(by_address, by_node_port)


def stale_flows(flows: Iterable[Flow], valid: UdpEndpoints) -> list[Flow]:
    """Flows to a service address that are answered by something which is not its endpoint.

    That includes a flow which was not translated at all, because the service had no endpoints when it began.
    """
    stale = []
    for flow in flows:
        endpoints = valid.by_address.get(flow.destination)
        if endpoints is None:
            endpoints = valid.by_node_port.get(flow.destination[1])
            # A flow to a remote peer's port that happens to equal a node port was never translated: leave it alone.
            if endpoints is None or flow.answers == flow.destination:
                continue
        if endpoints and flow.answers not in endpoints:
            stale.append(flow)
    return stale


async def forget_stale_flows(valid: UdpEndpoints) -> int:
    """Deletes stale UDP flows from the kernel's table; returns how many. Netlink blocks, so it runs in a thread."""
    if not valid.by_address and not valid.by_node_port:
        return 0
    return await asyncio.to_thread(_forget, valid)


def _forget(valid: UdpEndpoints) -> int:
    # Imported here: most nodes' proxies never need netlink, and it costs 10 MB.
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        return _forget_by_netlink(valid)
    except NetlinkError as error:
        raise OSError(error.code, str(error)) from error


def _forget_by_netlink(valid: UdpEndpoints) -> int:
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

    with NFCTSocket() as conntrack:
        stale = stale_flows(flows(conntrack.dump()), valid)
        for flow in stale:
            original = NFCTAttrTuple(
                saddr=flow.source[0],
                daddr=flow.destination[0],
                proto=UDP,
                sport=flow.source[1],
                dport=flow.destination[1],
            )
            try:
                conntrack.entry("del", tuple_orig=original)
            except Exception as error:  # the flow may have expired meanwhile: netlink answers ENOENT
                log.debug("flow %s was not deleted: %s", flow, error)
    return len(stale)


def flows(entries: Iterable[Any]) -> list[Flow]:
    """The UDP flows over IPv4 among the entries of the kernel's table."""
    found = []
    for entry in entries:
        original, reply = entry.get_attr("CTA_TUPLE_ORIG"), entry.get_attr("CTA_TUPLE_REPLY")
        if original is None or reply is None:
            continue
        ports = original.get_attr("CTA_TUPLE_PROTO")
        addresses, answer = original.get_attr("CTA_TUPLE_IP"), reply.get_attr("CTA_TUPLE_IP")
        if ports is None or addresses is None or answer is None or ports.get_attr("CTA_PROTO_NUM") != UDP:
            continue
        found.append(
            Flow(
                source=(addresses.get_attr("CTA_IP_V4_SRC"), ports.get_attr("CTA_PROTO_SRC_PORT")),
                destination=(addresses.get_attr("CTA_IP_V4_DST"), ports.get_attr("CTA_PROTO_DST_PORT")),
                answers=(
                    answer.get_attr("CTA_IP_V4_SRC"),
                    reply.get_attr("CTA_TUPLE_PROTO").get_attr("CTA_PROTO_SRC_PORT"),
                ),
            )
        )
    return found
