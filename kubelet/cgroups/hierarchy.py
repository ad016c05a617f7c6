"""The kernel's cgroups: where they are mounted, and the files in them. Blocking, but only briefly.

Version 1 has a tree for each controller, version 2 one for all
(https://docs.kernel.org/admin-guide/cgroup-v1/, https://docs.kernel.org/admin-guide/cgroup-v2.html).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kubelet.cgroups.values import Values, weight

CONTROLLERS = ("cpu", "memory", "pids")
"""What the kubelet writes to."""
BUSY_ATTEMPTS, BUSY_SECONDS = 5, 0.02
"""The kernel lets go of a cgroup a moment after its last process has ended."""


class Hierarchy(Protocol):
    """Paths are of cgroups, from the root of the hierarchy. All raise OSError."""

    def write(self, path: str, values: Values) -> None:
        """Makes the cgroup if it is not there."""

    def end_together(self, path: str) -> None:
        """Who lacks memory in the cgroup takes all others in it with him; nothing where the kernel cannot do that, or
        when the cgroup has gone."""

    def trees(self) -> tuple[Path, ...]:
        """Every place where a cgroup of that path may be: the runtime makes it in all of them."""


@dataclass(frozen=True, slots=True)
class V1:
    mounts: Mapping[str, Path]
    """By controller; those that have none (``name=systemd``) too."""
    unified: tuple[Path, ...] = field(default=())
    """A tree of version 2 beside them."""

    def trees(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys([*self.mounts.values(), *self.unified]))

    def end_together(self, path: str) -> None:
        pass

    def write(self, path: str, values: Values) -> None:
        for name in CONTROLLERS:
            if name in self.mounts:
                _within(self.mounts[name], path).mkdir(parents=True, exist_ok=True)
        cpu, memory, pids = (_within(self.mounts[n], path) if n in self.mounts else None for n in CONTROLLERS)
        if cpu is not None:
            _put(cpu / "cpu.shares", values.cpu_shares)
            _put(cpu / "cpu.cfs_period_us", values.cpu_period)
            _put(cpu / "cpu.cfs_quota_us", values.cpu_quota)
        if memory is not None:
            _put(memory / "memory.limit_in_bytes", values.memory)
        if pids is not None:
            _put(pids / "pids.max", "max" if values.pids == -1 else values.pids)


@dataclass(frozen=True, slots=True)
class V2:
    root: Path

    def trees(self) -> tuple[Path, ...]:
        return (self.root,)

    def end_together(self, path: str) -> None:
        _put(_within(self.root, path) / "memory.oom.group", 1)

    def write(self, path: str, values: Values) -> None:
        folder = _within(self.root, path)
        folder.mkdir(parents=True, exist_ok=True)
        above = list(folder.parents)
        for parent in reversed(above[: above.index(self.root) + 1]):
            _delegate(parent)
        if values.cpu_shares is not None:
            _put(folder / "cpu.weight", weight(values.cpu_shares))
        if values.cpu_quota is not None:
            quota = "max" if values.cpu_quota == -1 else str(values.cpu_quota)
            _put(folder / "cpu.max", f"{quota} {values.cpu_period}")
        _put(folder / "memory.max", "max" if values.memory == -1 else values.memory)
        _put(folder / "pids.max", "max" if values.pids == -1 else values.pids)


def find(mountinfo: str) -> Hierarchy | None:
    """From /proc/self/mountinfo; None where no whole hierarchy is mounted."""
    first: dict[str, Path] = {}
    unified: list[Path] = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words, (kind, _, options) = before.split(), [*after.split(), "", "", ""][:3]
        if len(words) < 5 or words[3] != "/":
            continue
        place = Path(words[4])
        if kind == "cgroup2":
            unified.append(place)
        elif kind == "cgroup":
            for name in options.split(","):
                if name not in ("rw", "ro", "xattr", "noprefix", "clone_children"):
                    first.setdefault(name, place)
    if any(name in first for name in CONTROLLERS):
        return V1(first, tuple(unified[:1]))
    return V2(unified[0]) if unified else None


def remove(hierarchy: Hierarchy, path: str) -> bool:
    """The cgroup and what is under it, in every tree; False when something in it still runs."""
    gone = True
    for tree in hierarchy.trees():
        folder = _within(tree, path)
        for each in sorted(_below(folder), key=lambda found: -len(found.parts)):
            gone = _remove_folder(each) and gone
    return gone


def children(hierarchy: Hierarchy, path: str) -> set[str]:
    """Names of the cgroups in one, in whichever tree."""
    found = set()
    for tree in hierarchy.trees():
        folder = _within(tree, path)
        if folder.is_dir():
            found |= {entry.name for entry in folder.iterdir() if entry.is_dir()}
    return found


def _below(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    yield folder
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry)


def _remove_folder(folder: Path) -> bool:
    for attempt in range(BUSY_ATTEMPTS):
        try:
            folder.rmdir()
            return True
        except FileNotFoundError:
            return True
        except OSError:
            if attempt + 1 < BUSY_ATTEMPTS:
                time.sleep(BUSY_SECONDS)
    return False


def _delegate(folder: Path) -> None:
    """Lets cgroups in this one have limits of their own."""
    control = folder / "cgroup.subtree_control"
    given = control.read_text().split()
    offered = (folder / "cgroup.controllers").read_text().split()
    missing = [name for name in CONTROLLERS if name in offered and name not in given]
    if missing:
        control.write_text(" ".join(f"+{name}" for name in missing))


def _within(tree: Path, path: str) -> Path:
    return tree / path.lstrip("/")


def _put(file: Path, value: int | str | None) -> None:
    if value is not None and file.exists():
        file.write_text(str(value))
