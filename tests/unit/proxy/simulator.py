"""A small interpreter of iptables chains: follows one new connection through the rules that the proxy writes.

It knows the matches and targets that the rules use and refuses any other, so a rule it passes over is one that does not
match, never one that it does not understand.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Packet:
    source: str
    destination: str
    port: int
    protocol: str = "tcp"
    source_is_local: bool = False
    destination_is_local: bool = False
    marked: bool = False


@dataclass(frozen=True)
class Outcome:
    """``target``: where DNAT sent it (None: nowhere); ``masqueraded``: whether its source would be rewritten."""

    target: str | None
    masqueraded: bool


@dataclass
class Kernel:
    chains: Mapping[str, tuple[str, ...]]
    counters: dict[tuple[str, int], int] = field(default_factory=dict)
    recent: dict[str, set[str]] = field(default_factory=dict)

    def connect(self, packet: Packet, chain: str = "KUBE-SERVICES") -> Outcome:
        target, after = self._walk(chain, packet)
        return Outcome(target, after.marked)

    def _walk(self, chain: str, packet: Packet) -> tuple[str | None, Packet]:
        for index, rule in enumerate(self.chains[chain]):
            arguments = shlex.split(rule)
            matched, jump, to = self._match(chain, index, arguments, packet)
            if not matched or jump is None:
                continue
            if jump == "DNAT":
                return to, packet
            if jump in ("DROP", "REJECT", "RETURN"):
                return jump if jump != "RETURN" else None, packet
            if jump == "MARK":
                packet = replace(packet, marked=True)
                continue
            target, packet = self._walk(jump, packet)
            if target is not None:
                return target, packet
        return None, packet

    def _match(
        self, chain: str, index: int, arguments: list[str], packet: Packet
    ) -> tuple[bool, str | None, str | None]:
        words = iter(arguments)
        matched, negate, jump, to, nth, recent, recent_name = True, False, None, None, 0, "", ""
        for word in words:
            if word == "!":
                negate = True
                continue
            if word in ("--rcheck", "--set", "--reap"):
                recent = word if word != "--reap" else recent
                continue
            value = next(words)
            match word:
                case "-m" | "--comment" | "--mode" | "--packet" | "--or-mark" | "--seconds":
                    ok = True
                case "-p":
                    ok = packet.protocol == value
                case "-d" | "-s":
                    address = packet.destination if word == "-d" else packet.source
                    ok = (ipaddress.ip_address(address) in ipaddress.ip_network(value)) != negate
                case "--dport":
                    ok = packet.port == int(value)
                case "--src-type" | "--dst-type":
                    assert value == "LOCAL"
                    ok = packet.source_is_local if word == "--src-type" else packet.destination_is_local
                case "--every":
                    nth, ok = int(value), True
                case "--name":
                    recent_name, ok = value, True
                case "-j":
                    jump, ok = value, True
                case "--to-destination":
                    to, ok = value, True
                case _:
                    raise AssertionError(f"the simulator does not know {word}")
            negate = False
            matched = matched and ok
        if matched and recent == "--rcheck":
            matched = packet.source in self.recent.get(recent_name, set())
        elif matched and recent == "--set":
            self.recent.setdefault(recent_name, set()).add(packet.source)
        if matched and nth:
            count = self.counters.get((chain, index), 0)
            self.counters[(chain, index)] = (count + 1) % nth
            matched = count == 0
        return matched, jump, to
