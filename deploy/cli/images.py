"""The images, built where no registry can be reached, and built again only when what is in them changed.

Each image carries a label with the hash of everything that goes into it (its base, its stage of the Dockerfile, its
files), so that a second run has nothing to do and a change of source code builds one thin layer.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from deploy.cli import machine
from deploy.cli.console import ROOT, CoxError, run, step, try_run

SUITE = "trixie"
PYTHON = "3.13"  # the suite's
BASE = "coxswain/base:latest"
UPSTREAM_BASE = f"debian:{SUITE}-slim"
HASH_LABEL = "coxswain.hash"
WHEELS = ROOT / "build" / "wheels"
LOCK = ROOT / "requirements.lock"
_PLATFORMS = {"x86_64": "x86_64", "aarch64": "aarch64"}
_IGNORED = ("__pycache__", ".pyc", ".mypy_cache")


@dataclass(frozen=True)
class Image:
    """One image: the stage that makes it and the files that its stage copies."""

    tag: str
    stage: str
    inputs: tuple[str, ...] = ()
    dockerfile: str = "deploy/images/Dockerfile"
    arguments: dict[str, str] = field(default_factory=dict)


_PYTHON = ("requirements.lock", "pyproject.toml", "deploy/images/describe", "common")
_SAMPLES = "deploy/images/samples.Dockerfile"
CLUSTER = (
    Image("coxswain/pause:latest", "pause"),
    Image("coxswain/etcd:latest", "etcd"),
    Image("coxswain/registry:latest", "registry", ("deploy/images/registry.yml", "deploy/images/registry-serve")),
    Image(
        "coxswain/control-plane:latest",
        "control-plane",
        (*_PYTHON, "deploy/*.py", "apiserver", "controller_manager", "scheduler"),
    ),
    Image("coxswain/node:latest", "node", (*_PYTHON, "kubelet", "proxy", "deploy/node")),
)
ADDONS = (
    Image("coxswain/metrics-server:latest", "metrics-server", (*_PYTHON, "addons/*.py", "addons/metrics_server/*.py")),
)
"""Run as pods: pushed to the cluster's registry, and applied from their manifests."""
SAMPLES = (
    Image("busybox:1.35", "busybox", (), _SAMPLES),
    Image("httpd:v1", "httpd", ("deploy/images/httpd-serve",), _SAMPLES, {"VERSION": "v1"}),
    Image("httpd:v2", "httpd", ("deploy/images/httpd-serve",), _SAMPLES, {"VERSION": "v2"}),
    Image("nginx:latest", "nginx", ("deploy/images/nginx.conf",), _SAMPLES),
)


def ensure() -> bool:
    """Build what is missing or outdated; whether anything was built."""
    base = ensure_base()
    stale = [image for image in (*CLUSTER, *ADDONS, *SAMPLES) if built_hash(image.tag) != content_hash(image, base)]
    if any("requirements.lock" in image.inputs for image in stale):
        fetch_wheels()
    for image in stale:
        with step(f"Building {image.tag}"):
            build(image, base)
    if stale:
        try_run(["docker", "image", "prune", "-f", "--filter", f"label={HASH_LABEL}"])
    return bool(stale)


def ensure_base() -> str:
    """The base image's id: pulled where a registry answers, else made from the distribution's mirror."""
    if not (found := _image_id(BASE)):
        if registry_answers():
            with step(f"Pulling {UPSTREAM_BASE}"):
                run(["docker", "pull", "-q", UPSTREAM_BASE])
                run(["docker", "tag", UPSTREAM_BASE, BASE])
        else:
            with step(f"No registry answers: building a Debian {SUITE} base image from {machine.mirror()}"):
                bootstrap_base()
        found = _image_id(BASE)
    if not found:
        raise CoxError(f"{BASE} could not be made")
    return found


def bootstrap_base() -> None:
    if shutil.which("debootstrap") is None:
        machine.install("debootstrap")
    if not machine.KEYRING.exists():
        machine.install("debian-archive-keyring")
    scripts = Path("/usr/share/debootstrap/scripts")
    script = scripts / SUITE if (scripts / SUITE).exists() else scripts / "sid"
    with tempfile.TemporaryDirectory(prefix="cox-base-") as name:
        root = Path(name) / "root"
        keyring = f"--keyring={machine.KEYRING}"
        run(["debootstrap", "--variant=minbase", keyring, SUITE, root, machine.mirror(), script])
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / cache)
            (root / cache / "partial").mkdir(parents=True)
        archive = Path(name) / "base.tar"
        run(["tar", "-C", root, "-cf", archive, "."])
        run(["docker", "import", archive, BASE])


def registry_answers() -> bool:
    """Whether Docker's own registry tells of the base image within a few seconds."""
    # Docker 20.10's client has `manifest` among what it calls experimental.
    asked = try_run(
        ["docker", "manifest", "inspect", UPSTREAM_BASE], env={"DOCKER_CLI_EXPERIMENTAL": "enabled"}, timeout=5
    )
    return asked.returncode == 0


def fetch_wheels() -> None:
    """Fetch the packages of requirements.lock for the image's Python with this machine's pip and its index settings.

    Inside a build the index may be out of reach. Where this fails, the build tries by itself.
    """
    stamp = WHEELS / ".complete"
    wanted = hashlib.sha256(LOCK.read_bytes() + PYTHON.encode() + platform.machine().encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    if try_run([sys.executable, "-m", "pip", "--version"]).returncode != 0:
        machine.install("python3-pip")
    shutil.rmtree(WHEELS, ignore_errors=True)
    WHEELS.mkdir(parents=True)
    architecture = _PLATFORMS.get(platform.machine())
    if architecture is None:
        return
    libc = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28")
    platforms = [word for name in libc for word in ("--platform", f"{name}_{architecture}")]
    with step("Fetching Python packages") as current:
        target = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *platforms]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps"]
        result = try_run([*pip, f"--requirement={LOCK}", f"--dest={WHEELS}", *target], timeout=900)
        if result.returncode != 0:
            shutil.rmtree(WHEELS)
            current.done_as = "not from here; the image build will try"
            return
    stamp.write_text(wanted)


def build(image: Image, base: str) -> None:
    arguments = {"BASE": BASE, **image.arguments}
    flags = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    label = f"{HASH_LABEL}={content_hash(image, base)}"
    command = ["docker", "build", "-q", "-f", image.dockerfile, "--target", image.stage, "-t", image.tag]
    run([*command, "--label", label, *flags, "."])


def built_hash(tag: str) -> str:
    template = f'{{{{index .Config.Labels "{HASH_LABEL}"}}}}'
    return try_run(["docker", "image", "inspect", "-f", template, tag]).stdout.decode().strip()


def content_hash(image: Image, base: str) -> str:
    digest = hashlib.sha256()
    for part in (base, image.stage, repr(sorted(image.arguments.items()))):
        digest.update(part.encode() + b"\0")
    for path in (ROOT / image.dockerfile, *_files(image.inputs)):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _files(patterns: Iterable[str]) -> list[Path]:
    roots = (path for pattern in patterns for path in ROOT.glob(pattern))
    files = (file for path in roots for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    return sorted(file for file in files if not any(part.endswith(_IGNORED) for part in file.parts))


def _image_id(tag: str) -> str:
    return try_run(["docker", "image", "inspect", "-f", "{{.Id}}", tag]).stdout.decode().strip()
