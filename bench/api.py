"""The API server under load: requests a second, latency, its CPU for each request beside kube-apiserver's, its memory.

Upstream's figures were measured with the same load generator, the server alone beside its etcd: kube-apiserver 1.20.2,
etcd 3.4.23, two cores.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.cluster import KUBECONFIG, address, container_pids, usage
from bench.load import Row, build, led_to, parse, words
from bench.lone import URL, our_server

UPSTREAM = {
    "get-pod": Row(5_435, 5.0, 20, 179),
    "list-rv0": Row(158, 171, 637, 8_930),
    "list-quorum": Row(102, 299, 567, 13_866),
    "list-selector": Row(9_776, 2.5, 17, 137),
    "create-cm": Row(3_913, 7.2, 27, 277),
    "create-pod": Row(1_602, 16, 63, 798),
    "patch-pod": Row(1_139, 20, 106, 1_292),
    "watch-fanout": Row(86_531, 12, 45, 11.5),
}


MUST = {
    "get-pod": 120,
    "list-rv0": 2_000,
    "list-quorum": 2_500,
    "list-selector": 120,
    "create-cm": 260,
    "create-pod": 500,
    "patch-pod": 700,
    "watch-fanout": 9,
}
"""Microseconds of server CPU that a request may cost."""


@dataclass(frozen=True)
class Measured:
    """``resident``: the server's bytes after the load; ``stored``: bytes of the pods as a client gets them."""

    rows: dict[str, Row]
    resident: int
    stored: int


def measure(seconds: int, pods: int, kubeconfig: Path = KUBECONFIG) -> Measured:
    """A server alone, as upstream's was; ``pods`` are there while each row runs for ``seconds``."""
    with tempfile.TemporaryDirectory() as name, our_server({}) as server:
        folder, namespace = Path(name), _namespace()
        direct = led_to(URL, kubeconfig, folder)
        output = server.load(build(folder), direct, seconds, pods, namespace)
        print(output)
        resident = usage([server.pid]).resident
        stored = server.run("kubectl", "--kubeconfig", direct, "get", "--raw", _pods(namespace))
    return Measured(parse(output), resident, len(stored))


def measure_cluster(seconds: int, pods: int, kubeconfig: Path = KUBECONFIG) -> Measured:
    """The cluster's own server, over its network."""
    namespace, pids = _namespace(), container_pids()["apiserver"][:1]
    kubectl = ["kubectl", "--kubeconfig", str(kubeconfig)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        direct = led_to(f"https://{address('apiserver')}:6443", kubeconfig, folder)
        command = [build(folder), "-kubeconfig", direct, *words(pids, seconds, pods, namespace)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(output)
    resident = usage(container_pids()["apiserver"]).resident
    stored = len(subprocess.run([*kubectl, "get", "--raw", _pods(namespace)], check=True, capture_output=True).stdout)
    subprocess.run([*kubectl, "delete", "namespace", namespace, "--wait=false"], check=True, capture_output=True)
    return Measured(parse(output), resident, stored)


def _namespace() -> str:
    return f"bench-{uuid4().hex[:8]}"  # that of the run before may still be on its way out


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods?resourceVersion=0"


UPSTREAM_YARDSTICK = 29.0
"""Microseconds: what the yardstick cost on the machine, and in the hour, of upstream's figures."""


def table(measured: Measured, yardstick: Row) -> str:
    rows = measured.rows
    lines = [
        "| row | req/s | p50 ms | p99 ms | server CPU, us | must | in yardsticks | upstream's, us | in yardsticks |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, upstream in UPSTREAM.items():
        if row := rows.get(name):
            ours = f"{row.rate:,.0f} | {row.p50:g} | {row.p99:g} | {row.cpu:,g} | {MUST[name]:,}"
            ours += f" | {row.cpu / yardstick.cpu:.1f}"
            lines.append(f"| {name} | {ours} | {upstream.cpu:,g} | {upstream.cpu / UPSTREAM_YARDSTICK:.1f} |")
    bare = f"{yardstick.rate:,.0f} | {yardstick.p50:g} | {yardstick.p99:g} | {yardstick.cpu:g}"
    lines.append(f"| *yardstick* | {bare} | | 1 | {UPSTREAM_YARDSTICK:g} | 1 |")
    lines.append("")
    resident, stored = measured.resident / 1e6, measured.stored / 1e6
    lines.append(f"Resident after the load: {resident:.0f} MB. The pods as a list: {stored:.1f} MB.")
    return "\n".join(lines)
