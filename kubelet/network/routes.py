"""Routes to the other nodes' pod subnets: what they should be, as a pure function of the Node objects.

The way of flannel's host-gw backend: nodes share one L2 network, so the next hop of a node's pod subnet is that node's
InternalIP. ``common.routes`` makes them so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from lightkube.resources.core_v1 import Node


def internal_ip(node: Node) -> str | None:
    addresses = (node.status.addresses if node.status else None) or []
    return next((address.address for address in addresses if address.type == "InternalIP"), None)


def pod_cidr(node: Node) -> ipaddress.IPv4Network | None:
    """The node's IPv4 pod subnet, or None while it has none (or one that is not IPv4)."""
    cidrs = [] if node.spec is None else [node.spec.podCIDR, *(node.spec.podCIDRs or [])]
    for cidr in cidrs:
        try:
            return ipaddress.IPv4Network(cidr or "")
        except ValueError:
            continue
    return None


def desired_routes(nodes: Iterable[Node], own_name: str) -> dict[str, str]:
    """Pod subnet -> next hop, for each node but our own that has both."""
    routes = {}
    for node in nodes:
        subnet, gateway = pod_cidr(node), internal_ip(node)
        if node.metadata is not None and node.metadata.name != own_name and subnet and gateway:
            routes[str(subnet)] = gateway
    return routes
