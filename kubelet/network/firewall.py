"""The few iptables rules that the pod network needs, and the sysctls.

Docker sets the policy of FORWARD to DROP, so traffic of the cluster is accepted in a chain of ours; a pod's traffic to
an address outside the cluster is masqueraded, and pod-to-pod traffic never is. Only chains of ours are written
(``iptables-restore --noflush``), and the jumps to them are inserted when they are missing: rules of others stay. Ours
come before Docker's and after the proxy's, whichever process came first: the proxy refuses what a Service without
endpoints is sent, which would otherwise be accepted here and lost.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubelet.network import hostports

log = logging.getLogger("kubelet.network")

FORWARD_CHAIN = "COX-FORWARD"
POSTROUTING_CHAIN = "COX-POSTROUTING"
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
}
_PROXY_JUMP = "-j KUBE-"
_TIMEOUT = 30


class FirewallError(Exception):
    """iptables refused."""


def restore_input(pod_cidr: str, cluster_cidr: str) -> str:
    """The text for ``iptables-restore --noflush`` that (re)writes our two chains, each in one step."""
    return "\n".join(
        (
            "*filter",
            f":{FORWARD_CHAIN} - [0:0]",
            f'-A {FORWARD_CHAIN} -s {cluster_cidr} -m comment --comment "pods of the cluster" -j ACCEPT',
            f'-A {FORWARD_CHAIN} -d {cluster_cidr} -m comment --comment "pods of the cluster" -j ACCEPT',
            "COMMIT",
            "*nat",
            f":{POSTROUTING_CHAIN} - [0:0]",
            f"-A {POSTROUTING_CHAIN} -d {cluster_cidr} -j RETURN",
            f"-A {POSTROUTING_CHAIN} -d 224.0.0.0/4 -j RETURN",
            f'-A {POSTROUTING_CHAIN} -s {pod_cidr} -m comment --comment "pods leaving the cluster" -j MASQUERADE',
            "COMMIT",
            "",
        )
    )


def ensure(pod_cidr: str, cluster_cidr: str) -> None:
    """Writes our chains and the jumps to them. Safe to repeat; runs in the calling thread's network namespace."""
    _run("iptables-restore", "--noflush", "-w", "10", stdin=restore_input(pod_cidr, cluster_cidr))
    _ensure_jump("filter", "FORWARD", FORWARD_CHAIN)
    _ensure_jump("nat", "POSTROUTING", POSTROUTING_CHAIN)


def ensure_host_ports(wanted: Sequence[hostports.Binding], bridge: str) -> None:
    """Writes the chains of the pods' host ports and the jumps to them, if there are any or were. Safe to repeat."""
    listing = _result(("iptables", "-w", "10", "-t", "nat", "-S", hostports.HOSTPORTS_CHAIN))
    if not wanted and listing.returncode != 0:
        return
    chains = {hostports.chain_of(binding) for binding in wanted}
    stale = hostports.port_chains(listing.stdout.splitlines()) - chains
    _run("iptables-restore", "--noflush", "-w", "10", stdin=hostports.restore_input(wanted, stale, bridge))
    local = ("-m", "addrtype", "--dst-type", "LOCAL")
    _ensure_jump("nat", "PREROUTING", hostports.HOSTPORTS_CHAIN, local)
    _ensure_jump("nat", "OUTPUT", hostports.HOSTPORTS_CHAIN, local)
    # Before the rule that leaves alone what stays within the cluster.
    _ensure_jump("nat", "POSTROUTING", hostports.MASQUERADE_CHAIN)
    _ensure_jump("filter", "INPUT", hostports.INPUT_CHAIN)


def route_localnet(bridge: str) -> None:
    """Lets this machine reach pods from 127.0.0.1. Where it may not be set, ports answer at other addresses alone."""
    path = Path(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet")
    try:
        if path.read_text().strip() != "1":
            path.write_text("1")
    except OSError as error:
        log.warning("host ports cannot be reached at 127.0.0.1: %s", error)


def set_sysctls() -> list[str]:
    """Sets what is not set yet and returns the names of those that could not be (a read-only /proc/sys, no module)."""
    refused = []
    for name, value in SYSCTLS.items():
        path = Path("/proc/sys") / name
        try:
            if path.read_text().strip() != value:
                path.write_text(value)
        except OSError:
            refused.append(name.replace("/", "."))
    return refused


@dataclass(frozen=True, slots=True)
class Place:
    """Where a jump has to be inserted, and the number of one that is too early and to be removed then."""

    insert: int
    remove: int | None = None


def place_of_jump(rules: Sequence[str], target: str) -> Place | None:
    """From the rules of a chain as ``iptables -S`` lists them. None: the jump is where it should be."""
    after = max((number for number, rule in enumerate(rules, 1) if _PROXY_JUMP in rule), default=0)
    present = next((number for number, rule in enumerate(rules, 1) if rule.endswith(f"-j {target}")), None)
    if present is not None and present > after:
        return None
    return Place(after + 1, present)


def _ensure_jump(table: str, chain: str, target: str, match: tuple[str, ...] = ()) -> None:
    command = ("iptables", "-w", "10", "-t", table)
    rules = [line for line in _run(*command, "-S", chain).splitlines() if line.startswith("-A ")]
    place = place_of_jump(rules, target)
    if place is None:
        return
    _run(*command, "-I", chain, str(place.insert), *match, "-j", target)
    if place.remove is not None:
        _run(*command, "-D", chain, str(place.remove))


def _run(*command: str, stdin: str | None = None) -> str:
    result = _result(command, stdin)
    if result.returncode != 0:
        raise FirewallError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def _result(command: tuple[str, ...], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise FirewallError(str(error)) from error
