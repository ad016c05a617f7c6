"""Every kubectl of this machine, and one of them at work in a namespace."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any


@cache
def installed() -> dict[str, str]:
    """Version ("1.27") -> path, oldest first: ``kubectl.1.27`` … beside the one on PATH; else that one alone."""
    on_path = shutil.which("kubectl")
    assert on_path is not None, "kubectl is not installed: ./cox test installs what the tests need"
    folders = {Path(on_path).parent, Path(on_path).resolve().parent}
    found = {}
    for path in (path for folder in folders for path in folder.glob("kubectl.1.*")):
        if match := re.fullmatch(r"kubectl\.(1\.\d+)", path.name):
            found[match[1]] = str(path)
    if not found:
        found[_version(on_path)] = on_path
    return dict(sorted(found.items(), key=lambda item: number(item[0])))


def _version(binary: str) -> str:
    out = subprocess.run([binary, "version", "--client", "-o", "json"], capture_output=True, text=True, check=True)
    version = json.loads(out.stdout)["clientVersion"]
    return f"{version['major']}.{version['minor'].rstrip('+')}"


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def every() -> list[str]:
    return list(installed())


def ends() -> list[str]:
    """The oldest and the newest: between them lies what changed."""
    versions = every()
    return [versions[0], versions[-1]] if len(versions) > 1 else versions


@dataclass
class Kubectl:
    """One binary, as one user, in one namespace. Calling it gives its standard output."""

    version: str
    kubeconfig: Path
    namespace: str
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        return [installed()[self.version], "--kubeconfig", str(self.kubeconfig), "-n", self.namespace]

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), **self.environment}

    def newer(self, version: str) -> bool:
        """Whether it is of this version at least."""
        return number(self.version) >= number(version)

    def attempt(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *words], input=stdin, capture_output=True, text=True, env=self.env, timeout=60
        )

    def __call__(self, *words: str, stdin: str = "") -> str:
        done = self.attempt(*words, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def refused(self, *words: str, stdin: str = "", code: int = 1) -> str:
        """What it complains about."""
        done = self.attempt(*words, stdin=stdin)
        assert done.returncode == code, f"kubectl {' '.join(words)}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def get(self, *words: str) -> Any:
        return json.loads(self("get", *words, "-o", "json"))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """For those that do not end by themselves."""
        return subprocess.Popen(
            [*self.command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env
        )
