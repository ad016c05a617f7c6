"""UDP flows that began before a host port was opened go on to where they went: forgotten, they take the new way.

A client that keeps sending keeps its flow alive, so it would never expire (upstream clears them too).
"""

from __future__ import annotations

import logging
from collections.abc import Set
from typing import Any

log = logging.getLogger("kubelet.network")

UDP = 17


def forget_udp(ports: Set[int]) -> None:
    """Blocking, in the calling thread's network namespace. What cannot be forgotten is logged: it may expire."""
    # Imported here: few nodes have such ports.
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

    try:
        with NFCTSocket() as conntrack:
            for entry in list(conntrack.dump()):
                flow = udp_flow(entry)
                if flow is None or flow["dport"] not in ports:
                    continue
                try:
                    conntrack.entry("del", tuple_orig=NFCTAttrTuple(proto=UDP, **flow))
                except NetlinkError as error:  # it has expired meanwhile
                    log.debug("flow %s was not deleted: %s", flow, error)
    except (NetlinkError, OSError) as error:
        log.warning("UDP flows to ports %s are not forgotten: %s", sorted(ports), error)


def udp_flow(entry: Any) -> dict[str, Any] | None:
    """The ends of a UDP flow over IPv4 as its client sees them."""
    original = entry.get_attr("CTA_TUPLE_ORIG")
    ports = original.get_attr("CTA_TUPLE_PROTO") if original is not None else None
    addresses = original.get_attr("CTA_TUPLE_IP") if original is not None else None
    if ports is None or addresses is None or ports.get_attr("CTA_PROTO_NUM") != UDP:
        return None
    source = addresses.get_attr("CTA_IP_V4_SRC")
    if source is None:
        return None
    return {
        "saddr": source,
        "daddr": addresses.get_attr("CTA_IP_V4_DST"),
        "sport": ports.get_attr("CTA_PROTO_SRC_PORT"),
        "dport": ports.get_attr("CTA_PROTO_DST_PORT"),
    }
