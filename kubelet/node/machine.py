"""What the machine is and what it has left, read from /proc, /sys and the file systems. Blocking, but only briefly."""

from __future__ import annotations

import os
import platform
import re
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kubelet.node import memory
from kubelet.volumes.mounts import can_be_read_only_recursively

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
_HUGEPAGES = re.compile(r"hugepages-(\d+)kB")


@dataclass(frozen=True, slots=True)
class FileSystem:
    capacity: int
    available: int
    inodes: int
    inodes_free: int

    @property
    def used(self) -> int:
        return self.capacity - self.available


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while the machine is up."""

    cpus: int
    memory: int
    hugepages: Mapping[str, int] = field(default_factory=dict)
    """``2Mi`` -> bytes reserved for pages of that size."""
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    kernel_version: str = ""
    os_image: str = ""
    operating_system: str = "linux"
    architecture: str = "amd64"
    recursive_read_only: bool = False
    """The kernel can make a mount read-only with all that is mounted within."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is left now. ``memory_available`` counts what the kernel can reclaim."""

    memory_available: int
    node_fs: FileSystem
    pids: int
    pids_max: int
    image_fs: FileSystem | None = None
    """Of images and containers, when they have a disk of their own."""
    pods_memory: tuple[int, int] | None = None
    """What is left of the memory that all pods together may use, and how much that is."""


def read_machine(root: Path = Path("/")) -> Machine:
    machine_id = _text(root / "etc/machine-id")
    return Machine(
        cpus=os.cpu_count() or 1,
        memory=memory.meminfo(_text(root / "proc/meminfo")).get("MemTotal", 0),
        hugepages=_hugepages(root / "sys/kernel/mm/hugepages"),
        machine_id=machine_id,
        system_uuid=_text(root / "sys/class/dmi/id/product_uuid") or machine_id,
        boot_id=_text(root / "proc/sys/kernel/random/boot_id"),
        kernel_version=platform.release(),
        os_image=os_release(_text(root / "etc/os-release")).get("PRETTY_NAME", "Linux"),
        operating_system=platform.system().lower(),
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
        recursive_read_only=can_be_read_only_recursively(),
    )


def read_usage(node_fs: Path, root: Path = Path("/"), image_fs: Path | None = None, pods_cgroup: str = "") -> Usage:
    """``image_fs``: where the runtime keeps images and containers; ``pods_cgroup``: that all pods are in."""
    load = _text(root / "proc/loadavg").split()
    threads = load[3].split("/")[1] if len(load) > 3 else "0"
    return Usage(
        memory_available=memory.available(root),
        node_fs=file_system(node_fs),
        pids=int(threads),
        pids_max=_process_limit(root),
        image_fs=file_system(image_fs) if image_fs is not None and has_own_disk(image_fs, node_fs) else None,
        pods_memory=memory.left_of(root, pods_cgroup) if pods_cgroup else None,
    )


def has_own_disk(images: Path, node_fs: Path) -> bool:
    """Whether images lie on another disk than the kubelet's folder does. What cannot be seen has none."""
    return images.exists() and images.stat().st_dev != _existing(node_fs).stat().st_dev


def _process_limit(root: Path) -> int:
    """The smaller of what the kernel numbers and how many threads it allows."""
    limits = [_text(root / f"proc/sys/kernel/{name}") for name in ("pid_max", "threads-max")]
    return min((int(limit) for limit in limits if limit), default=0)


def file_system(path: Path) -> FileSystem:
    """Of the nearest folder that exists: the kubelet's own may not be made yet."""
    found = os.statvfs(_existing(path))
    return FileSystem(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def os_release(text: str) -> dict[str, str]:
    """os-release(5)."""
    values = {}
    for line in text.splitlines():
        name, sign, value = line.strip().partition("=")
        if sign and not name.startswith("#"):
            try:
                values[name] = "".join(shlex.split(value))
            except ValueError:
                continue
    return values


def outward_address() -> str | None:
    """The address of the interface with the default route. No packet is sent: the socket is only connected."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _hugepages(folder: Path) -> dict[str, int]:
    pages = {}
    for entry in folder.iterdir() if folder.exists() else ():
        match = _HUGEPAGES.fullmatch(entry.name)
        if match:
            size = int(match[1]) * 1024
            name = f"{size >> 30}Gi" if size >= 1 << 30 else f"{size >> 20}Mi" if size >= 1 << 20 else f"{size >> 10}Ki"
            pages[name] = size * int(_text(entry / "nr_hugepages") or 0)
    return pages


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
