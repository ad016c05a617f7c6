"""The pod network with real namespaces: two nodes joined by a veth pair, pods as namespaces, packets that arrive."""

from __future__ import annotations

import asyncio
import ipaddress
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lightkube.models.core_v1 import NodeAddress, NodeSpec, NodeStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node

from kubelet.network.links import veth_name
from kubelet.network.plugin import NetworkConfig, PodNetwork
from kubelet.types import NetworkError

SUBNETS = {"one": "10.244.1.0/24", "two": "10.244.2.0/24"}
NODE_IPS = {"one": "192.168.251.1", "two": "192.168.251.2"}


def run(*command: str, check: bool = True) -> str:
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=30).stdout


def in_netns(name: str, *command: str, check: bool = True) -> str:
    return run("nsenter", f"--net=/run/netns/{name}", *command, check=check)


@dataclass
class Lab:
    """Namespaces and processes of one test; all are gone at its end."""

    suffix: str = field(default_factory=lambda: uuid.uuid4().hex[:6])
    stack: ExitStack = field(default_factory=ExitStack)

    def namespace(self, name: str) -> str:
        name = f"e2-{name}-{self.suffix}"
        run("ip", "netns", "add", name)
        self.stack.callback(run, "ip", "netns", "del", name)
        in_netns(name, "ip", "link", "set", "lo", "up")
        return name

    def process(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["nsenter", f"--net=/run/netns/{name}", *command])
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def pod(self, name: str) -> tuple[str, int]:
        """A namespace and the pid of a process in it, as a sandbox would be."""
        namespace = self.namespace(name)
        return namespace, self.pid_in(namespace)

    def pid_in(self, namespace: str) -> int:
        process = self.process(namespace, "sleep", "300")
        inode = Path(f"/run/netns/{namespace}").stat().st_ino
        deadline = time.monotonic() + 10
        while Path(f"/proc/{process.pid}/ns/net").stat().st_ino != inode:
            assert time.monotonic() < deadline
        return process.pid


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    with lab.stack:
        yield lab


@pytest.fixture
async def nodes(lab: Lab, tmp_path: Path) -> AsyncIterator[dict[str, tuple[str, PodNetwork]]]:
    """Two nodes with an L2 between them, and Docker's FORWARD policy, each with its pod network started."""
    spaces = {name: lab.namespace(name) for name in SUBNETS}
    one, two = spaces.values()
    run("ip", "-n", one, "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", two)
    networks = {}
    for name, space in spaces.items():
        run("ip", "-n", space, "addr", "add", NODE_IPS[name] + "/24", "dev", "up0")
        run("ip", "-n", space, "link", "set", "up0", "up")
        in_netns(space, "iptables", "-P", "FORWARD", "DROP")
        config = NetworkConfig(name, tmp_path / name, netns=f"/run/netns/{space}")
        networks[name] = (space, PodNetwork(config))
        await networks[name][1].start(ipaddress.IPv4Network(SUBNETS[name]))
    yield networks
    for _, network in networks.values():
        await network.close()


def node(name: str, ip: str | None = None) -> Node:
    return Node(
        metadata=ObjectMeta(name=name),
        spec=NodeSpec(podCIDR=SUBNETS[name]),
        status=NodeStatus(addresses=[NodeAddress(ip or NODE_IPS[name], "InternalIP")]),
    )


def pings(namespace: str, address: str) -> bool:
    command = ["nsenter", f"--net=/run/netns/{namespace}", "busybox", "ping", "-c", "1", "-W", "2", address]
    return subprocess.run(command, capture_output=True, timeout=10).returncode == 0


async def fetch(namespace: str, address: str) -> str:
    """The page at port 8080; tried again until the server listens."""
    for _ in range(50):
        url = f"http://{address}:8080/cgi-bin/index.cgi"
        page = in_netns(namespace, "busybox", "wget", "-q", "-O", "-", url, check=False)
        if page:
            return page
        await asyncio.sleep(0.05)
    raise AssertionError(f"no answer from {address}")


async def test_pods_on_two_nodes_reach_each_other_without_nat(lab: Lab, nodes, tmp_path: Path) -> None:
    (_, first), (_, second) = nodes.values()
    client, client_pid = lab.pod("a")
    server, server_pid = lab.pod("b")
    client_ip = (await first.setup_pod(client_pid, "uid-a")).ip
    server_ip = (await second.setup_pod(server_pid, "uid-b")).ip
    assert client_ip == "10.244.1.2" and server_ip == "10.244.2.2"
    assert not pings(client, server_ip)

    everyone = [node("one"), node("two")]
    await first.sync_routes(everyone)
    await second.sync_routes(everyone)
    assert pings(client, server_ip)

    # The page is the address that the server sees: the pod's own.
    (tmp_path / "cgi-bin").mkdir()
    script = tmp_path / "cgi-bin" / "index.cgi"
    script.write_text('#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n$REMOTE_ADDR"\n')
    script.chmod(0o755)
    lab.process(server, "busybox", "httpd", "-f", "-p", "8080", "-h", str(tmp_path))
    assert client_ip in await fetch(client, server_ip)


async def test_pods_of_one_node_reach_each_other_and_the_node(lab: Lab, nodes) -> None:
    space, network = nodes["one"]
    one, one_pid = lab.pod("a")
    two, two_pid = lab.pod("b")
    one_ip, two_ip = [(await network.setup_pod(pid, uid)).ip for pid, uid in ((one_pid, "a"), (two_pid, "b"))]
    assert pings(one, two_ip) and pings(two, one_ip)
    assert pings(space, one_ip) and pings(one, NODE_IPS["one"])
    assert "hairpin on" in run("bridge", "-n", space, "-d", "link", "show", "dev", veth_name("a"))


async def test_a_pod_leaves_the_cluster_with_the_nodes_address(lab: Lab, nodes) -> None:
    """An address beside the other node, with no route back to pods, answers: the packet was masqueraded."""
    _, network = nodes["one"]
    pod, pid = lab.pod("a")
    await network.setup_pod(pid, "a")
    assert pings(pod, NODE_IPS["two"])


async def test_the_bridge_keeps_its_hardware_address(lab: Lab, nodes) -> None:
    space, network = nodes["one"]
    before = run("ip", "-n", space, "-br", "link", "show", "cox0").split()[2]
    for name in ("a", "b", "c", "d"):
        _, pid = lab.pod(name)
        await network.setup_pod(pid, name)
    assert run("ip", "-n", space, "-br", "link", "show", "cox0").split()[2] == before


async def test_setup_is_fast_and_idempotent(lab: Lab, nodes) -> None:
    _, network = nodes["one"]
    pod, pid = lab.pod("a")
    started = time.perf_counter()
    first = await network.setup_pod(pid, "a")
    elapsed = time.perf_counter() - started
    assert await network.setup_pod(pid, "a") == first
    assert run("ip", "-n", pod, "-br", "addr", "show", "eth0").count("10.244.1.") == 1
    assert elapsed < 0.5


async def test_a_new_sandbox_of_the_pod_takes_the_place_of_the_old(lab: Lab, nodes) -> None:
    space, network = nodes["one"]
    _, old_pid = lab.pod("a")
    new, new_pid = lab.pod("b")
    await network.setup_pod(old_pid, "a")
    address = (await network.setup_pod(new_pid, "a")).ip
    assert address in run("ip", "-n", new, "addr", "show", "eth0")
    assert pings(space, address)


async def test_addresses_survive_a_restart_and_a_lost_state_file(lab: Lab, nodes, tmp_path: Path) -> None:
    space, network = nodes["one"]
    _, one_pid = lab.pod("a")
    _, two_pid = lab.pod("b")
    held = (await network.setup_pod(one_pid, "a")).ip
    (tmp_path / "one" / "addresses.json").unlink()

    restarted = PodNetwork(NetworkConfig("one", tmp_path / "one", netns=f"/run/netns/{space}"))
    await restarted.start(ipaddress.IPv4Network(SUBNETS["one"]))
    assert await restarted.pod_ip("a") == held
    assert (await restarted.setup_pod(two_pid, "b")).ip != held
    await restarted.close()


async def test_teardown_removes_the_link_and_is_safe_to_repeat(lab: Lab, nodes) -> None:
    space, network = nodes["one"]
    _, pid = lab.pod("a")
    await network.setup_pod(pid, "a")
    await network.teardown_pod("a")
    await network.teardown_pod("a")
    assert await network.pod_ip("a") is None
    assert veth_name("a") not in run("ip", "-n", space, "link")


async def test_stale_routes_of_ours_go_and_foreign_ones_stay(nodes) -> None:
    space, network = nodes["one"]
    run("ip", "-n", space, "route", "add", "10.99.0.0/24", "via", NODE_IPS["two"])
    await network.sync_routes([node("one"), node("two")])
    assert "10.244.2.0/24 via 192.168.251.2" in run("ip", "-n", space, "route")
    await network.sync_routes([node("one"), node("two", "192.168.251.9")])
    assert "10.244.2.0/24 via 192.168.251.9" in run("ip", "-n", space, "route")
    await network.sync_routes([node("one")])
    left = run("ip", "-n", space, "route")
    assert "10.244.2.0/24" not in left and "10.99.0.0/24" in left


async def test_rules_are_put_back_once_and_foreign_ones_stay(nodes) -> None:
    space, network = nodes["one"]
    in_netns(space, "iptables", "-A", "FORWARD", "-s", "203.0.113.0/24", "-j", "DROP")
    in_netns(space, "iptables", "-D", "FORWARD", "-j", "COX-FORWARD")
    await network.resync()
    await network.resync()
    rules = in_netns(space, "iptables", "-S", "FORWARD").splitlines()
    assert rules.count("-A FORWARD -j COX-FORWARD") == 1
    assert rules[1] == "-A FORWARD -j COX-FORWARD"
    assert "-A FORWARD -s 203.0.113.0/24 -j DROP" in rules


async def test_before_the_node_has_a_subnet_the_network_is_not_ready(lab: Lab, tmp_path: Path) -> None:
    network = PodNetwork(NetworkConfig("one", tmp_path))
    _, pid = lab.pod("a")
    with pytest.raises(NetworkError, match="cni plugin not initialized"):
        await network.setup_pod(pid, "a")
    await network.close()


async def test_a_process_in_the_hosts_namespace_is_refused(lab: Lab, nodes) -> None:
    space, network = nodes["one"]
    with pytest.raises(NetworkError, match="namespace of the host"):
        await network.setup_pod(lab.pid_in(space), "a")
