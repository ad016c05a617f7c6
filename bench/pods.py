"""Pod start-up: pods created at once; from creation to all containers running, as a watch sees it, then deletion."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 240
WATCH = "/api/v1/namespaces/default/pods?watch=1&labelSelector=app%3Dstart-up"


class _Watch:
    """When each pod was first seen running, and when it was seen gone."""

    def __init__(self, kubectl: list[str]) -> None:
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


def measure(count: int, image: str, kubeconfig: Path) -> str:
    """One line: how long ``count`` pods took to run and to go."""
    kubectl = ["kubectl", "--kubeconfig", str(kubeconfig), "-n", "default"]
    watch = _Watch(kubectl)
    try:
        started = time.monotonic()
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": [_pod(i, image) for i in range(count)]})
        created = _create(kubectl, manifest)
        _wait(lambda: len(watch.running) >= count, started)
        if not watch.running:
            return f"none of {count} pods was seen running within {LIMIT_SECONDS} s"
        span = max(watch.running.values()) - started
        delays = sorted(at - created[name] for name, at in watch.running.items())
        line = f"{len(watch.running)} of {count} pods running in {span:.2f} s ({len(watch.running) / span:.1f} pods/s)"
        line += f", each after p50 {delays[len(delays) // 2]:.2f} s, max {delays[-1]:.2f} s"
        started = time.monotonic()
        delete = [*kubectl, "delete", "pods", "-l", "app=start-up", "--wait=false"]
        subprocess.run(delete, check=True, stdout=subprocess.DEVNULL)
        _wait(lambda: len(watch.gone) >= count, started)
        return f"{line}; {len(watch.gone)} gone in {time.monotonic() - started:.2f} s"
    finally:
        watch.close()


def _create(kubectl: list[str], manifest: str) -> dict[str, float]:
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


def _pod(number: int, image: str) -> dict[str, Any]:
    container = {"name": "c", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "10000"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"start-up-{number}", "labels": {"app": "start-up"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }
