"""One node of this machine: pods created at once, deleted at once, and what the kubelet costs while they run.

The node is that of the e2e tests: etcd, API server, controller manager, scheduler and kubelet as processes, containers
on this machine's Docker. Beside it, in the same minute, Docker's own limit: bare calls that make a pause container and
one in its namespaces.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker

from bench import pods
from bench.cluster import usage
from tests.e2e.node.machine import Machine, built_image

PARALLEL = 8
PROBED = 10


def measure(count: int, seconds: int) -> str:
    """Lines of figures; ``seconds`` is how long the node is watched while its pods do nothing."""
    lines = []
    with built_image() as image, tempfile.TemporaryDirectory(prefix="cox-bench-") as folder:
        lines += [docker_limit(image, 1, 1), docker_limit(image, count, PARALLEL)]
        with Machine(Path(folder), image, {"file-check-frequency": "20s"}) as machine:
            machine.start()
            machine.start_scheduler()
            kubectl = machine.kubectl().words()
            for number in (1, 1, count):
                with pods.started(number, image, kubectl) as started:
                    lines += [f"{started}; {started.delete(lambda: len(machine.containers()))}"]
            with pods.started(count, image, kubectl, _probed) as started:
                lines.append(f"{idle(machine, seconds)} with {len(started.delays)} pods, {PROBED} of them probed")
                started.delete(lambda: len(machine.containers()))
    return "\n".join(lines)


def idle(machine: Machine, seconds: int) -> str:
    assert machine.kubelet.running is not None
    kubelet = [machine.kubelet.running.pid]
    time.sleep(10)
    before = usage(kubelet)
    time.sleep(seconds)
    after = usage(kubelet)
    cores = (after.cpu - before.cpu) / seconds
    return f"kubelet: {after.resident / 1e6:.0f} MB resident, {cores:.4f} core"


def docker_limit(image: str, count: int, parallel: int) -> str:
    """Pairs of containers a second, made and removed."""

    def make(_: int) -> tuple[str, str]:
        api = docker.APIClient()
        sandbox = _run(api, image, {"NetworkMode": "none", "IpcMode": "shareable"})
        shared = f"container:{sandbox}"
        made = sandbox, _run(api, image, {"NetworkMode": shared, "IpcMode": shared})
        api.close()
        return made

    def remove(pair: tuple[str, str]) -> None:
        api = docker.APIClient()
        for container in reversed(pair):
            api.remove_container(container, force=True, v=True)
        api.close()

    with ThreadPoolExecutor(parallel) as pool:
        pairs, making = _timed(lambda: list(pool.map(make, range(count))))
        _, removing = _timed(lambda: list(pool.map(remove, pairs)))
    words = f"bare Docker, {parallel} at a time: {count} pairs in {making:.2f} s ({count / making:.1f}/s)"
    return f"{words}, removed {count / removing:.1f}/s"


def _run(api: Any, image: str, host: dict[str, Any]) -> str:
    body = {"Image": image, "Cmd": ["sleep", "10000"], "HostConfig": host}
    container = str(api.create_container_from_config(body)["Id"])
    api.start(container)
    return container


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.monotonic()
    return call(), time.monotonic() - begun


def _probed(number: int, image: str) -> dict[str, Any]:
    """The first ten answer a probe each second."""
    pod = pods.pod_of(number, image)
    if number < PROBED:
        container = pod["spec"]["containers"][0]
        container["command"] = ["httpd", "-f", "-p", "8080", "-h", "/etc"]
        container["readinessProbe"] = {"httpGet": {"port": 8080, "path": "/passwd"}, "periodSeconds": 1}
    return pod
