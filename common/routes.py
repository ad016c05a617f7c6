"""Routes of ours in a network namespace: what differs from what should be, and the netlink calls that mend it.

They carry a protocol number of ours, by which a later run knows what it may remove; nobody else's is touched.
Blocking: call it on a thread.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

ROUTE_PROTOCOL = 203
"""rtnetlink's rtm_protocol of routes that are ours; unassigned in /etc/iproute2/rt_protos."""


@dataclass(frozen=True)
class RouteChanges:
    """(destination, next hop) of each route."""

    remove: tuple[tuple[str, str], ...]
    add: tuple[tuple[str, str], ...]


def changes(actual: Mapping[str, str], desired: Mapping[str, str]) -> RouteChanges:
    """What turns ``actual`` (the routes with our protocol) into ``desired``."""
    return RouteChanges(
        remove=tuple(item for item in actual.items() if desired.get(item[0]) != item[1]),
        add=tuple(item for item in desired.items() if actual.get(item[0]) != item[1]),
    )


def our_routes(ipr: IPRoute) -> dict[str, str]:
    """Destination -> next hop of the routes with our protocol number."""
    return {
        f"{route.get('dst')}/{route['dst_len']}": route.get("gateway")
        for route in ipr.get_routes(family=socket.AF_INET, proto=ROUTE_PROTOCOL)
        if route.get("dst") and route.get("gateway")
    }


def apply_routes(ipr: IPRoute, changes: RouteChanges) -> Mapping[str, str]:
    """Makes the changes; gives destination -> text for each route that the kernel refused."""
    failed = {}
    for destination, gateway in changes.remove:
        try:
            ipr.route("del", dst=destination, gateway=gateway, proto=ROUTE_PROTOCOL)
        except NetlinkError as error:
            if error.code != errno.ESRCH:
                failed[destination] = str(error)
    for destination, gateway in changes.add:
        try:
            ipr.route("add", dst=destination, gateway=gateway, proto=ROUTE_PROTOCOL)
        except NetlinkError as error:
            # EEXIST: a route of someone else to this subnet. It is not ours to replace.
            failed[destination] = f"via {gateway}: {os.strerror(error.code)}"
    return failed
