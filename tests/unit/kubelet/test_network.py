"""Addresses, routes and rules as pure functions, and the address book's file."""

from __future__ import annotations

import asyncio
import ipaddress
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.models.core_v1 import NodeAddress, NodeSpec, NodeStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node

import common.routes
from kubelet.network import firewall, hostports, routes
from kubelet.network.ipam import AddressesExhausted, HostLocalIPAM, next_address
from kubelet.network.links import veth_name
from kubelet.network.watcher import NetworkWatcher
from kubelet.types import PortMapping

SUBNET = ipaddress.IPv4Network("10.244.3.0/28")
WEB = PortMapping("web_default", "TCP", 8000, 8080)


@given(st.sets(st.integers(0, 15)), st.one_of(st.none(), st.integers(0, 255)))
def test_an_address_is_free_and_never_reserved_for_the_subnet_itself(used: set[int], last: int | None) -> None:
    taken = {str(SUBNET.network_address + number) for number in used}
    last_address = None if last is None else str(SUBNET.network_address + last)
    if set(range(2, 15)) <= used:
        with pytest.raises(AddressesExhausted):
            next_address(SUBNET, taken, last_address)
        return
    address = next_address(SUBNET, taken, last_address)
    assert address not in taken
    assert 2 <= int(ipaddress.IPv4Address(address)) - int(SUBNET.network_address) <= 14


def test_a_released_address_is_used_last(tmp_path: Path) -> None:
    ipam = HostLocalIPAM(tmp_path / "state.json")
    first = ipam.reserve("a", SUBNET)
    ipam.release("a")
    assert ipam.reserve("b", SUBNET) != first
    others = [ipam.reserve(str(number), SUBNET) for number in range(12)]
    assert others[-1] == first
    with pytest.raises(AddressesExhausted, match="no IP addresses available"):
        ipam.reserve("one too many", SUBNET)


def test_reservations_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    address = HostLocalIPAM(path).reserve("a", SUBNET)
    again = HostLocalIPAM(path)
    assert again.get("a") == address
    assert again.reserve("a", SUBNET) == address
    assert again.reserve("b", SUBNET) != address


def test_a_torn_file_is_set_aside_and_living_pods_are_adopted(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"last": "10.2')
    ipam = HostLocalIPAM(path)
    ipam.adopt({"alive": "10.244.3.2"})
    assert ipam.reserve("new", SUBNET) == "10.244.3.3"
    assert HostLocalIPAM(path).get("alive") == "10.244.3.2"
    assert path.with_suffix(".corrupt").exists()


def test_what_lives_outranks_the_file(tmp_path: Path) -> None:
    ipam = HostLocalIPAM(tmp_path / "state.json")
    ipam.reserve("dead", SUBNET)
    ipam.adopt({"alive": "10.244.3.2"})
    assert ipam.addresses == {"alive": "10.244.3.2"}


def test_an_address_of_an_earlier_subnet_is_replaced(tmp_path: Path) -> None:
    ipam = HostLocalIPAM(tmp_path / "state.json")
    ipam.reserve("a", SUBNET)
    assert ipam.reserve("a", ipaddress.IPv4Network("10.244.9.0/24")) == "10.244.9.2"


def _node(name: str, cidr: str | None, ip: str | None) -> Node:
    addresses = [NodeAddress(name, "Hostname")] + ([NodeAddress(ip, "InternalIP")] if ip else [])
    return Node(metadata=ObjectMeta(name=name), spec=NodeSpec(podCIDR=cidr), status=NodeStatus(addresses=addresses))


def test_routes_lead_to_every_other_node_that_has_subnet_and_address() -> None:
    nodes = [
        _node("me", "10.244.0.0/24", "10.0.0.1"),
        _node("other", "10.244.1.0/24", "10.0.0.2"),
        _node("young", None, "10.0.0.3"),
        _node("lost", "10.244.3.0/24", None),
        _node("six", "fd00::/64", "10.0.0.4"),
        Node(metadata=ObjectMeta(name="bare")),
    ]
    assert routes.desired_routes(nodes, "me") == {"10.244.1.0/24": "10.0.0.2"}


def test_route_changes_touch_only_what_differs() -> None:
    changes = common.routes.changes({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"})
    assert set(changes.remove) == {("b", "2"), ("c", "3")}
    assert set(changes.add) == {("b", "9"), ("d", "4")}
    assert common.routes.changes({"a": "1"}, {"a": "1"}) == common.routes.RouteChanges((), ())


def test_pod_to_pod_is_left_alone_before_anything_is_masqueraded() -> None:
    text = firewall.restore_input("10.244.1.0/24", "10.244.0.0/16")
    nat = text[text.index("*nat") :].splitlines()
    assert nat.index("-A COX-POSTROUTING -d 10.244.0.0/16 -j RETURN") < next(
        number for number, line in enumerate(nat) if "MASQUERADE" in line
    )
    chains = {line.split()[1] for line in text.splitlines() if line.startswith("-A")}
    assert chains == {"COX-FORWARD", "COX-POSTROUTING"}


@given(st.text(min_size=1))
def test_an_interface_name_fits_the_kernels_limit(uid: str) -> None:
    assert len(veth_name(uid)) <= 15
    assert veth_name(uid) == veth_name(uid)


def test_an_iptables_that_hangs_is_a_failure_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not a FirewallError would end the kubelet."""

    def hang(command: Any, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 30)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(firewall.FirewallError, match="timed out after 30 seconds"):
        firewall.ensure("10.244.0.0/24", "10.244.0.0/16")


class FakeNetwork:
    ready, subnet = False, None

    async def start(self, subnet: ipaddress.IPv4Network) -> None:
        self.ready, self.subnet = True, str(subnet)

    async def sync_routes(self, nodes: Any) -> None:
        return


async def test_a_full_disk_does_not_keep_the_network_from_starting(tmp_path: Path) -> None:
    network: Any = FakeNetwork()
    own = Node(metadata=ObjectMeta(name="n1"), spec=NodeSpec(podCIDR="10.244.1.0/24"))
    nodes: Any = SimpleNamespace(
        synced=True, store=SimpleNamespace(get=lambda _: own, list=lambda: [own]), add_handler=lambda **_: None
    )
    ready = asyncio.Event()
    (tmp_path / "no folder").touch()
    watcher = NetworkWatcher(network, nodes, "n1", tmp_path / "no folder" / "subnet", ready.set)
    task = asyncio.create_task(watcher.run())
    await asyncio.wait({task, asyncio.ensure_future(ready.wait())}, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    await asyncio.wait({task}, timeout=0.1)
    assert ready.is_set() and not task.done()
    task.cancel()


PROXY, OURS, DOCKER = "-j KUBE-SERVICES", "-j COX-FORWARD", "-j DOCKER-USER"


@pytest.mark.parametrize(
    ("rules", "place"),
    [
        ([], firewall.Place(1)),
        ([DOCKER], firewall.Place(1)),
        ([PROXY, "-j KUBE-FORWARD", DOCKER], firewall.Place(3)),
        ([PROXY, OURS, DOCKER], None),
        ([OURS, DOCKER], None),
        ([OURS, PROXY, DOCKER], firewall.Place(3, 1)),
    ],
)
def test_the_proxy_refuses_before_pods_are_let_through(rules: list[str], place: firewall.Place | None) -> None:
    """Whoever came first: a pod that calls a Service without endpoints must be told so, not wait for an answer."""
    assert firewall.place_of_jump([f"-A FORWARD {rule}" for rule in rules], "COX-FORWARD") == place


def test_host_ports_have_a_chain_each_and_stale_ones_go() -> None:
    ports = {"u": (PortMapping("n" * 253 + "_" + "m" * 63, "UDP", 53, 5353, "192.0.2.1"),), "away": (WEB,)}
    wanted = hostports.bindings(ports, {"u": "10.244.1.2"})
    [binding] = wanted
    name = hostports.chain_of(binding)
    assert len(name) <= 28  # the kernel's limit
    lines = hostports.restore_input(wanted, ["COX-HP-OLD"], "cox0").splitlines()
    assert lines[-2:] == ["-X COX-HP-OLD", "COMMIT"] and ":COX-HP-OLD - [0:0]" in lines
    [portal] = [line for line in lines if line.startswith("-A COX-HOSTPORTS ")]
    assert portal.startswith("-A COX-HOSTPORTS -d 192.0.2.1/32 -p udp -m udp --dport 53 ")
    assert portal.endswith(f"-j {name}") and len(portal.split('"')[1]) <= 255
    assert hostports.port_chains([portal, "-A COX-HOSTPORTS -j RETURN", "-N COX-HOSTPORTS"]) == {name}


def test_host_ports_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "network" / "hostports.json"
    book = hostports.PortBook(path)
    book.put("a", [WEB])
    book.put("b", [WEB])
    book.put("b", [])
    assert hostports.PortBook(path).mappings == {"a": (WEB,)}
    book.keep(["c"])
    assert hostports.PortBook(path).mappings == {}
    path.write_text('{"a": [{"pod"')
    assert hostports.PortBook(path).mappings == {}
    assert path.with_suffix(".corrupt").exists()


def test_ports_at_addresses_that_pods_do_not_have() -> None:
    assert not hostports.supported(PortMapping("p", "TCP", 80, 80, "2001:db8::1"))
    assert hostports.supported(PortMapping("p", "TCP", 80, 80, "::"))
    assert hostports.supported(WEB)
