"""Host ports: a port of the node that leads to a port of a pod.

The rules are laid out as upstream's host port manager had them (and as the CNI plugin portmap has them still): one
chain that all local destinations pass, and in it a rule for each port with a chain of its own. All of it is written
anew, in one step, from what the pods have, so nothing can be left over. Who gets a port that two pods want is the
scheduler's business. https://kubernetes.io/docs/concepts/configuration/overview/ tells when to use them.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kubelet.types import PortMapping

log = logging.getLogger("kubelet.network")

HOSTPORTS_CHAIN = "COX-HOSTPORTS"
MASQUERADE_CHAIN = "COX-HOSTPORTS-MASQ"
PORT_CHAIN_PREFIX = "COX-HP-"
INPUT_CHAIN = "COX-INPUT"
_MAX_COMMENT = 255


@dataclass(frozen=True, slots=True)
class Binding:
    """A mapping with the address that it leads to."""

    mapping: PortMapping
    pod_ip: str


def bindings(mappings: Mapping[str, Sequence[PortMapping]], addresses: Mapping[str, str]) -> tuple[Binding, ...]:
    """Of pods that have an address; both by the pod's uid."""
    return tuple(
        Binding(mapping, addresses[uid]) for uid in sorted(mappings) if uid in addresses for mapping in mappings[uid]
    )


def chain_of(binding: Binding) -> str:
    mapping = binding.mapping
    text = f"{binding.pod_ip}/{mapping.host_ip}/{mapping.protocol}/{mapping.host_port}/{mapping.container_port}"
    digest = hashlib.sha256(text.encode()).digest()
    return PORT_CHAIN_PREFIX + base64.b32encode(digest).decode()[:16]


def restore_input(wanted: Iterable[Binding], stale: Iterable[str], bridge: str) -> str:
    """For ``iptables-restore --noflush``; ``stale`` are chains of ports that are no longer wanted."""
    heads, portals, chains, hairpins = list[str](), list[str](), list[str](), list[str]()
    for binding in sorted(set(wanted), key=chain_of):
        mapping, name = binding.mapping, chain_of(binding)
        protocol = mapping.protocol.lower()
        comment = f'-m comment --comment "{f"{mapping.pod} hostport {mapping.host_port}"[:_MAX_COMMENT]}"'
        target = f" -d {mapping.host_ip}/32" if _narrows(mapping.host_ip) else ""
        match = f"{target} -p {protocol} -m {protocol} --dport {mapping.host_port}"
        heads.append(f":{name} - [0:0]")
        portals.append(f"-A {HOSTPORTS_CHAIN}{match} {comment} -j {name}")
        to = f"{binding.pod_ip}:{mapping.container_port}"
        chains.append(f"-A {name} -p {protocol} -m {protocol} {comment} -j DNAT --to-destination {to}")
        # A pod that calls itself by the node's port must see an answer from there, not from itself.
        hairpins.append(f"-A {MASQUERADE_CHAIN} -s {binding.pod_ip}/32 -d {binding.pod_ip}/32 {comment} -j MASQUERADE")
    stale = sorted(stale)
    local = f'-A {MASQUERADE_CHAIN} -s 127.0.0.0/8 -o {bridge} -m comment --comment "local hostports" -j MASQUERADE'
    lines = (
        "*filter",
        f":{INPUT_CHAIN} - [0:0]",
        # What lets this machine reach ports at 127.0.0.1 must not let pods reach what listens there.
        f"-A {INPUT_CHAIN} ! -s 127.0.0.0/8 -d 127.0.0.0/8 -i {bridge} -m conntrack"
        " ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
        "COMMIT",
        "*nat",
        f":{HOSTPORTS_CHAIN} - [0:0]",
        f":{MASQUERADE_CHAIN} - [0:0]",
        *heads,
        *(f":{name} - [0:0]" for name in stale),
        *portals,
        *chains,
        local,
        *dict.fromkeys(hairpins),
        *(f"-X {name}" for name in stale),
        "COMMIT",
        "",
    )
    return "\n".join(lines)


def port_chains(rules: Iterable[str]) -> frozenset[str]:
    """The chains that the rules of our chain (as ``iptables -S`` lists them) lead to."""
    targets = (rule.rpartition("-j ")[2].strip() for rule in rules)
    return frozenset(target for target in targets if target.startswith(PORT_CHAIN_PREFIX))


def supported(mapping: PortMapping) -> bool:
    """Pods have IPv4 addresses alone: a port at an IPv6 address cannot lead to one."""
    return not mapping.host_ip or ipaddress.ip_address(mapping.host_ip).version == 4 or mapping.host_ip == "::"


def _narrows(host_ip: str) -> bool:
    return bool(host_ip) and not ipaddress.ip_address(host_ip).is_unspecified


class PortBook:
    """The mappings of this node's pods by uid, kept in a file: rules are put back from it after a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.mappings: Mapping[str, tuple[PortMapping, ...]] = _read(path)

    def put(self, uid: str, mappings: Iterable[PortMapping]) -> None:
        wanted = tuple(mappings)
        if self.mappings.get(uid, ()) == wanted:
            return
        rest = {u: m for u, m in self.mappings.items() if u != uid}
        try:
            self._write({**rest, **({uid: wanted} if wanted else {})})
        except OSError as error:
            if wanted:
                raise
            # A full disk must not keep a pod from ending; what the file still says is forgotten with its address.
            log.warning("the closed host ports of pod %s are not on disk yet: %s", uid, error)
            self.mappings = rest

    def keep(self, uids: Iterable[str]) -> None:
        """Forgets the pods that are not among these."""
        known = set(uids)
        if not known >= self.mappings.keys():
            self._write({uid: found for uid, found in self.mappings.items() if uid in known})

    def _write(self, mappings: Mapping[str, tuple[PortMapping, ...]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_suffix(".tmp")
        with scratch.open("w") as file:
            json.dump({uid: [asdict(each) for each in found] for uid, found in mappings.items()}, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._path)
        self.mappings = mappings


def _read(path: Path) -> dict[str, tuple[PortMapping, ...]]:
    try:
        raw = json.loads(path.read_text())
        return {str(uid): tuple(PortMapping(**each) for each in found) for uid, found in raw.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        path.replace(path.with_suffix(".corrupt"))
        return {}
