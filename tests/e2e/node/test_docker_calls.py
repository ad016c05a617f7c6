"""Docker is what limits how fast pods start: what is asked of it for one is counted."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.e2e.node.counting import CountingSocket
from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, Namespace

PODS = 4
START = 9
"""List, create and start the sandbox, its process; the image; create and start the container, list, inspect it."""
END = 10
"""List, kill the container and the sandbox, list, inspect both, remove both; and a look at one that takes long."""
ELSEWHERE = 6
"""Looks at the whole node meanwhile."""


def flags_hold(kubectl: Kubectl, machine: Machine, pod: dict[str, Any]) -> None:
    """What this kubelet was told otherwise than the other tests' one."""
    said = kubectl.sh("cat /proc/sys/net/core/somaxconn; grep Seccomp: /proc/self/status", "warm").split()
    assert said == ["99", "Seccomp:", "2"]
    place = f"{machine.space}/kubepods/besteffort/pod{pod['metadata']['uid']}/pids.max"
    found = [tree / place for tree in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if (tree / place).exists()]
    assert [each.read_text() for each in found] == ["64\n"]


def test_calls_for_a_pod(image: str) -> None:
    with tempfile.TemporaryDirectory() as folder, CountingSocket(Path(folder) / "docker.sock") as counting:
        root = Path(folder) / "machine"
        root.mkdir()
        extra = {"pod-max-pids": 64, "seccomp-default": "true", "allowed-unsafe-sysctls": "net.core.somaxconn"}
        with Machine(root, image, extra, docker_socket=str(counting.path)) as machine:
            machine.start()
            with Namespace(machine) as kubectl:
                kubectl.pod("warm", securityContext={"sysctls": [{"name": "net.core.somaxconn", "value": "99"}]})
                flags_hold(kubectl, machine, kubectl.running("warm"))
                before = len(counting.asked)
                for i in range(PODS):
                    kubectl.pod(f"pod{i}")
                for i in range(PODS):
                    kubectl.running(f"pod{i}")
                started = counting.counts(before)
                del started["GET /version"], started["GET /images/json"]
                assert started["POST /containers/create"] == started["POST /containers/*/start"] == 2 * PODS
                assert sum(started.values()) <= START * PODS + ELSEWHERE, started
                before = len(counting.asked)
                kubectl("delete", "pod", *(f"pod{i}" for i in range(PODS)))
                ended = counting.counts(before)
                del ended["GET /version"], ended["GET /images/json"]
                assert ended["DELETE /containers/*"] == 2 * PODS
                assert sum(ended.values()) <= END * PODS + ELSEWHERE, ended
