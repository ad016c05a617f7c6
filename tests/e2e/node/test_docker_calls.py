"""Docker is what limits how fast pods start: what is asked of it for one is counted."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.e2e.node.counting import CountingSocket
from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Namespace

PODS = 4
START = 9
"""List, create and start the sandbox, its process; the image; create and start the container, list, inspect it."""
END = 10
"""List, kill the container and the sandbox, list, inspect both, remove both; and a look at one that takes long."""
ELSEWHERE = 6
"""Looks at the whole node meanwhile."""


def test_calls_for_a_pod(image: str) -> None:
    with tempfile.TemporaryDirectory() as folder, CountingSocket(Path(folder) / "docker.sock") as counting:
        root = Path(folder) / "machine"
        root.mkdir()
        with Machine(root, image, docker_socket=str(counting.path)) as machine:
            machine.start()
            with Namespace(machine) as kubectl:
                kubectl.pod("warm")
                kubectl.running("warm")
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
