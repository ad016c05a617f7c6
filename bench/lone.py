"""An API server alone: no network but its loopback, an etcd of its own there, and the load generator beside it.

So upstream's figures were measured. The etcd is the cluster's image, the certificates are the cluster's: ./cox up has
made both.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.load import words

PROJECT = os.environ.get("COX_PROJECT", "coxswain")
URL = "https://127.0.0.1:6443"
PKI = "/etc/kubernetes"
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
}
OURS = {"advertise-address": "127.0.0.1"}
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

    def run(self, *words: str | Path, check: bool = True) -> str:
        """What a command beside it writes."""
        inside = ["nsenter", "-t", str(self.pid), "-n"]
        return subprocess.run([*inside, *words], check=check, capture_output=True, text=True).stdout

    def load(self, binary: Path, kubeconfig: Path, seconds: int, pods: int, namespace: str, only: str = "") -> str:
        """What the load generator writes."""
        return self.run(binary, "-kubeconfig", kubeconfig, *words([self.pid], seconds, pods, namespace, only))


@contextmanager
def our_server(flags: dict[str, str], *mounts: str) -> Iterator[Server]:
    with lone_server("ours", "control-plane", ["python3", "-m", "apiserver"], {**OURS, **flags}, *mounts) as server:
        yield server


@contextmanager
def lone_server(name: str, image: str, command: Sequence[str], flags: dict[str, str], *mounts: str) -> Iterator[Server]:
    """One that is ready. ``flags``: beyond those that every server needs."""
    etcd, server = (f"{PROJECT}-bench-{uuid4().hex[:8]}" for _ in range(2))
    try:
        _container(etcd, "etcd", "none", f"{PROJECT}_secrets-etcd:/etc/etcd:ro", command=["etcd", *_words(ETCD)])
        pki = f"{PROJECT}_secrets-apiserver:{PKI}:ro"
        serve = [*command, *_words({**COMMON, **flags})]
        _container(server, image, f"container:{etcd}", pki, *mounts, command=serve)
        shown = subprocess.run(["docker", "inspect", server], check=True, capture_output=True, text=True).stdout
        found = Server(name, int(json.loads(shown)[0]["State"]["Pid"]))
        _wait(found)
        yield found
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
    while server.run("curl", "-sk", "-m", "2", f"{URL}/readyz", check=False) != "ok":
        if time.monotonic() > deadline:
            raise TimeoutError(f"{server.name} is not ready after {READY_SECONDS:g} s")
        time.sleep(0.5)
