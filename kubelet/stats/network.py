"""Counters of network interfaces, from ``/proc/<pid>/net/dev``: of the node, and of a pod by a process in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

IGNORED = ("lo", "veth", "docker", "nerdctl")
"""What upstream does not count (cAdvisor's isIgnoredDevice)."""


@dataclass(frozen=True, slots=True)
class Interface:
    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def parse_dev(text: str) -> list[Interface]:
    """Those that count."""
    found = []
    for line in text.splitlines()[2:]:
        name, colon, rest = line.partition(":")
        name, values = name.strip(), rest.split()
        if not colon or name.startswith(IGNORED) or len(values) < 16:
            continue
        numbers = [int(value) for value in values]
        found.append(Interface(name, *numbers[:4], *numbers[8:12]))
    return found


def parse_default(routes: str) -> str:
    """The interface of the default route in ``/proc/net/route``; "" for none."""
    for line in routes.splitlines()[1:]:
        words = line.split()
        if len(words) > 1 and words[1] == "00000000":
            return words[0]
    return ""


def interfaces(pid: int | str = "self") -> list[Interface]:
    """Those in a process's network namespace; none when it has ended."""
    return parse_dev(_text(f"/proc/{pid}/net/dev"))


def default_of(found: Sequence[Interface], pid: int | str = "self") -> Interface | None:
    """The one that traffic leaves by; eth0 or the only one where nothing is routed."""
    name = parse_default(_text(f"/proc/{pid}/net/route"))
    for wanted in (name, "eth0"):
        for each in found:
            if each.name == wanted:
                return each
    return found[0] if len(found) == 1 else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
