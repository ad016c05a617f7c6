"""The load generator and what it tells: bench/apibench, in Go, so that the client is not what is measured."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cluster import ROOT

LINE = re.compile(r"(\S+)\s+(\d+) (?:req|ev)/s\s+p50\s+([\d.]+) ms\s+p99\s+([\d.]+) ms\s+server CPU\s+([\d.]+) us")
SERVER = re.compile(r"""("?server"?: *"?)https://[^"\s]+""")


@dataclass(frozen=True)
class Row:
    """One scenario: a second's requests (events for the fan-out), milliseconds, microseconds of server CPU each."""

    rate: float
    p50: float
    p99: float
    cpu: float


def build(folder: Path) -> Path:
    """The load generator, compiled into ``folder``."""
    binary = folder / "apibench"
    subprocess.run(["go", "build", "-o", binary, "."], cwd=ROOT / "bench" / "apibench", check=True)
    return binary


def parse(output: str) -> dict[str, Row]:
    return {m[1]: Row(float(m[2]), float(m[3]), float(m[4]), float(m[5])) for m in LINE.finditer(output)}


def led_to(url: str, kubeconfig: Path, folder: Path) -> Path:
    """A copy of the kubeconfig with another server's address."""
    copy = folder / "kubeconfig"
    copy.touch(0o600)
    copy.write_text(SERVER.sub(rf"\1{url}", kubeconfig.read_text()))
    return copy


def words(pids: Sequence[int], seconds: int, pods: int, namespace: str, only: str = "") -> list[str]:
    """The load generator's flags; ``pids`` are the server's processes, ``only`` the rows."""
    measured = ["-pids", ",".join(map(str, pids)), "-d", f"{seconds}s", "-pods", str(pods)]
    return [*measured, "-ns", namespace, "-only", only]
