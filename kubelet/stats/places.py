"""Which folders a pod's figures come from: its volumes, its containers' writable layers, its logs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lightkube.models.core_v1 import Volume
from lightkube.resources.core_v1 import Pod

from kubelet.stats.disk import Wanted
from kubelet.types import RuntimeContainer

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


def volume_places(pod: Pod, root: Path) -> list[VolumePlace]:
    """Of the volumes that are there. Blocking."""
    spec, metadata = pod.spec, pod.metadata
    if spec is None or metadata is None or not spec.volumes:
        return []
    base = root / "pods" / (metadata.uid or "") / "volumes"
    inline = {volume.name for volume in spec.volumes if COUNTED.get(source_of(volume))}
    others = _others(base, inline)
    found = []
    for volume in spec.volumes:
        source = source_of(volume)
        plugin, claim, name = COUNTED.get(source, ""), "", volume.name
        if source == "persistentVolumeClaim" and volume.persistentVolumeClaim is not None:
            claim = volume.persistentVolumeClaim.claimName
        elif source == "ephemeral":
            claim = f"{metadata.name}-{volume.name}"
        if claim:
            plugin, name = others.get(volume.name) or next(iter(others.values()), ("", "")) if others else ("", "")
        if not plugin or not (base / plugin / name).is_dir():
            continue
        wanted = Wanted(str(base / plugin / name), whole=plugin in WHOLE)
        medium = (volume.emptyDir.medium or "") if volume.emptyDir is not None else "Memory"
        found.append(VolumePlace(volume.name, wanted, source == "emptyDir" and not medium, plugin, claim))
    return found


def _others(base: Path, inline: set[str]) -> dict[str, tuple[str, str]]:
    """Folders that are of no inline volume, by the name of the volume they may be of: plugin and folder."""
    found = {}
    try:
        for plugin in sorted(os.listdir(base)):
            for name in sorted(os.listdir(base / plugin)):
                if name not in inline:
                    found[name] = (plugin, name)
    except OSError:
        return {}
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
