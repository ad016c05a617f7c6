"""Netlink work of the pod network: the bridge, a veth pair for each pod, routes. Blocking; call it on one thread.

A pod's veth carries an alias ``cox:<pod uid>:<address>`` on the host's side, so that what runs can be read back from
the kernel alone when the state on disk is lost. Names and aliases are looked at anew in every call: nothing is cached,
so a crash between two steps is mended by the next call.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from kubelet.types import NetworkError

POD_INTERFACE = "eth0"
_ALIAS = "cox:"
_CLONE_NEWNET = 0x40000000
_AF_INET = 2
_HAIRPIN = 1
_libc = ctypes.CDLL(None, use_errno=True)


def enter_netns(path: str) -> None:
    """Moves the calling thread into a network namespace (os.setns is there from Python 3.12 only)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(descriptor)
    finally:
        os.close(descriptor)


def veth_name(pod_uid: str) -> str:
    """At most 15 characters, the same in every run."""
    return "veth" + hashlib.sha256(pod_uid.encode()).hexdigest()[:10]


def ensure_bridge(ipr: IPRoute, name: str, subnet: ipaddress.IPv4Network, gateway: ipaddress.IPv4Address) -> None:
    """The bridge is up and holds the gateway's address of the subnet, and no address of an earlier subnet."""
    index = _index(ipr, name)
    if index is None:
        ipr.link("add", ifname=name, kind="bridge")
        index = _require_index(ipr, name)
    for address in ipr.get_addr(index=index, family=_AF_INET):
        if (address.get("address"), address["prefixlen"]) != (str(gateway), subnet.prefixlen):
            ipr.addr("del", index=index, address=address.get("address"), prefixlen=address["prefixlen"])
    if not list(ipr.get_addr(index=index, family=_AF_INET)):
        ipr.addr("add", index=index, address=str(gateway), prefixlen=subnet.prefixlen)
    # Its own hardware address for good: else it takes that of whichever pod's link joined, and peers' ARP goes stale.
    own = ipr.get_links(index)[0].get("address")
    ipr.link("set", index=index, state="up", mtu=uplink_mtu(ipr), address=own)


def uplink_mtu(ipr: IPRoute) -> int:
    """The MTU of the interface with the default route: pods must not send what the node cannot forward."""
    for route in ipr.get_default_routes(family=_AF_INET):
        index = route.get("oif")
        if index is not None:
            return int(ipr.get_links(index)[0].get("mtu"))
    return 1500


def attach_pod(
    ipr: IPRoute, bridge: str, pid: int, pod_uid: str, address: str, subnet: ipaddress.IPv4Network, mtu: int
) -> None:
    """The pod's namespace has eth0 with the address and a default route, joined to the bridge in hairpin mode.

    What an interrupted attempt, or the pod's earlier sandbox, left is replaced.
    """
    gateway = str(ipaddress.IPv4Address(int(subnet.network_address) + 1))
    name = veth_name(pod_uid)
    with _pod_netlink(pid) as pod:
        index = _index(ipr, name)
        if index is not None:
            if _has_address(pod, address) and _has_default_route(pod):
                _join(ipr, bridge, index, pod_uid, address)
                return
            ipr.link("del", index=index)
        ipr.link(
            "add", ifname=name, kind="veth", mtu=mtu, peer={"ifname": POD_INTERFACE, "net_ns_pid": pid, "mtu": mtu}
        )
        _join(ipr, bridge, _require_index(ipr, name), pod_uid, address)
        eth0 = _require_index(pod, POD_INTERFACE)
        pod.link("set", index=_require_index(pod, "lo"), state="up")
        pod.addr("add", index=eth0, address=address, prefixlen=subnet.prefixlen)
        pod.link("set", index=eth0, state="up")
        pod.route("add", dst="default", gateway=gateway)


def detach_pod(ipr: IPRoute, pod_uid: str) -> None:
    """Removes the pod's veth pair if it is still there (the kernel removes it with the sandbox)."""
    index = _index(ipr, veth_name(pod_uid))
    if index is None:
        return
    try:
        ipr.link("del", index=index)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise


def living_pods(ipr: IPRoute) -> dict[str, str]:
    """Pod uid -> address of every pod whose veth exists, as the aliases tell."""
    pods = {}
    for link in ipr.get_links():
        alias = link.get("ifalias") or ""
        if alias.startswith(_ALIAS):
            pod_uid, _, address = alias.removeprefix(_ALIAS).rpartition(":")
            pods[pod_uid] = address
    return pods


@contextmanager
def _pod_netlink(pid: int) -> Iterator[Any]:
    """A netlink socket in the namespace of a process. The thread is back home before the body runs."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino == os.fstat(home).st_ino:
            raise NetworkError(f"process {pid} is in the network namespace of the host")
        enter_netns(f"/proc/{pid}/ns/net")
        try:
            pod = IPRoute()
        finally:
            _setns(home)
    except FileNotFoundError as error:
        raise NetworkError(f"the sandbox's process {pid} is gone") from error
    finally:
        os.close(home)
    try:
        yield pod
    finally:
        pod.close()


def _join(ipr: IPRoute, bridge: str, index: int, pod_uid: str, address: str) -> None:
    ipr.link("set", index=index, ifalias=f"{_ALIAS}{pod_uid}:{address}")
    ipr.link("set", index=index, master=_require_index(ipr, bridge), state="up")
    # A pod that reaches itself through a Service leaves and enters by the same bridge port.
    ipr.link("set", index=index, kind="bridge_slave", IFLA_BRPORT_MODE=_HAIRPIN)


def _has_address(pod: IPRoute, address: str) -> bool:
    index = _index(pod, POD_INTERFACE)
    return index is not None and any(held.get("address") == address for held in pod.get_addr(index=index))


def _has_default_route(pod: IPRoute) -> bool:
    return bool(list(pod.get_default_routes(family=_AF_INET)))


def _index(ipr: IPRoute, name: str) -> int | None:
    found = ipr.link_lookup(ifname=name)
    return int(found[0]) if found else None


def _require_index(ipr: IPRoute, name: str) -> int:
    index = _index(ipr, name)
    if index is None:
        raise NetworkError(f"network interface {name} is gone")
    return index


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")
