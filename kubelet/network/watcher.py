"""Follows the Node objects: our own gives the subnet that starts the network, the others give routes.

Changes of nodes come in bursts (every status of every node), so they only wake the loop; it works on what is true then.
Once a minute it also puts back what others removed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from lightkube.resources.core_v1 import Node

from common.informer import Informer
from kubelet.network.plugin import PodNetwork
from kubelet.network.routes import desired_routes, pod_cidr
from kubelet.types import NetworkError

log = logging.getLogger("kubelet.network")

RESYNC_SECONDS = 60.0
_RETRY_SECONDS = 5.0


class NetworkWatcher:
    """Keeps the network in step with the cluster. ``on_ready`` is called when the network becomes ready."""

    def __init__(
        self,
        network: PodNetwork,
        nodes: Informer[Node],
        node_name: str,
        state: Path,
        on_ready: Callable[[], None],
        default_cidr: str = "",
    ) -> None:
        """``default_cidr`` is the subnet while no Node object names one; ``state`` remembers it between runs."""
        self._network = network
        self._nodes = nodes
        self._node_name = node_name
        self._state = state
        self._on_ready = on_ready
        self._default = ipaddress.IPv4Network(default_cidr) if default_cidr else None
        self._wake = asyncio.Event()
        self._last: tuple[object, ...] | None = None
        nodes.add_handler(on_add=self._changed, on_update=lambda _, node: self._changed(node), on_delete=self._changed)

    async def run(self) -> None:
        """Until cancelled. Starts with the subnet of the last run, so that pods can start while the server is away."""
        remembered = await asyncio.to_thread(read_subnet, self._state) or self._default
        if remembered is not None:
            await self._attempt(self._start(remembered))
        while True:
            self._wake.clear()
            done = await self._attempt(self._sync())
            try:
                async with asyncio.timeout(RESYNC_SECONDS if done else _RETRY_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                await self._attempt(self._network.resync())
                self._last = None

    def _changed(self, _: Node) -> None:
        self._wake.set()

    async def _sync(self) -> None:
        if not self._nodes.synced:
            return
        own = self._nodes.store.get(self._node_name)
        subnet = pod_cidr(own) if own is not None else None
        if subnet is not None and str(subnet) != self._network.subnet:
            await self._start(subnet)
        nodes = self._nodes.store.list()
        routes = tuple(sorted(desired_routes(nodes, self._node_name).items()))
        if self._network.ready and routes != self._last:
            await self._network.sync_routes(nodes)
            self._last = routes

    async def _start(self, subnet: ipaddress.IPv4Network) -> None:
        await self._network.start(subnet)
        self._on_ready()
        await asyncio.to_thread(write_subnet, self._state, subnet)

    async def _attempt(self, work: Awaitable[None]) -> bool:
        try:
            await work
            return True
        except (NetworkError, OSError) as error:
            log.error("the pod network could not be brought up to date: %s", error)
            return False


def read_subnet(path: Path) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(path.read_text().strip())
    except (OSError, ValueError):
        return None


def write_subnet(path: Path, subnet: ipaddress.IPv4Network) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(f"{subnet}\n")
    scratch.replace(path)
