"""How much memory is left, as upstream computes it: what the machine has less the working set of everything on it.

The working set is what the root cgroup uses less the file pages that nothing has touched for a while. In cgroup v2 the
root has no figure of its own: there it is what /proc/meminfo counts as not free. A node in a container that does not
see the machine's root cgroup sees its own, and counts what is in it.
https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#eviction-signals
"""

from __future__ import annotations

from pathlib import Path

_V1 = Path("sys/fs/cgroup/memory")
_V2 = Path("sys/fs/cgroup")
_UNLIMITED = 1 << 62
"""Limits above are none: cgroup v1 shows the largest number of whole pages."""


def available(root: Path = Path("/")) -> int:
    """Bytes."""
    machine = meminfo(_text(root / "proc/meminfo"))
    used = working_set(root, "")
    if used is None:
        return machine.get("MemAvailable", 0)
    return max(0, machine.get("MemTotal", 0) - used)


def left_of(root: Path, cgroup: str) -> tuple[int, int] | None:
    """Of a cgroup's limit: bytes left, and the limit. None for a cgroup that is not there or has no limit."""
    used, most = working_set(root, cgroup), _limit(root, cgroup)
    return (max(0, most - used), most) if used is not None and most is not None else None


def working_set(root: Path, cgroup: str) -> int | None:
    """Bytes; None when it cannot be read."""
    v1 = _number(root / _V1 / cgroup / "memory.usage_in_bytes")
    if v1 is not None:
        return max(0, v1 - _stat(root / _V1 / cgroup / "memory.stat", "total_inactive_file"))
    folder = root / _V2 / cgroup
    inactive = _stat(folder / "memory.stat", "inactive_file")
    v2 = _number(folder / "memory.current")
    if v2 is None and not cgroup and (folder / "cgroup.controllers").exists():
        machine = meminfo(_text(root / "proc/meminfo"))
        v2 = machine.get("MemTotal", 0) - machine.get("MemFree", 0)
    return max(0, v2 - inactive) if v2 is not None else None


def _limit(root: Path, cgroup: str) -> int | None:
    v1 = _number(root / _V1 / cgroup / "memory.limit_in_bytes")
    found = v1 if v1 is not None else _number(root / _V2 / cgroup / "memory.max")
    return found if found is not None and found < _UNLIMITED else None


def meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo in bytes."""
    values = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            values[name] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return values


def _stat(path: Path, name: str) -> int:
    for line in _text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
