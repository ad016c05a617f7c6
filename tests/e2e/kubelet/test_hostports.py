"""Host ports with real namespaces and packets: who reaches a pod by its node's port, and when it is closed."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from pathlib import Path

from kubelet.network.plugin import NetworkConfig, PodNetwork
from kubelet.types import PortMapping
from tests.e2e.kubelet.test_network import NODE_IPS, SUBNETS, Lab, in_netns, lab, nodes

__all__ = ["lab", "nodes"]

WEB = PortMapping("web_default", "TCP", 8000, 8080)


def rules(space: str) -> list[str]:
    return [line for line in in_netns(space, "iptables-save").splitlines() if "COX-HP-" in line]


async def get(space: str, address: str, *, port: int = 8000, tries: int = 50) -> str:
    """The page there; "" when nobody answers."""
    for _ in range(tries):
        url = f"http://{address}:{port}/page"
        page = in_netns(space, "busybox", "timeout", "5", "busybox", "wget", "-q", "-O", "-", url, check=False)
        if page:
            return page
    return ""


def serve(lab: Lab, space: str, folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "page").write_text(text)
    lab.process(space, "busybox", "httpd", "-f", "-p", "8080", "-h", str(folder))


async def test_a_host_port_is_open_to_everybody_and_closed_with_its_pod(lab, nodes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (one, network), (two, _) = nodes.values()
    web, web_pid = lab.pod("web")
    client, client_pid = lab.pod("client")
    await network.setup_pod(client_pid, "uid-client")
    await network.setup_pod(web_pid, "uid-web", [WEB])
    serve(lab, web, tmp_path / "web", "hello")
    node_ip = NODE_IPS["one"]
    for place, space, address in (
        ("another node", two, node_ip),
        ("the node itself", one, node_ip),
        ("the node itself, by its loopback", one, "127.0.0.1"),
        ("a pod of the node", client, node_ip),
        ("the pod itself", web, node_ip),
    ):
        assert await get(space, address) == "hello", place
    assert await get(two, node_ip, port=8080, tries=1) == ""

    await network.teardown_pod("uid-web")
    assert rules(one) == []
    assert await get(two, node_ip, tries=1) == ""


async def test_a_host_ip_narrows_it(lab, nodes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (one, network), (two, _) = nodes.values()
    web, web_pid = lab.pod("web")
    await network.setup_pod(web_pid, "uid-web", [PortMapping("web_default", "TCP", 8000, 8080, "127.0.0.1")])
    serve(lab, web, tmp_path / "web", "local")
    assert await get(one, "127.0.0.1") == "local"
    assert await get(two, NODE_IPS["one"], tries=1) == ""


async def test_ports_are_put_back_and_forgotten_ones_taken_away(lab, nodes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """After a restart of the kubelet, and after somebody flushed the tables."""
    (one, network), (two, _) = nodes.values()
    web, web_pid = lab.pod("web")
    _, gone_pid = lab.pod("gone")
    await network.setup_pod(web_pid, "uid-web", [WEB])
    await network.setup_pod(gone_pid, "uid-gone", [PortMapping("gone_default", "UDP", 53, 53)])
    serve(lab, web, tmp_path / "web", "again")
    before = rules(one)
    in_netns(one, "iptables", "-t", "nat", "-F")
    restarted = PodNetwork(NetworkConfig("one", tmp_path / "one", netns=f"/run/netns/{one}"))
    await restarted.start(ipaddress.IPv4Network(SUBNETS["one"]))
    assert rules(one) == before
    assert await get(two, NODE_IPS["one"]) == "again"
    await restarted.teardown_pod("uid-gone")
    assert not [line for line in rules(one) if "gone_default" in line]
    assert await get(two, NODE_IPS["one"]) == "again"
    await restarted.close()


async def test_a_pod_without_ports_writes_no_chains(lab, nodes) -> None:  # type: ignore[no-untyped-def]
    one, network = nodes["one"]
    _, pid = lab.pod("plain")
    await network.setup_pod(pid, "uid-plain")
    assert "HOSTPORTS" not in in_netns(one, "iptables-save")


SENDER = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 4321))
while True:
    try:
        sock.sendto(b"x", (sys.argv[1], 5300))
    except OSError:
        pass
    time.sleep(0.05)
"""
RECEIVER = """
import pathlib, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 53))
sock.recv(1)
pathlib.Path(sys.argv[1]).write_text("came")
"""


async def test_a_client_that_never_stops_finds_the_next_pod(lab, nodes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Its flow began when no pod had the port."""
    (one, network), (two, _) = nodes.values()
    lab.process(two, sys.executable, "-c", SENDER, NODE_IPS["one"])
    for _ in range(300):
        if "dport=5300" in in_netns(one, "cat", "/proc/net/nf_conntrack"):
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("no flow began")
    dns, pid = lab.pod("dns")
    lab.process(dns, sys.executable, "-c", RECEIVER, str(tmp_path / "came"))
    await network.setup_pod(pid, "uid-dns", [PortMapping("dns_default", "UDP", 5300, 53)])
    for _ in range(300):
        if (tmp_path / "came").exists():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nothing came")
