"""Our API server and upstream's, side by side: the same machine, hour, etcd, certificates and load, in turn.

Absolute figures move from hour to hour, those of one hour compare. Each server is in a container without a network of
its own, with an etcd of its own (the cluster's image) on its loopback, where the load generator joins it and shows a
token: upstream's server verifies a client certificate anew for each request, which would double what that costs.
``--upstream`` is a static kube-apiserver; ./cox up has made the images and the certificates.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from uuid import uuid4

from bench.api import MUST, Row, build, parse

PROJECT = os.environ.get("COX_PROJECT", "coxswain")
URL = "https://127.0.0.1:6443"
PKI = "/etc/kubernetes"
TOKENS = "/tokens.csv"
READY_SECONDS = 60.0

COMMON = {
    "bind-address": "127.0.0.1",
    "etcd-servers": "https://127.0.0.1:2379",
    "etcd-cafile": f"{PKI}/etcd/ca.crt",
    "etcd-certfile": f"{PKI}/apiserver-etcd-client.crt",
    "etcd-keyfile": f"{PKI}/apiserver-etcd-client.key",
    "client-ca-file": f"{PKI}/ca.crt",
    "tls-cert-file": f"{PKI}/apiserver.crt",
    "tls-private-key-file": f"{PKI}/apiserver.key",
    "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
    "service-account-key-file": f"{PKI}/sa.pub",
    "service-account-signing-key-file": f"{PKI}/sa.key",
    "service-cluster-ip-range": "10.96.0.0/16",
    "token-auth-file": TOKENS,
}
OURS = {"advertise-address": "127.0.0.1"}
UPSTREAMS = {
    "advertise-address": "192.0.2.1",  # it refuses loopback
    "authorization-mode": "Node,RBAC",
    "disable-admission-plugins": "ServiceAccount",  # there is no controller manager to make accounts
}
ETCD = {
    "data-dir": "/var/lib/etcd-bench",
    "listen-client-urls": "https://127.0.0.1:2379",
    "advertise-client-urls": "https://127.0.0.1:2379",
    "listen-peer-urls": "http://127.0.0.1:2380",
    "client-cert-auth": "true",
    "trusted-ca-file": "/etc/etcd/ca.crt",
    "cert-file": "/etc/etcd/server.crt",
    "key-file": "/etc/etcd/server.key",
    "log-level": "warn",
}


@dataclass(frozen=True)
class Server:
    name: str
    pid: int
    """Of its container's first process."""

    def load(self, binary: Path, kubeconfig: Path, seconds: int, pods: int, only: str) -> dict[str, Row]:
        inside = ["nsenter", "-t", str(self.pid), "-n"]
        flags = ["-kubeconfig", kubeconfig, "-pids", str(self.pid), "-d", f"{seconds}s", "-pods", str(pods)]
        flags += ["-only", only, "-ns", f"bench-{uuid4().hex[:8]}"]
        done = subprocess.run([*inside, binary, *flags], check=True, capture_output=True, text=True)
        return parse(done.stdout)


def measure(upstream: Path, seconds: int, pods: int, rounds: int, only: str) -> str:
    """A table of the medians of all rounds."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        binary, kubeconfig = build(folder), folder / "kubeconfig"
        tokens = _credentials(folder, kubeconfig)
        mount = f"{upstream.resolve()}:/kube-apiserver:ro"
        servers = [
            stack.enter_context(_server("ours", "control-plane", ["python3", "-m", "apiserver"], OURS, tokens)),
            stack.enter_context(_server("upstream's", "etcd", ["/kube-apiserver"], UPSTREAMS, tokens, mount)),
        ]
        for server in servers:
            _wait(server)
        found: dict[str, list[dict[str, Row]]] = {server.name: [] for server in servers}
        for number in range(rounds):
            for server in servers[:: -1 if number % 2 else 1]:
                found[server.name].append(server.load(binary, kubeconfig, seconds, pods, only))
        return table(found["ours"], found["upstream's"])


def table(ours: list[dict[str, Row]], upstreams: list[dict[str, Row]]) -> str:
    lines = [
        "| row | CPU, us: ours | upstream's | ratio | must | p99 ms: ours | upstream's | req/s: ours | upstream's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in ours[0]:
        a, b = ([each[name] for each in side if name in each] for side in (ours, upstreams))
        cpu, other = (median(row.cpu for row in side) for side in (a, b))
        p99, other99 = (median(row.p99 for row in side) for side in (a, b))
        rate, others = (median(row.rate for row in side) for side in (a, b))
        figures = f"{cpu:,.4g} | {other:,.4g} | {cpu / other:.2f} | {MUST[name]:,} | {p99:.3g} | {other99:.3g}"
        lines.append(f"| {name} | {figures} | {rate:,.0f} | {others:,.0f} |")
    return "\n".join(lines)


def _credentials(folder: Path, kubeconfig: Path) -> str:
    """Writes the kubeconfig of an administrator; gives what to mount for the servers to know it."""
    token, tokens = secrets.token_hex(16), folder / "tokens.csv"
    for path in (kubeconfig, tokens):
        path.touch(0o600)
    tokens.write_text(f"{token},admin,admin,system:masters\n")
    user, cluster = {"name": "admin", "user": {"token": token}}, {"name": "bench", "cluster": {"server": URL}}
    context = {"name": "bench", "context": {"cluster": "bench", "user": "admin"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "bench"}
    kubeconfig.write_text(json.dumps({**config, "users": [user], "clusters": [cluster], "contexts": [context]}))
    return f"{tokens}:{TOKENS}:ro"


@contextmanager
def _server(name: str, image: str, command: list[str], flags: dict[str, str], *mounts: str) -> Iterator[Server]:
    etcd, server = (f"{PROJECT}-bench-{uuid4().hex[:8]}" for _ in range(2))
    try:
        _container(etcd, "etcd", "none", f"{PROJECT}_secrets-etcd:/etc/etcd:ro", command=["etcd", *_words(ETCD)])
        pki = f"{PROJECT}_secrets-apiserver:{PKI}:ro"
        words = [*command, *_words({**COMMON, **flags})]
        _container(server, image, f"container:{etcd}", pki, *mounts, command=words)
        shown = subprocess.run(["docker", "inspect", server], check=True, capture_output=True, text=True).stdout
        yield Server(name, int(json.loads(shown)[0]["State"]["Pid"]))
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", server, etcd], capture_output=True)


def _container(name: str, image: str, network: str, *mounts: str, command: list[str]) -> None:
    volumes = [word for mount in mounts for word in ("-v", mount)]
    start = ["docker", "run", "-d", "--name", name, "--network", network, *volumes, "--entrypoint", command[0]]
    subprocess.run([*start, f"coxswain/{image}", *command[1:]], check=True, capture_output=True)


def _words(flags: dict[str, str]) -> list[str]:
    return [f"--{key}={value}" for key, value in flags.items()]


def _wait(server: Server) -> None:
    deadline = time.monotonic() + READY_SECONDS
    probe = ["nsenter", "-t", str(server.pid), "-n", "curl", "-sk", "-m", "2", f"{URL}/readyz"]
    while subprocess.run(probe, capture_output=True, text=True).stdout != "ok":
        if time.monotonic() > deadline:
            raise TimeoutError(f"{server.name} is not ready after {READY_SECONDS:g} s")
        time.sleep(0.5)
