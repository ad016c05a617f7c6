"""``deploy/node/init``, what a node container runs: on SIGTERM pods end before the kubelet, and it before their engine.

It runs as process 1 of a container, as on a node; runit and Docker are played by scripts that write down what is asked
of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from tests.e2e.node.machine import ROOT
from tests.e2e.node.support import eventually

RUNSVDIR = """#!/bin/sh
# The supervisor, and the kubelet under it: $KUBELET says what that does on SIGUSR1.
trap 'echo "supervisor ends" >> /log/said; exit 0' HUP
(
    trap 'echo "kubelet is told" >> /log/said
          [ "$KUBELET" = deaf ] && continue
          sleep 0.5; echo "pods have ended" >> /log/said; rm /tmp/running; exit 0' USR1
    touch /tmp/running
    while true; do sleep 0.05; done
) &
echo $! > /tmp/kubelet
until [ -e /tmp/running ]; do sleep 0.05; done
echo "supervisor begins" >> /log/said
while true; do sleep 0.05; done
"""
SV = """#!/bin/sh
case "$*" in
    "status /etc/service/kubelet") [ -e /tmp/running ] && echo "run: kubelet" || echo "down: kubelet" ;;
    "1 /etc/service/kubelet") kill -USR1 "$(cat /tmp/kubelet)" ;;
    "once /etc/service/kubelet") echo "kubelet is not started again" >> /log/said ;;
    *) echo "sv $*" >> /log/said ;;
esac
"""
DOCKER = """#!/bin/sh
case "$*" in
    "ps -q") echo left ;;
    *) echo "docker $*" >> /log/said ;;
esac
"""
PLAYED = {"runsvdir": RUNSVDIR, "sv": SV, "docker": DOCKER}
RUN = "mount() { :; }; seq() { echo 1 2 3 4 5; }; . /init"
"""Nothing is mounted, and the script waits for a second at most. Busybox' shell takes no such program from PATH."""


@pytest.fixture
def played(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in PLAYED.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return folder


@contextmanager
def node(image: str, played: Path, log: Path, **env: str) -> Iterator[str]:
    """A container that runs the script; its id."""
    api = docker.APIClient()
    log.mkdir()
    mounts = {
        str(played): {"bind": "/played", "mode": "ro"},
        str(ROOT / "deploy/node/init"): {"bind": "/init", "mode": "ro"},
        str(log): {"bind": "/log", "mode": "rw"},
    }
    env = {"PATH": "/played:/bin", "REGISTRY": "registry.example:5000", **env}
    config = api.create_host_config(binds=mounts, network_mode="none")
    made = api.create_container(image, ["sh", "-c", RUN], environment=env, host_config=config)["Id"]
    try:
        api.start(made)
        yield str(made)
    finally:
        api.remove_container(made, force=True)
        api.close()


def stopped(container: str, log: Path) -> list[str]:
    """What happened from SIGTERM on."""
    api, said = docker.APIClient(), log / "said"
    try:
        eventually("it has started", lambda: said.exists() and "supervisor begins" in said.read_text())
        api.stop(container, timeout=60)
        assert api.inspect_container(container)["State"]["ExitCode"] == 0
    finally:
        api.close()
    return said.read_text().splitlines()[1:]


SERVICES = "sv -w 5 force-stop /etc/service/kubelet /etc/service/proxy"
ENGINE = ["docker stop -t 2 left", "sv -w 10 force-stop /etc/service/docker"]


def test_a_node_container_ends_its_pods_first(image: str, played: Path, tmp_path: Path) -> None:
    """A kubelet that does not end is not waited for without end; on the host's own Docker pods stay as they are."""
    logs = {name: tmp_path / name for name in ("well", "deaf", "host")}
    with (
        node(image, played, logs["well"]) as well,
        node(image, played, logs["deaf"], KUBELET="deaf") as deaf,
        node(image, played, logs["host"], HOST_NODE="1") as host,
    ):
        told = ["kubelet is not started again", "kubelet is told"]
        assert stopped(well, logs["well"]) == [*told, "pods have ended", SERVICES, *ENGINE, "supervisor ends"]
        assert stopped(deaf, logs["deaf"]) == [*told, SERVICES, *ENGINE, "supervisor ends"]
        assert stopped(host, logs["host"]) == [SERVICES, "supervisor ends"]
