"""Volume mounts that are not a whole volume as it is: its part (subPath), or read-only with all that is mounted within.

No link may lead out of the volume. Between the look at a path and its mount, a container that shares the volume may
put a link to the host's root in its way. So the path is opened part by part, following no link, and what is mounted is
the open file itself, at a place that only the kubelet writes to; the runtime is given that place (upstream:
pkg/volume/util/subpath, made for CVE-2017-1002101 and CVE-2021-25741).

https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath, …/#recursive-read-only-mounts
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from pathlib import Path

from kubelet.types import SubPath, VolumeError
from kubelet.volumes.mounts import bind_mount, bind_read_only_recursively, is_mount_point, mounts_below, unmount
from kubelet.volumes.operations import Operations

log = logging.getLogger("kubelet.volumes")

FOLDER = "volume-subpaths"
ANSWER_SECONDS = 20.0


class SubPaths:
    """Mounts at ``<root>/pods/<uid>/volume-subpaths/<volume>/<container>/<index>``. Blocking."""

    def __init__(self, root_dir: Path, operations: Operations | None = None) -> None:
        self._pods_dir = root_dir / "pods"
        self._operations = operations or Operations()

    def bind(self, wanted: SubPath) -> str:
        """Where it is mounted; a directory is made where nothing is. Raises VolumeError in upstream's words: what
        exactly was wrong is in the kubelet's log, since it may tell of the host's files."""
        target = self._pods_dir / wanted.pod_uid / FOLDER / wanted.volume / wanted.container / str(wanted.index)
        key = f"{wanted.pod_uid}/subpath/{wanted.container}/{wanted.index}"
        what = f'subPath of volumeMount "{wanted.volume}"'
        return self._operations.call(key, lambda: _bind(wanted, target), seconds=ANSWER_SECONDS, what=what)


def _bind(wanted: SubPath, target: Path) -> str:
    where = f'for volumeMount "{wanted.volume}" of container "{wanted.container}"'
    there = os.path.exists(os.path.join(wanted.volume_path, wanted.sub_path))
    try:
        found = open_beneath(wanted.volume_path, wanted.sub_path) if wanted.sub_path else _open(wanted.volume_path)
        try:
            _mount(found, target, wanted.recursive_read_only)
        finally:
            os.close(found)
    except (OSError, VolumeError) as error:
        done = "prepare subPath" if there else "create subPath directory"
        log.error("failed to %s %s: %s", done, where, error)
        raise VolumeError(f"failed to {done} {where}") from error
    return str(target)


def _open(volume: str) -> int:
    return os.open(volume, os.O_PATH | os.O_CLOEXEC)


def open_beneath(volume: str, sub_path: str) -> int:
    """A descriptor (O_PATH) of what is at ``sub_path``; missing directories are made with the volume's own mode.

    Links that are there now are followed as long as they stay inside; one that comes up on the way is refused.
    """
    if sub_path.startswith("/") or ".." in sub_path.split("/"):
        raise VolumeError(f"subPath {sub_path!r} must be a relative path without '..'")
    root = Path(os.path.realpath(volume))
    wanted = Path(os.path.realpath(root / sub_path))
    if wanted != root and root not in wanted.parents:
        raise VolumeError(f'subpath "{wanted}" not within volume path "{root}"')
    current = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mode = stat.S_IMODE(os.fstat(current).st_mode)
    try:
        for part in wanted.relative_to(root).parts:
            below = _open_or_make(current, part, mode)
            os.close(current)
            current = below
            if stat.S_ISLNK(os.fstat(current).st_mode):
                raise VolumeError(f"unexpected symlink found {part!r} in subpath {sub_path!r}")
    except BaseException:
        os.close(current)
        raise
    return current


def _open_or_make(parent: int, name: str, mode: int) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        pass
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.fchmod(made, mode)  # mkdir's mode is cut by the umask and loses the set-group-id bit
        finally:
            os.close(made)
    return os.open(name, flags, dir_fd=parent)


def _mount(found: int, target: Path, recursive: bool) -> None:
    """What is mounted there already stays if it is the same: a container of a restarted kubelet's may use it. But each
    container sees what is mounted within as of its start."""
    status = os.fstat(found)
    if is_mount_point(target):
        held = target.stat()
        if not recursive and (held.st_dev, held.st_ino) == (status.st_dev, status.st_ino):
            return
        for point in mounts_below(target):
            unmount(point)
    if not stat.S_ISDIR(status.st_mode):
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if target.is_dir():
            target.rmdir()
        target.touch(mode=0o640)
    else:
        if target.is_file():
            target.unlink()
        target.mkdir(mode=0o750, parents=True, exist_ok=True)
    bind = bind_read_only_recursively if recursive else bind_mount
    bind(f"/proc/self/fd/{found}", target)


def clean_up(pod_dir: Path) -> None:
    """Unmounts a pod's sub paths and removes their places. Removes nothing that has something in it: if a mount were
    still there, that would be the user's."""
    top = pod_dir / FOLDER
    if not top.exists():
        return
    for point in mounts_below(top):
        unmount(point)
    for folder, folders, files in os.walk(top, topdown=False, followlinks=False):
        for name in files:
            os.unlink(os.path.join(folder, name))
        for name in folders:
            os.rmdir(os.path.join(folder, name))
    top.rmdir()
