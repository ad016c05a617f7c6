"""The pod network as the kubelet sees it: ``kubelet.types.Network`` on one worker thread.

Netlink calls and iptables block for milliseconds, and a thread can be in one network namespace only; so all of it runs
on a single thread of its own, in order, which also makes the address book safe without locks. The network is not ready
until the node has a pod subnet (``start``), and ``resync`` puts back what others removed (Docker's restart, a person's
``iptables -F``).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lightkube.resources.core_v1 import Node
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

import common.routes
from kubelet.network import conntrack, firewall, hostports, links, routes
from kubelet.network.ipam import AddressesExhausted, HostLocalIPAM, gateway_of
from kubelet.types import NetworkError, PodNetworkStatus, PortMapping

log = logging.getLogger("kubelet.network")

NOT_READY = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: cni plugin not initialized"
)
T = TypeVar("T")


@dataclass(frozen=True)
class NetworkConfig:
    node_name: str
    state_dir: Path
    cluster_cidr: str = "10.244.0.0/16"
    bridge: str = "cox0"
    netns: str | None = None
    """A network namespace (its path) to work in, in place of the process's own: a node of a test."""


class PodNetwork:
    """Bridge, addresses and routes of this node. ``close`` stops the thread and leaves every pod's network as it is."""

    def __init__(self, config: NetworkConfig) -> None:
        self._config = config
        self._executor = ThreadPoolExecutor(1, "network", initializer=_enter, initargs=(config.netns,))
        self._subnet: ipaddress.IPv4Network | None = None
        self._mtu = 1500
        self._ipam = HostLocalIPAM(config.state_dir / "addresses.json")
        self._ports = hostports.PortBook(config.state_dir / "hostports.json")
        self._netlink: Any = None
        self._route_failures: Mapping[str, str] = {}
        self._unset_sysctls: list[str] = []
        self._started = asyncio.Event()

    @property
    def ready(self) -> bool:
        return self._started.is_set()

    def problem(self) -> str | None:
        """Why the network is not ready, in upstream's words; None when it is."""
        return None if self.ready else NOT_READY

    @property
    def subnet(self) -> str | None:
        return str(self._subnet) if self._subnet else None

    async def start(self, pod_cidr: ipaddress.IPv4Network) -> None:
        """Makes the network for the node's subnet. Again with another subnet: new pods get addresses of that one."""
        await self._run(lambda: self._ensure(pod_cidr))
        self._subnet = pod_cidr
        self._started.set()
        log.info("the pod network is ready: subnet %s on %s", pod_cidr, self._config.bridge)

    async def resync(self) -> None:
        """Puts back bridge and rules where something removed them."""
        subnet = self._subnet
        if subnet is not None:
            await self._run(lambda: self._ensure(subnet))

    async def setup_pod(self, sandbox_pid: int, pod_uid: str, ports: Sequence[PortMapping] = ()) -> PodNetworkStatus:
        subnet = self._subnet
        if subnet is None:
            raise NetworkError(NOT_READY)
        return PodNetworkStatus(await self._run(lambda: self._attach(sandbox_pid, pod_uid, subnet, ports)))

    async def teardown_pod(self, pod_uid: str) -> None:
        await self._run(lambda: self._detach(pod_uid))

    async def pod_ip(self, pod_uid: str) -> str | None:
        return self._ipam.get(pod_uid)

    def holders(self) -> frozenset[str]:
        """The pods that hold an address."""
        return frozenset(self._ipam.addresses)

    async def sync_routes(self, nodes: Iterable[Node]) -> None:
        """Routes to the other nodes' pod subnets are there, and none of ours to anywhere else."""
        desired = routes.desired_routes(nodes, self._config.node_name)
        failures = await self._run(lambda: self._apply_routes(desired))
        if failures != self._route_failures:
            for destination, reason in failures.items():
                log.warning("no route to the pods in %s: %s", destination, reason)
        self._route_failures = failures

    async def close(self) -> None:
        with contextlib.suppress(NetworkError):
            await self._run(self._close_netlink)
        self._executor.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except (NetlinkError, OSError, firewall.FirewallError, AddressesExhausted) as error:
            raise NetworkError(str(error)) from error

    # Below: on the worker thread.

    def _ipr(self) -> Any:
        if self._netlink is None:
            self._netlink = IPRoute()
        return self._netlink

    def _close_netlink(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def _ensure(self, subnet: ipaddress.IPv4Network) -> None:
        refused = firewall.set_sysctls()
        if refused != self._unset_sysctls:
            log.warning("could not set %s", ", ".join(refused))
            self._unset_sysctls = refused
        self._ipam.adopt(links.living_pods(self._ipr()))
        links.ensure_bridge(self._ipr(), self._config.bridge, subnet, gateway_of(subnet))
        self._mtu = links.uplink_mtu(self._ipr())
        firewall.ensure(str(subnet), self._config.cluster_cidr)
        self._ports.keep(self._ipam.addresses)
        self._open_ports()

    def _open_ports(self) -> None:
        wanted = hostports.bindings(self._ports.mappings, self._ipam.addresses)
        if wanted:
            firewall.route_localnet(self._config.bridge)
        firewall.ensure_host_ports(wanted, self._config.bridge)

    def _attach(self, pid: int, pod_uid: str, subnet: ipaddress.IPv4Network, ports: Sequence[PortMapping]) -> str:
        address = self._ipam.reserve(pod_uid, subnet)
        links.attach_pod(self._ipr(), self._config.bridge, pid, pod_uid, address, subnet, self._mtu)
        if ports or pod_uid in self._ports.mappings:
            self._ports.put(pod_uid, [port for port in ports if hostports.supported(port)])
            self._open_ports()
            udp = {port.host_port for port in ports if port.protocol == "UDP"}
            if udp:
                conntrack.forget_udp(udp)
        return address

    def _detach(self, pod_uid: str) -> None:
        if pod_uid in self._ports.mappings:
            self._ports.put(pod_uid, ())
            self._open_ports()  # before another pod may get the address
        links.detach_pod(self._ipr(), pod_uid)
        self._ipam.release(pod_uid)

    def _apply_routes(self, desired: Mapping[str, str]) -> Mapping[str, str]:
        changes = common.routes.changes(common.routes.our_routes(self._ipr()), desired)
        return common.routes.apply_routes(self._ipr(), changes)


def _enter(netns: str | None) -> None:
    if netns is not None:
        links.enter_netns(netns)
