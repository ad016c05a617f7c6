"""What the tests of the cluster use: kubectl, commands, and waiting for conditions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PROJECT = os.environ.get("COX_PROJECT", "coxswain")
KUBECONFIG = ROOT / ".cox" / "kubeconfig"


class Result:
    """What a command answered."""

    def __init__(self, completed: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = completed.returncode, completed.stdout, completed.stderr

    def __repr__(self) -> str:
        return f"<exit {self.code}; stdout {self.out!r}; stderr {self.err!r}>"


def command(words: Sequence[str], *, stdin: str = "", timeout: float = 120) -> Result:
    return Result(subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout, cwd=ROOT))


class Kubectl:
    """One kubectl binary, in one namespace."""

    def __init__(self, namespace: str, binary: str = "kubectl") -> None:
        self.namespace, self.binary = namespace, binary

    def attempt(self, *words: str, stdin: str = "", timeout: float = 120) -> Result:
        base = [self.binary, "--kubeconfig", str(KUBECONFIG), "--namespace", self.namespace]
        return command([*base, *words], stdin=stdin, timeout=timeout)

    def __call__(self, *words: str, stdin: str = "", timeout: float = 120) -> str:
        result = self.attempt(*words, stdin=stdin, timeout=timeout)
        assert result.code == 0, f"kubectl {' '.join(words)}: {result}"
        return result.out

    def get(self, *words: str) -> Any:
        return json.loads(self("get", *words, "-o", "json"))

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Those that are not being deleted."""
        pods = self.get("pods", "-l", selector)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The condition's first true value; the test fails with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.25)


def node_exec(node: str, *words: str, timeout: float = 60) -> Result:
    return command(["docker", "exec", f"{PROJECT}-{node}", *words], timeout=timeout)


def clients() -> list[str]:
    """Every kubectl of this machine: the one on PATH and those of other versions beside it or Google's SDK."""
    found = {Path(path).resolve() for path in (shutil.which("kubectl"), shutil.which("gcloud")) if path}
    folders = {*(path.parent for path in found), *(Path(name) for name in os.environ["PATH"].split(":"))}
    versions = {path.name: str(path) for folder in folders for path in sorted(folder.glob("kubectl.1.*"))}
    return ["kubectl", *versions.values()]
