"""local persistent volumes: a directory of this node, mounted for each pod, or a block device.

https://kubernetes.io/docs/concepts/storage/volumes/#local. Blocking calls.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kubelet.types import VolumeError
from kubelet.volumes import ownership
from kubelet.volumes.mounts import bind_mount, is_mount_point, unmount


class NewMounterError(VolumeError):
    """What upstream finds out before it begins to mount."""


def set_up(source: str, target: Path, *, read_only: bool, group: int | None, on_root_mismatch: bool) -> None:
    """Mounts the directory; what is mounted at the target already stays."""
    status = _status(source)
    if stat.S_ISBLK(status.st_mode):
        raise VolumeError(f"{source} is a block device: this kubelet does not make file systems, use volumeMode Block")
    if not stat.S_ISDIR(status.st_mode):
        raise VolumeError(f"{source} is not a directory")
    if not is_mount_point(target):
        target.mkdir(mode=0o750, parents=True, exist_ok=True)
        bind_mount(source, target)
        if read_only:
            try:
                bind_mount(source, target, read_only=True)
            except VolumeError:
                unmount(str(target))
                raise
    if group is not None and not read_only:
        ownership.set_group(target, group, read_only=False, on_root_mismatch=on_root_mismatch)


def device(source: str) -> str:
    """The block device itself, links followed."""
    if not stat.S_ISBLK(_status(source).st_mode):
        raise VolumeError(f"{source} is not a block device")
    return os.path.realpath(source)


def _status(source: str) -> os.stat_result:
    if ".." in source.split("/"):
        raise VolumeError(f"invalid path: {source} must not contain '..'")
    try:
        return os.stat(source)
    except FileNotFoundError:
        raise NewMounterError(f'path "{source}" does not exist') from None
