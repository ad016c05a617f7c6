"""A node and its pods as network namespaces: the proxy's rules are tried with packets, on networks made here.

        client --- node --- bridge --- pod-1 .. pod-3 (busybox httpd) and a pod that calls
    192.0.2.2   192.0.2.1   10.244.1.1     10.244.1.11 ..               10.244.1.20

The syncer is the real one; the API objects come from `Cluster` instead of informers.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice
from prometheus_client import CollectorRegistry

from proxy.iptables import Iptables
from proxy.metrics import SyncMetrics
from proxy.model import Endpoint, ServicePort, endpoints_of, service_ports
from proxy.rules import RuleConfig
from proxy.sync import Syncer

PODS = ("10.244.1.11", "10.244.1.12", "10.244.1.13")
CALLER, NODE_IP, CLIENT_IP = "10.244.1.20", "192.0.2.1", "192.0.2.2"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


class Lab:
    """The namespaces, and commands in them."""

    def __init__(self, folder: Path) -> None:
        self.prefix = f"f-{os.getpid()}-"
        self._folder = folder
        self._servers: list[subprocess.Popen[bytes]] = []

    def name(self, namespace: str) -> str:
        return self.prefix + namespace

    def inside(self, namespace: str, *command: str) -> str:
        return run("ip", "netns", "exec", self.name(namespace), *command)

    def add(self, namespace: str) -> None:
        run("ip", "netns", "add", self.name(namespace))
        self.inside(namespace, "ip", "link", "set", "lo", "up")

    def build(self) -> None:
        self.add("node")
        self.inside("node", "ip", "link", "add", "cox0", "type", "bridge")
        self.inside("node", "ip", "addr", "add", "10.244.1.1/24", "dev", "cox0")
        self.inside("node", "ip", "link", "set", "cox0", "up")
        self.inside("node", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1")
        self._connect("client", CLIENT_IP, NODE_IP)
        self.inside("node", "ip", "addr", "add", f"{NODE_IP}/24", "dev", "client")
        self.inside("node", "ip", "link", "set", "client", "up")
        # A packet is routed before the OUTPUT chain translates it: as on every real node, something leads everywhere.
        self.inside("node", "ip", "route", "add", "default", "via", CLIENT_IP)
        for number, ip in enumerate(PODS, start=1):
            self._pod(f"pod{number}", ip)
            self._serve(f"pod{number}", ip)
        self._pod("caller", CALLER)

    def _connect(self, namespace: str, ip: str, gateway: str) -> None:
        self.add(namespace)
        self.inside(
            "node", "ip", "link", "add", namespace, "type", "veth", "peer", "eth0", "netns", self.name(namespace)
        )
        self.inside(namespace, "ip", "addr", "add", f"{ip}/24", "dev", "eth0")
        self.inside(namespace, "ip", "link", "set", "eth0", "up")
        self.inside("node", "ip", "link", "set", namespace, "up")
        self.inside(namespace, "ip", "route", "add", "default", "via", gateway)

    def _pod(self, namespace: str, ip: str) -> None:
        self._connect(namespace, ip, "10.244.1.1")
        self.inside("node", "ip", "link", "set", namespace, "master", "cox0")
        # Hairpin: a pod that calls its own service gets its own packet back through the bridge's port.
        self.inside("node", "bridge", "link", "set", "dev", namespace, "hairpin", "on")

    def _serve(self, namespace: str, ip: str) -> None:
        """A web server that says who it is and who asked."""
        root = self._folder / namespace
        (root / "cgi-bin").mkdir(parents=True)
        script = root / "cgi-bin" / "who"
        script.write_text(f'#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n{ip} $REMOTE_ADDR"\n')
        script.chmod(0o755)
        udp = (
            "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 5353))\n"
            f"while True: s.sendto(b'{ip}', s.recvfrom(99)[1])"
        )
        for command in (("busybox", "httpd", "-f", "-p", "8080", "-h", str(root)), (sys.executable, "-c", udp)):
            self._servers.append(subprocess.Popen(("ip", "netns", "exec", self.name(namespace), *command)))

    def get(self, namespace: str, address: str) -> tuple[str, str]:
        """(pod that answered, address it saw as the client's). Raises CalledProcessError when there is no answer."""
        url = f"http://{address}/cgi-bin/who"
        pod, client = self.inside(namespace, "curl", "-sf", "--max-time", "2", url).split()
        return pod, client.removeprefix("[::ffff:").removesuffix("]")

    def ask_udp(self, namespace: str, address: str, port: int) -> str:
        """The pod that answers a datagram. Always from the same port, so that it is one flow to the kernel."""
        script = (
            "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(2); s.bind(('', 26500));"
            f"s.sendto(b'who', ('{address}', {port})); print(s.recv(99).decode())"
        )
        return self.inside(namespace, sys.executable, "-c", script).strip()

    def refused(self, namespace: str, address: str) -> bool:
        """Whether a connection is refused at once (not just unanswered)."""
        command = ("ip", "netns", "exec", self.name(namespace), "curl", "-s", "--max-time", "2", f"http://{address}/")
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 7

    def destroy(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait()
        for line in run("ip", "netns", "list").splitlines():
            if line.startswith(self.prefix):
                run("ip", "netns", "del", line.split()[0])


class Cluster:
    """Stands in for ServiceTracker: Services and EndpointSlices as a test wants them."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._dirty: set[str] = set()
        self._services: dict[str, Service] = {}
        self._slices: dict[str, EndpointSlice] = {}

    async def wait_synced(self) -> None:
        pass

    def take_dirty(self) -> set[str]:
        dirty, self._dirty = self._dirty, set()
        self.changed.clear()
        return dirty

    def ports(self, key: str) -> list[tuple[ServicePort, list[Endpoint]]]:
        if key not in self._services:
            return []
        return [(p, endpoints_of(p, [self._slices[key]], "node")) for p in service_ports(self._services[key])]

    def service(self, name: str, ip: str, endpoints: tuple[str, ...], port: int = 80, **spec: Any) -> None:
        protocol = spec.pop("protocol", "TCP")
        target, node_port = spec.pop("target", 8080), spec.pop("node_port", None)
        ports = [{"port": port, "protocol": protocol, "nodePort": node_port}]
        metadata = {"name": name, "namespace": "default"}
        self._services[f"default/{name}"] = Service.from_dict(
            {"metadata": metadata, "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": ports} | spec}
        )
        self._slices[f"default/{name}"] = EndpointSlice.from_dict(
            {
                "metadata": metadata,
                "addressType": "IPv4",
                "ports": [{"port": target, "protocol": protocol}],
                "endpoints": [{"addresses": [e], "nodeName": "node"} for e in endpoints],
            }
        )
        self._mark(name)

    def remove(self, name: str) -> None:
        del self._services[f"default/{name}"]
        self._mark(name)

    def _mark(self, name: str) -> None:
        self._dirty.add(f"default/{name}")
        self.changed.set()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"))
    try:
        made.build()
        yield made
    finally:
        made.destroy()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def iptables(lab: Lab) -> Iptables:
    return Iptables(prefix=("ip", "netns", "exec", lab.name("node")))


class Proxy:
    """A syncer, with its running task when started."""

    def __init__(self, lab: Lab, cluster: Cluster, iptables: Iptables) -> None:
        self.lab, self.cluster, self.iptables = lab, cluster, iptables
        self.syncer = self.make_syncer()

    def make_syncer(self) -> Syncer:
        config = RuleConfig(cluster_cidrs=("10.244.0.0/16",), node_ip=NODE_IP)
        metrics = SyncMetrics(CollectorRegistry())
        tracker: Any = self.cluster
        return Syncer(tracker, self.iptables, config, metrics, min_sync_period=0.01, sync_period=0.1)

    async def sync(self) -> None:
        await self.syncer.sync()

    def saved(self, table: str = "nat") -> str:
        return self.lab.inside("node", "iptables-save", "-t", table)


@pytest.fixture
async def proxy(lab: Lab, cluster: Cluster, iptables: Iptables) -> AsyncIterator[Proxy]:
    yield Proxy(lab, cluster, iptables)
    for table in ("nat", "filter"):
        lab.inside("node", "iptables", "-t", table, "-F")
        lab.inside("node", "iptables", "-t", table, "-X")
