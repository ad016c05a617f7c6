"""Our API server and upstream's, side by side: the same machine, hour, etcd, certificates and load, in turn.

Absolute figures move from hour to hour, those of one hour compare. Each server is alone (see ``lone``); the load
generator shows a token: upstream's server verifies a client certificate anew for each request, which would double what
that costs. ``--upstream`` is a static kube-apiserver.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from uuid import uuid4

from bench.api import MUST
from bench.load import Row, build, parse
from bench.lone import URL, lone_server, our_server

TOKENS = "/tokens.csv"
KNOWN = {"token-auth-file": TOKENS}
UPSTREAMS = {
    "advertise-address": "192.0.2.1",  # it refuses loopback
    "authorization-mode": "Node,RBAC",
    "disable-admission-plugins": "ServiceAccount",  # there is no controller manager to make accounts
}


def measure(upstream: Path, seconds: int, pods: int, rounds: int, only: str) -> str:
    """A table of the medians of all rounds."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        binary, kubeconfig = build(folder), folder / "kubeconfig"
        tokens = _credentials(folder, kubeconfig)
        mount = f"{upstream.resolve()}:/kube-apiserver:ro"
        servers = [
            stack.enter_context(our_server(KNOWN, tokens)),
            stack.enter_context(
                lone_server("upstream's", "etcd", ["/kube-apiserver"], {**UPSTREAMS, **KNOWN}, tokens, mount)
            ),
        ]
        found: dict[str, list[dict[str, Row]]] = {server.name: [] for server in servers}
        for number in range(rounds):
            for server in servers[:: -1 if number % 2 else 1]:
                namespace = f"bench-{uuid4().hex[:8]}"
                found[server.name].append(parse(server.load(binary, kubeconfig, seconds, pods, namespace, only)))
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
