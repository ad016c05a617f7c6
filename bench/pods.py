"""Pod start-up: pods created at once; from creation to all containers running, as a watch sees it, then deletion."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LIMIT_SECONDS = 240
WATCH = "/api/v1/namespaces/default/pods?watch=1&labelSelector=app%3Dstart-up"


class _Watch:
    """When each pod was first seen running, and when it was seen gone."""

    def __init__(self, kubectl: Sequence[str]) -> None:
        self.running: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self._process = subprocess.Popen([*kubectl, "get", "--raw", WATCH], stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            pod, present = event["object"], time.monotonic()
            name = pod["metadata"]["name"]
            if event["type"] == "DELETED":
                self.gone[name] = present
            statuses = pod["status"].get("containerStatuses")
            if statuses and all("running" in status["state"] for status in statuses):
                self.running.setdefault(name, present)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()


@dataclass
class Started:
    """Pods that were created at once. Seconds."""

    kubectl: Sequence[str]
    watch: _Watch
    count: int
    span: float
    delays: list[float]

    def __str__(self) -> str:
        if not self.delays:
            return f"none of {self.count} pods was seen running within {LIMIT_SECONDS} s"
        seen, delays = len(self.delays), self.delays
        line = f"{seen} of {self.count} pods running in {self.span:.2f} s ({seen / self.span:.1f} pods/s)"
        return f"{line}, each after p50 {delays[len(delays) // 2]:.2f} s, max {delays[-1]:.2f} s"

    def delete(self, left: Callable[[], int] = lambda: 0) -> str:
        """How long until the API has none of them, and until ``left`` counts none."""
        started = time.monotonic()
        delete = [*self.kubectl, "delete", "pods", "-l", "app=start-up", "--wait=false"]
        subprocess.run(delete, check=True, stdout=subprocess.DEVNULL)
        _wait(lambda: len(self.watch.gone) >= self.count, started)
        answered = time.monotonic() - started
        _wait(lambda: not left(), started)
        ended = time.monotonic() - started
        return f"{len(self.watch.gone)} gone from the API in {answered:.2f} s, from the node in {ended:.2f} s"


@contextmanager
def started(
    count: int, image: str, kubectl: Sequence[str], pod: Callable[[int, str], Any] | None = None
) -> Iterator[Started]:
    """Creates ``count`` pods and waits until all are seen running. ``kubectl``: the words that call it."""
    watch = _Watch(kubectl)
    try:
        begun = time.monotonic()
        make = pod or pod_of
        items = [make(number, image) for number in range(count)]
        created = _create(kubectl, json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        _wait(lambda: len(watch.running) >= count, begun)
        span = max(watch.running.values(), default=begun) - begun
        yield Started(kubectl, watch, count, span, sorted(at - created[name] for name, at in watch.running.items()))
    finally:
        watch.close()


def measure(count: int, image: str, kubectl: Sequence[str]) -> str:
    """One line: how long ``count`` pods took to run and to go."""
    with started(count, image, kubectl) as pods:
        return f"{pods}; {pods.delete()}"


def _create(kubectl: Sequence[str], manifest: str) -> dict[str, float]:
    """Creates, and notes when kubectl said so of each pod."""
    create = subprocess.Popen([*kubectl, "create", "-f", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert create.stdin is not None
    assert create.stdout is not None
    create.stdin.write(manifest)
    create.stdin.close()
    return {line.split("/")[1].split()[0]: time.monotonic() for line in create.stdout}


def _wait(done: Callable[[], bool], started: float) -> None:
    while not done() and time.monotonic() - started < LIMIT_SECONDS:
        time.sleep(0.02)


def pod_of(number: int, image: str) -> dict[str, Any]:
    container = {"name": "c", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "10000"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"start-up-{number}", "labels": {"app": "start-up"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }
