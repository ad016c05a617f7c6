"""Putting local images into the cluster's registry, where every node finds them by their plain name.

Nodes use the registry as a mirror of Docker Hub: `httpd:v1` is looked up as `library/httpd:v1` there first. This
machine's Docker is shown the registry's authority and a client certificate in `/etc/docker/certs.d`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.cli.cluster import PREFIX, PROJECT
from deploy.cli.console import STATE, CoxError, run, try_run

REGISTRY = f"{PREFIX}.8:5000"
CERTIFICATES = Path("/etc/docker/certs.d") / REGISTRY
_LOADED = STATE / "loaded"


def trust_registry() -> None:
    CERTIFICATES.mkdir(parents=True, exist_ok=True)
    files = {"ca.crt": "ca.crt", "client.crt": "client.cert", "client.key": "client.key"}
    for source, target in files.items():
        run(["docker", "cp", f"{PROJECT}-pki:/pki/registry/{source}", CERTIFICATES / target])
    (CERTIFICATES / "client.key").chmod(0o600)


def distrust_registry() -> None:
    shutil.rmtree(CERTIFICATES, ignore_errors=True)
    for folder in (CERTIFICATES.parent, CERTIFICATES.parent.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def repository(image: str) -> str:
    """Where nodes look for an image of this name; only Docker Hub's names can be mirrored."""
    name = image.removeprefix("docker.io/")
    first, slash, _ = name.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        raise CoxError(f"{image}: only names without a registry can be loaded (httpd:v1, user/app:v2)")
    path = name if slash else f"library/{name}"
    return path if ":" in path else f"{path}:latest"


def load(image: str) -> bool:
    """Push a local image; whether it had to be (what was pushed last is remembered)."""
    target = f"{REGISTRY}/{repository(image)}"
    found = try_run(["docker", "image", "inspect", "-f", "{{.Id}}", image])
    if found.returncode != 0:
        raise CoxError(f"there is no image {image} on this machine; see `docker images`")
    identity = f"{found.stdout.decode().strip()} in {_volume()}"
    memory = _LOADED / repository(image).replace("/", "_")
    if memory.is_file() and memory.read_text() == identity:
        return False
    run(["docker", "tag", image, target])
    try:
        run(["docker", "push", "-q", target])
    finally:
        try_run(["docker", "rmi", target])
    _LOADED.mkdir(parents=True, exist_ok=True)
    memory.write_text(identity)
    return True


def _volume() -> str:
    """Which registry it is: a new one, whoever removed the old one, must be filled again."""
    return run(["docker", "volume", "inspect", "-f", "{{.Name}} {{.CreatedAt}}", f"{PROJECT}_registry"]).strip()


def forget_loaded() -> None:
    """The registry's volume is gone: everything must be pushed again."""
    shutil.rmtree(_LOADED, ignore_errors=True)
