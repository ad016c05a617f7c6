"""subPath of a volume mount: a path inside the volume that no link may lead out of.

https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath
"""

from __future__ import annotations

from pathlib import Path

from kubelet.types import VolumeError

_MODE = 0o750


def resolve(volume: str, sub_path: str) -> str:
    """The host path of ``sub_path``, with every link followed; a directory is made where nothing is. Blocking."""
    if sub_path.startswith("/") or ".." in sub_path.split("/"):
        raise VolumeError(f"subPath {sub_path!r} must be a relative path without '..'")
    root = Path(volume).resolve()
    wanted = (root / sub_path).resolve()
    if wanted != root and root not in wanted.parents:
        raise VolumeError(f"subPath {sub_path!r} leads out of the volume")
    if not wanted.exists():
        wanted.mkdir(mode=_MODE, parents=True, exist_ok=True)
    return str(wanted)
