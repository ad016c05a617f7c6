"""The running cluster as the measurements see it: its kubeconfig and the processes of its containers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KUBECONFIG = ROOT / ".cox" / "kubeconfig"
CONTROL_PLANE = ("apiserver", "scheduler", "controller-manager")


@dataclass(frozen=True)
class Usage:
    """Of one container's processes: resident bytes, and CPU seconds since they started."""

    resident: int
    cpu: float


def container_pids() -> dict[str, list[int]]:
    """Compose service -> pids of its container's processes, as this machine sees them."""
    names = _run("docker", "ps", "--format", "{{.ID}}", "--filter", "label=com.docker.compose.service").split()
    found = {}
    for container in json.loads(_run("docker", "inspect", *names)) if names else ():
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        found[service] = _tree(container["State"]["Pid"])
    return found


def address(service: str) -> str:
    """A container's own address: published ports go through a process of Docker's, which is not what is measured."""
    found = _run("docker", "ps", "-q", "--filter", f"label=com.docker.compose.service={service}").split()
    networks = json.loads(_run("docker", "inspect", found[0]))[0]["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


@contextmanager
def alone(*services: str) -> Iterator[None]:
    """The cluster without its other containers, as upstream's API server was measured; they are started again after."""
    listed = _run("docker", "ps", "--format", '{{.ID}} {{.Label "com.docker.compose.service"}}').splitlines()
    rows = [line.split(None, 1) for line in listed]
    others = [row[0] for row in rows if len(row) == 2 and row[1] not in services]
    if others:
        _run("docker", "stop", *others)
    try:
        yield
    finally:
        if others:
            _run("docker", "start", *others)


def usage(pids: list[int]) -> Usage:
    """Summed over the processes; those that ended meanwhile do not count."""
    resident, ticks = 0, 0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        ticks += int(stat[11]) + int(stat[12])
        resident += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024
    return Usage(resident, ticks / 100)


def _tree(pid: int) -> list[int]:
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            pids += _tree(int(child))
    return pids


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
