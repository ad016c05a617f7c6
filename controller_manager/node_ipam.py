"""A subnet of the cluster's pod network for every node (upstream's RangeAllocator).

`spec.podCIDR` is the only record: after a restart the allocator reads from the nodes what is taken. One worker decides,
and keeps what it gave in memory, so a lagging cache cannot make it give a subnet twice.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping

from lightkube.resources.core_v1 import Node

from common.api.status import NotFound
from common.client import PatchType
from controller_manager.context import Context
from controller_manager.objects import name_of, need

log = logging.getLogger(__name__)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Full(Exception):
    """No subnet is left."""


def next_free(cluster: Network, prefix: int, taken: Mapping[str, Network]) -> Network:
    """The first subnet that overlaps none that is taken. Raises Full."""
    used = [each for each in taken.values() if each.version == cluster.version]
    exact = set(used)
    odd = [each for each in used if each.prefixlen != prefix]
    for candidate in cluster.subnets(new_prefix=prefix):
        if candidate not in exact and not any(candidate.overlaps(each) for each in odd):
            return candidate
    raise Full(f"no /{prefix} left in {cluster}")


class NodeIPAMController:
    """Gives every node without a podCIDR the next free one."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.recorder("cidrAllocator")
        self._cluster = ipaddress.ip_network(need(context.settings.cluster_cidr))
        self._prefix = context.settings.node_cidr_mask_size
        self._taken: dict[str, Network] = {}
        self._nodes = context.nodes.store
        self._loop = context.loop("node_ipam", self.reconcile, workers=1)
        context.nodes.add_handler(self._seen, lambda _, new: self._seen(new), self._gone)

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    def _seen(self, node: Node) -> None:
        if cidr := need(node.spec).podCIDR:
            self._taken[name_of(node)] = ipaddress.ip_network(cidr, strict=False)
        else:
            self._loop.enqueue(node)

    def _gone(self, node: Node) -> None:
        self._taken.pop(name_of(node), None)

    async def reconcile(self, key: str) -> float | None:
        """One round for one node."""
        node = self._nodes.get(key)
        if node is None or need(node.spec).podCIDR:
            return None
        try:
            subnet = self._taken.get(key) or next_free(self._cluster, self._prefix, self._taken)
        except Full as full:
            log.error("node %s: %s", key, full)
            self._events.event(node, "Normal", "CIDRNotAvailable", f"Node {key} status is now: CIDRNotAvailable")
            return 30.0
        self._taken[key] = subnet
        meta = need(node.metadata)
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resourceVersion},
            "spec": {"podCIDR": str(subnet), "podCIDRs": [str(subnet)]},
        }
        try:
            await self._client.patch(Node, key, patch, patch_type=PatchType.MERGE)
        except NotFound:
            self._taken.pop(key, None)
        return None
