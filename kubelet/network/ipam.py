"""Host-local address management: which pod holds which address of the node's subnet.

The state is one small JSON file, replaced atomically on every change, so that a restarted kubelet knows every address
that it has given out. An address stays reserved until its pod is torn down, even when the pod's sandbox is dead, and a
released address is the last one to be used again (as upstream's host-local plugin does), so that a peer with a stale
connection does not reach another pod.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger("kubelet.network")


class AddressesExhausted(Exception):
    """Every address of the subnet is in use."""


def gateway_of(subnet: ipaddress.IPv4Network) -> ipaddress.IPv4Address:
    """The first address: the bridge's own."""
    return subnet.network_address + 1


def next_address(subnet: ipaddress.IPv4Network, used: Set[str], last: str | None) -> str:
    """The first free address after ``last``, wrapping around; never network, gateway or broadcast."""
    first, end = int(subnet.network_address) + 2, int(subnet.broadcast_address)
    start = first
    if last is not None and ipaddress.IPv4Address(last) in subnet:
        start = max(first, int(ipaddress.IPv4Address(last)) + 1)
    for number in (*range(start, end), *range(first, min(start, end))):
        address = str(ipaddress.IPv4Address(number))
        if address not in used:
            return address
    raise AddressesExhausted(f"no IP addresses available in range set: {subnet}")


@dataclass(slots=True)
class _State:
    last: str | None = None
    addresses: dict[str, str] = field(default_factory=dict)


class HostLocalIPAM:
    """Reservations of one node, kept in ``path``. Not thread-safe: the network's one thread uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _read(path)

    def get(self, pod_uid: str) -> str | None:
        return self._state.addresses.get(pod_uid)

    @property
    def addresses(self) -> Mapping[str, str]:
        return dict(self._state.addresses)

    def reserve(self, pod_uid: str, subnet: ipaddress.IPv4Network) -> str:
        """The pod's address: the one it has (if it is of the subnet), else a free one; on disk before it is told."""
        held = self._state.addresses.get(pod_uid)
        if held is not None and ipaddress.IPv4Address(held) in subnet:
            return held
        address = next_address(subnet, set(self._state.addresses.values()), self._state.last)
        self._write(_State(address, {**self._state.addresses, pod_uid: address}))
        return address

    def adopt(self, living: Mapping[str, str]) -> None:
        """Records the addresses that living sandboxes were seen to hold: they outrank what the file says."""
        taken = set(living.values())
        kept = {uid: address for uid, address in self._state.addresses.items() if address not in taken}
        merged = kept | dict(living)
        if merged != self._state.addresses:
            self._write(_State(self._state.last, merged))

    def release(self, pod_uid: str) -> None:
        if pod_uid in self._state.addresses:
            rest = {uid: address for uid, address in self._state.addresses.items() if uid != pod_uid}
            released = _State(self._state.last, rest)
            try:
                self._write(released)
            except OSError as error:
                # A full disk must not keep a pod from ending. The file says that the address is held until it is
                # written again; a restarted kubelet finds that nobody lives there.
                log.warning("the released address of pod %s is not on disk yet: %s", pod_uid, error)
                self._state = released

    def _write(self, state: _State) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_suffix(".tmp")
        with scratch.open("w") as file:
            json.dump({"last": state.last, "addresses": state.addresses}, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._path)
        self._state = state


def _read(path: Path) -> _State:
    """An absent or torn file is an empty state: living sandboxes are adopted from the kernel before any reservation."""
    try:
        raw = json.loads(path.read_text())
        return _State(raw["last"], {str(uid): str(ipaddress.IPv4Address(ip)) for uid, ip in raw["addresses"].items()})
    except FileNotFoundError:
        return _State()
    except (ValueError, KeyError, TypeError, AttributeError):
        path.replace(path.with_suffix(".corrupt"))
        return _State()
