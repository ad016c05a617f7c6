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


@dataclass(frozen=True, slots=True)
class Usage:
    """What is left now. ``memory_available`` counts what the kernel can reclaim."""

    memory_available: int
    node_fs: FileSystem
    pids: int
    pids_max: int


def read_machine(root: Path = Path("/")) -> Machine:
    machine_id = _text(root / "etc/machine-id")
    return Machine(
        cpus=os.cpu_count() or 1,
        memory=meminfo(_text(root / "proc/meminfo")).get("MemTotal", 0),
        hugepages=_hugepages(root / "sys/kernel/mm/hugepages"),
        machine_id=machine_id,
        system_uuid=_text(root / "sys/class/dmi/id/product_uuid") or machine_id,
        boot_id=_text(root / "proc/sys/kernel/random/boot_id"),
        kernel_version=platform.release(),
        os_image=os_release(_text(root / "etc/os-release")).get("PRETTY_NAME", "Linux"),
        operating_system=platform.system().lower(),
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
    )


def read_usage(node_fs: Path, root: Path = Path("/")) -> Usage:
    load = _text(root / "proc/loadavg").split()
    threads = load[3].split("/")[1] if len(load) > 3 else "0"
    return Usage(
        memory_available=meminfo(_text(root / "proc/meminfo")).get("MemAvailable", 0),
        node_fs=file_system(node_fs),
        pids=int(threads),
        pids_max=int(_text(root / "proc/sys/kernel/pid_max") or 0),
    )


def file_system(path: Path) -> FileSystem:
    """Of the nearest folder that exists: the kubelet's own may not be made yet."""
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return FileSystem(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo in bytes."""
    values = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            values[name] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return values


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
