"""Routes to the pods, in the network of an API server that is on no node: what it proxies to pods and services needs
them. A control plane on a machine of the pod network has them already, so this is a flag (``--pod-routes``).

As on the nodes: the next hop of a node's pod subnet is that node's InternalIP, on one L2 network.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from apiserver.types import Object, ObjectStore
from common import routes

log = logging.getLogger(__name__)

AGAIN_AFTER = 60.0
"""Seconds after which the routes are looked at again, whatever the nodes say."""


def desired_routes(nodes: Iterable[Object]) -> dict[str, str]:
    """Pod subnet -> next hop, for each node that has both."""
    found = {}
    for node in nodes:
        spec, status = node.get("spec") or {}, node.get("status") or {}
        addresses = [a["address"] for a in status.get("addresses") or [] if a.get("type") == "InternalIP"]
        subnets = [cidr for cidr in {spec.get("podCIDR"): None, **dict.fromkeys(spec.get("podCIDRs") or [])} if cidr]
        if addresses:
            found.update({cidr: addresses[0] for cidr in subnets if _is_ipv4(cidr)})
    return found


def _is_ipv4(cidr: str) -> bool:
    try:
        return bool(ipaddress.IPv4Network(cidr))
    except ValueError:
        return False


class PodRoutes:
    """Keeps the routes of this network namespace as the nodes want them."""

    def __init__(self, nodes: ObjectStore) -> None:
        self._nodes = nodes
        self._changed = asyncio.Event()
        self._failures: Mapping[str, str] = {}
        nodes.on_change(lambda _type, _node: self._changed.set())

    async def run(self, synced: asyncio.Event) -> None:
        """Until cancelled."""
        await synced.wait()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "pod-routes") as thread:
            last: dict[str, str] | None = None
            while True:
                self._changed.clear()
                desired = desired_routes(self._nodes.cached_list())
                if desired != last:
                    last = desired if await loop.run_in_executor(thread, self._apply, desired) else None
                try:
                    async with asyncio.timeout(AGAIN_AFTER):
                        await self._changed.wait()
                except TimeoutError:
                    last = None

    def _apply(self, desired: Mapping[str, str]) -> bool:
        """Whether all routes are there."""
        try:
            with IPRoute() as netlink:
                failures = routes.apply_routes(netlink, routes.changes(routes.our_routes(netlink), desired))
        except (NetlinkError, OSError) as error:
            failures = {"any node": str(error)}
        if failures != self._failures:
            for destination, reason in failures.items():
                log.warning("no route to the pods in %s: %s", destination, reason)
        self._failures = failures
        return not failures
