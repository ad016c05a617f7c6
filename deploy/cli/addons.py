"""What runs on the cluster as pods: images into its registry, manifests into its API."""

from __future__ import annotations

from pathlib import Path

from deploy.cli import images, registry
from deploy.cli.cluster import KUBECONFIG
from deploy.cli.console import ROOT, run

MANIFESTS = {"coxswain/metrics-server:latest": Path("addons/metrics_server/manifests/metrics-server.yaml")}
"""By the image that they name."""


def install() -> None:
    """Idempotent. The pods come up by themselves: nobody waits for them here."""
    for image in images.ADDONS:
        tag = versioned(image.tag)
        run(["docker", "tag", image.tag, tag])
        try:
            registry.load(tag)
        finally:
            run(["docker", "rmi", tag])
        run(["kubectl", "--kubeconfig", KUBECONFIG, "apply", "-f", "-"], stdin=manifest(image.tag, tag), timeout=60)


def versioned(tag: str) -> str:
    """With the hash of what is in the image as its tag: nodes that have another one pull it."""
    return f"{tag.rpartition(':')[0]}:{images.built_hash(tag)}"


def manifest(image: str, tag: str) -> bytes:
    return (ROOT / MANIFESTS[image]).read_text().replace(f"image: {image}", f"image: {tag}").encode()
