"""`cox test`: everything that a change must pass, from a clean clone on a bare machine, and nothing left afterwards.

The layers, cheapest first: lint (style, types, import contract), unit (pure), integration (a real etcd, the real server
over HTTP, real containers and iptables in namespaces of their own), e2e (the cluster that `cox up` brings up).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from deploy.cli import cluster, machine, registry
from deploy.cli.console import ROOT, CoxError, run, say, step

LAYERS = ("lint", "unit", "integration", "e2e")
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements-dev.lock"
ETCD = VENV / "bin" / "etcd"
"""The tests' own: a distribution's may be older than what the API server accepts, and would start as a service."""
_PACKAGES = {
    "integration": ("iptables", "iproute2", "busybox-static", "procps"),
    "e2e": ("iptables", "iproute2", "busybox-static", "procps", "curl"),
}
_LINTERS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",))


def test(layer: str, arguments: Sequence[str] = ()) -> int:
    """Run a layer, or all of them; the exit code is the first failure's."""
    layers = LAYERS if layer == "all" else (layer,)
    ensure_environment()
    ensure_packages(layers)
    started_docker = False
    if {"integration", "e2e"} & set(layers):
        started_docker = not machine.docker_answers()
        machine.ensure()
    try:
        code = lint() if "lint" in layers else 0
        folders = [f"tests/{name}" for name in layers if name != "lint"]
        return code or (pytest(folders, arguments) if folders else 0)
    finally:
        if "e2e" in layers:
            clean_up(stop_docker=started_docker)


def lint() -> int:
    for command in _LINTERS:
        say(f"$ {' '.join(command)}")
        code = subprocess.run([str(VENV / "bin" / command[0]), *command[1:]], cwd=ROOT).returncode
        if code:
            return code
    return 0


def pytest(folders: Sequence[str], arguments: Sequence[str]) -> int:
    """One run over all folders, so that its closing line counts everything."""
    command = [str(VENV / "bin" / "python"), "-m", "pytest", *folders, *arguments]
    say(f"$ pytest {' '.join([*folders, *arguments])}")
    path = f"{VENV / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}).returncode


def ensure_environment() -> None:
    """A virtual environment with exactly the locked packages, made again when the lock file changes."""
    stamp = VENV / ".lock"
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    python = _python()
    with step("Installing Python packages into .venv") as current:
        shutil.rmtree(VENV, ignore_errors=True)
        if python == sys.executable:
            venv.create(VENV, with_pip=True)
        else:
            run([python, "-m", "venv", VENV])
        pip: list[str | Path] = [VENV / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install"]
        pip += ["-q", "--no-compile"]
        current.detail = "requirements-dev.lock"
        run([*pip, "--no-deps", "-r", LOCK])
        run([*pip, "--no-deps", "-e", "."])
    stamp.write_text(wanted)


def _python() -> str:
    """A Python that the project supports, able to make virtual environments."""
    if sys.version_info < (3, 11):  # noqa: UP036  (cox itself runs on 3.10)
        found = next((path for n in (13, 12, 11) if (path := shutil.which(f"python3.{n}"))), None)
        if found is None:
            machine.install("python3.11", "python3.11-venv")
            found = shutil.which("python3.11")
        if found is None:
            raise CoxError("the tests need Python 3.11, 3.12 or 3.13")
        return found
    if not (Path(sysconfig.get_path("stdlib")) / "ensurepip" / "_bundled").is_dir() and not any(
        Path("/usr/share/python-wheels").glob("pip-*.whl")
    ):
        machine.install("python3-venv")
    return sys.executable


def ensure_packages(layers: Sequence[str]) -> None:
    packages = dict.fromkeys(package for layer in layers for package in _PACKAGES.get(layer, ()))
    wanted = machine.missing(*packages)
    if wanted:
        with step("Installing what the tests need") as current:
            machine.install(*wanted, current=current)
    if {"integration", "e2e"} & set(layers) and not ETCD.exists():
        with step("Fetching the etcd that the cluster's image has"):
            machine.borrow("etcd-server", "usr/bin/etcd", ETCD.parent)


def clean_up(*, stop_docker: bool) -> None:
    if machine.docker_answers():
        with step("Removing the cluster"):
            cluster.down(data=True)
            registry.distrust_registry()
            registry.forget_loaded()
    if stop_docker:
        machine.stop_docker()
