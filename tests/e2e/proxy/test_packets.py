"""Packets to Services arrive where they should, and the rules live with what else is on a machine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from proxy.__main__ import cleanup

VIP = "10.96.0.20"
PODS = ("10.244.1.11", "10.244.1.12", "10.244.1.13")
CALLER, NODE_IP, CLIENT_IP, BRIDGE_IP = "10.244.1.20", "192.0.2.1", "192.0.2.2", "10.244.1.1"


@pytest.mark.parametrize("source", ["node", "caller", "client"])
async def test_a_cluster_ip_reaches_all_pods_in_turn(proxy: Any, cluster: Any, lab: Any, source: str) -> None:
    cluster.service("web", VIP, PODS)
    await proxy.sync()
    if source == "client":
        lab.inside("client", "ip", "route", "replace", "10.96.0.0/16", "via", NODE_IP)
    for _ in range(2):
        assert sorted(lab.get(source, VIP)[0] for _ in PODS) == sorted(PODS)


async def test_source_addresses(proxy: Any, cluster: Any, lab: Any) -> None:
    """Pods are seen by their own address; who comes from outside the pod range is masqueraded."""
    cluster.service("web", VIP, PODS[:1], node_port=30080)
    await proxy.sync()
    assert lab.get("caller", VIP) == (PODS[0], CALLER)
    assert lab.get("client", f"{NODE_IP}:30080") == (PODS[0], BRIDGE_IP)
    assert lab.get("pod1", VIP) == (PODS[0], BRIDGE_IP)  # itself, by hairpin


async def test_node_ports(proxy: Any, cluster: Any, lab: Any) -> None:
    cluster.service("web", VIP, PODS, node_port=30080)
    await proxy.sync()
    for source, address in (("client", NODE_IP), ("node", NODE_IP), ("node", "127.0.0.1"), ("caller", BRIDGE_IP)):
        assert sorted(lab.get(source, f"{address}:30080")[0] for _ in PODS) == sorted(PODS)


async def test_external_policy_local_keeps_the_clients_address(proxy: Any, cluster: Any, lab: Any) -> None:
    cluster.service("web", VIP, PODS[:1], node_port=30080, externalTrafficPolicy="Local")
    await proxy.sync()
    assert lab.get("client", f"{NODE_IP}:30080") == (PODS[0], CLIENT_IP)


async def test_session_affinity(proxy: Any, cluster: Any, lab: Any) -> None:
    cluster.service("web", VIP, PODS, sessionAffinity="ClientIP")
    await proxy.sync()
    assert len({lab.get("caller", VIP)[0] for _ in range(5)}) == 1


async def test_services_without_endpoints_refuse(proxy: Any, cluster: Any, lab: Any) -> None:
    cluster.service("web", VIP, (), node_port=30080)
    await proxy.sync()
    assert lab.refused("caller", VIP)
    assert lab.refused("node", VIP)
    assert lab.refused("client", f"{NODE_IP}:30080")
    cluster.service("web", VIP, PODS[:1], node_port=30080)
    await proxy.sync()
    assert lab.get("caller", VIP)[0] == PODS[0]


async def test_source_ranges(proxy: Any, cluster: Any, lab: Any) -> None:
    ingress = {"type": "LoadBalancer", "externalIPs": ["198.51.100.9"]}
    cluster.service("web", VIP, PODS[:1], loadBalancerSourceRanges=["198.51.100.0/24"], **ingress)
    status = cluster._services["default/web"]
    from lightkube.models.core_v1 import LoadBalancerIngress, LoadBalancerStatus, ServiceStatus

    status.status = ServiceStatus(loadBalancer=LoadBalancerStatus(ingress=[LoadBalancerIngress(ip="203.0.113.1")]))
    lab.inside("client", "ip", "route", "replace", "203.0.113.1", "via", NODE_IP)
    await proxy.sync()
    with pytest.raises(subprocess.CalledProcessError):
        lab.get("client", "203.0.113.1")
    status.spec.loadBalancerSourceRanges = ["192.0.2.0/24"]
    cluster._mark("web")
    await proxy.sync()
    assert lab.get("client", "203.0.113.1")[0] == PODS[0]


async def test_a_rolling_update_loses_no_request(proxy: Any, cluster: Any, lab: Any) -> None:
    """Endpoints come and go while requests go on; each request is answered, and only by an endpoint of the moment."""
    cluster.service("web", VIP, PODS[:1])
    running = asyncio.create_task(proxy.syncer.run())
    try:
        await wait_for(lambda: f"{PODS[0]}:8080" in proxy.saved())
        for endpoints in (PODS[:2], PODS[1:2], PODS[1:], PODS[2:], PODS):
            cluster.service("web", VIP, endpoints)
            await wait_for(lambda e=endpoints: {p for p in PODS if f"-> {p}:8080" in proxy.saved()} == set(e))
            answers = await asyncio.gather(*(asyncio.to_thread(lab.get, "caller", VIP) for _ in range(6)))
            assert {pod for pod, _ in answers} == set(endpoints)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_udp_flows_leave_endpoints_that_went(proxy: Any, cluster: Any, lab: Any) -> None:
    """A client that reuses its socket stays in one flow: the kernel keeps sending it to the old endpoint."""
    cluster.service("dns", VIP, PODS[:1], port=53, target=5353, protocol="UDP")
    await proxy.sync()
    assert lab.ask_udp("caller", VIP, 53) == PODS[0]
    cluster.service("dns", VIP, PODS[1:2], port=53, target=5353, protocol="UDP")
    await proxy.sync()
    assert lab.ask_udp("caller", VIP, 53) == PODS[0]
    # the clean-up works on the network namespace that it runs in
    script = (
        "import asyncio; from proxy.conntrack import UdpEndpoints, forget_stale_flows;"
        f"valid = UdpEndpoints({{('{VIP}', 53): frozenset([('{PODS[1]}', 5353)])}}, {{}});"
        "print(asyncio.run(forget_stale_flows(valid)), asyncio.run(forget_stale_flows(valid)))"
    )
    assert lab.inside("node", sys.executable, "-c", script).split() == ["1", "0"]
    assert lab.ask_udp("caller", VIP, 53) == PODS[1]


async def test_foreign_rules_and_chains_are_left_alone(proxy: Any, cluster: Any, lab: Any) -> None:
    lab.inside("node", "iptables", "-t", "nat", "-N", "DOCKER")
    lab.inside("node", "iptables", "-t", "nat", "-A", "PREROUTING", "-j", "DOCKER")
    lab.inside("node", "iptables", "-t", "nat", "-A", "DOCKER", "-p", "tcp", "--dport", "9", "-j", "RETURN")
    lab.inside("node", "iptables", "-N", "KUBE-FIREWALL")
    cluster.service("web", VIP, PODS)
    await proxy.sync()
    cluster.remove("web")
    await proxy.sync()
    assert "-A DOCKER -p tcp -m tcp --dport 9 -j RETURN" in proxy.saved()
    assert "-A PREROUTING -j DOCKER" in proxy.saved()
    assert "KUBE-SEP" not in proxy.saved() and "KUBE-SVC" not in proxy.saved()
    assert await cleanup(proxy.iptables) == 0
    assert "-A PREROUTING -j DOCKER" in proxy.saved()
    assert "KUBE-" not in proxy.saved()
    assert ":KUBE-FIREWALL" in proxy.saved("filter") and "KUBE-SERVICES" not in proxy.saved("filter")


async def test_leftovers_of_an_earlier_run_are_cleaned(proxy: Any, cluster: Any, lab: Any) -> None:
    cluster.service("old", "10.96.0.30", PODS[:1])
    await proxy.sync()
    cluster._services.clear()
    cluster.service("web", VIP, PODS)
    proxy.syncer = proxy.make_syncer()  # a new process, which knows nothing of the old one
    assert "default/old" in proxy.saved()
    await proxy.sync()
    assert "default/old" not in proxy.saved()
    assert proxy.saved().count("-A PREROUTING") == 1
    assert lab.get("caller", VIP)[0] in PODS


@pytest.mark.parametrize("remove_chains", [False, True])
async def test_a_flush_by_foreign_hands_is_mended(proxy: Any, cluster: Any, lab: Any, remove_chains: bool) -> None:
    cluster.service("web", VIP, PODS)
    running = asyncio.create_task(proxy.syncer.run())
    try:
        await wait_for(lambda: VIP in proxy.saved() and "-A POSTROUTING" in proxy.saved())
        lab.inside("node", "iptables", "-t", "nat", "-F")
        if remove_chains:
            lab.inside("node", "iptables", "-t", "nat", "-X")
        await wait_for(lambda: VIP in proxy.saved() and "-A POSTROUTING" in proxy.saved())
        assert lab.get("caller", VIP)[0] in PODS
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert lab.get("caller", VIP)[0] in PODS, "rules stay when the proxy ends"


async def wait_for(condition: Any, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the kernel's tables have no event to wait for
            await asyncio.sleep(0.05)
