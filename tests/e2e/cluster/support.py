"""What the tests of the cluster use: kubectl, commands, and waiting for conditions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tests.e2e.commands import ROOT, BaseKubectl, Result, command, eventually

__all__ = ["KUBECONFIG", "PROJECT", "ROOT", "Kubectl", "Result", "clients", "command", "eventually", "node_exec"]

PROJECT = os.environ.get("COX_PROJECT", "coxswain")
KUBECONFIG = ROOT / ".cox" / "kubeconfig"


class Kubectl(BaseKubectl):
    """One kubectl binary, in one namespace."""

    def __init__(self, namespace: str, binary: str = "kubectl") -> None:
        self.namespace, self.binary = namespace, binary

    def words(self, *words: str) -> list[str]:
        return [self.binary, "--kubeconfig", str(KUBECONFIG), "--namespace", self.namespace, *words]

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Those that are not being deleted."""
        pods = self.get("pods", "-l", selector)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def node_exec(node: str, *words: str, timeout: float = 60) -> Result:
    return command(["docker", "exec", f"{PROJECT}-{node}", *words], timeout=timeout)


def clients() -> list[str]:
    """Every kubectl of this machine: the one on PATH and those of other versions beside it or Google's SDK."""
    found = {Path(path).resolve() for path in (shutil.which("kubectl"), shutil.which("gcloud")) if path}
    folders = {*(path.parent for path in found), *(Path(name) for name in os.environ["PATH"].split(":"))}
    versions = {path.name: str(path) for folder in folders for path in sorted(folder.glob("kubectl.1.*"))}
    return ["kubectl", *versions.values()]
