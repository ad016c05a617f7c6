"""Which folders a pod's figures come from: its volumes, its containers' writable layers, its logs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightkube.models.core_v1 import Volume
from lightkube.resources.core_v1 import Pod

from kubelet.cri import RuntimeContainer
from kubelet.stats.disk import Wanted

COUNTED = {
    "emptyDir": "kubernetes.io~empty-dir",
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
    "ephemeral": "",
    "persistentVolumeClaim": "",
    "nfs": "kubernetes.io~nfs",
}
"""Sources whose use is told, and their folder ("" when it depends on what is behind). hostPath tells nothing upstream
either: it is the node's."""
WHOLE = frozenset(("kubernetes.io~nfs", "kubernetes.io~local-volume", "kubernetes.io~csi"))
"""Folders of volumes that are a file system of their own: asked as a whole, not walked through."""


@dataclass(frozen=True, slots=True)
class VolumePlace:
    name: str
    wanted: Wanted
    ephemeral: bool
    """It is the node's own disk that it takes, and goes with the pod."""
    plugin: str
    claim: str = ""


def source_of(volume: Volume) -> str:
    return next((name for name in COUNTED if getattr(volume, name, None) is not None), "")


def volume_places(pod: Pod, root: Path, mounted: Mapping[str, str]) -> list[VolumePlace]:
    """Of the volumes that are set up (``mounted``: name -> path) below the kubelet's own folder. No file system is
    asked: one that hangs would hold up whoever looks."""
    spec, metadata = pod.spec, pod.metadata
    if spec is None or metadata is None or not spec.volumes:
        return []
    base = os.path.join(os.path.realpath(root), "pods", metadata.uid or "", "volumes")
    found = []
    for volume in spec.volumes:
        source, path = source_of(volume), mounted.get(volume.name, "")
        if not source or not path.startswith(f"{base}/"):
            continue
        claim = ""
        if source == "persistentVolumeClaim" and volume.persistentVolumeClaim is not None:
            claim = volume.persistentVolumeClaim.claimName
        elif source == "ephemeral":
            claim = f"{metadata.name}-{volume.name}"
        plugin = path[len(base) + 1 :].partition("/")[0]
        wanted = Wanted(path, whole=plugin in WHOLE)
        medium = (volume.emptyDir.medium or "") if volume.emptyDir is not None else "Memory"
        found.append(VolumePlace(volume.name, wanted, source == "emptyDir" and not medium, plugin, claim))
    return found


def layer_of(container: RuntimeContainer) -> Wanted | None:
    return Wanted(container.writable_layer) if container.writable_layer else None


def logs_of(container: RuntimeContainer, pod_log_dir: Path) -> Wanted | None:
    """The container's log and what rotation left of it, whether the runtime writes it or the kubelet. Blocking."""
    files = []
    if container.log_path:
        folder, name = os.path.split(container.log_path)
        files += _beginning_with(folder, name)
    own = pod_log_dir / f"{container.namespace}_{container.pod_name}_{container.pod_uid}" / container.name
    files += _beginning_with(str(own), "")
    return Wanted(str(pod_log_dir), files=tuple(files)) if files else None


def _beginning_with(folder: str, name: str) -> list[str]:
    try:
        return [os.path.join(folder, each) for each in sorted(os.listdir(folder)) if each.startswith(name)]
    except OSError:
        return []
