"""hostPath: https://kubernetes.io/docs/concepts/storage/volumes/#hostpath. Never removed, never chowned."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from kubelet.types import VolumeError

_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def set_up(path: Path, kind: str) -> None:
    """Blocking. Checks the path against the type and makes what an …OrCreate type asks for.

    Without a type nothing is checked but that the file system answers: the runtime would wait for it.
    """
    if ".." in path.parts:
        raise VolumeError(f"invalid HostPath `{path}`: must not contain '..'")
    if kind == "":
        path.exists()
        return
    if kind not in _CHECKS:
        raise VolumeError(f"{kind} is an invalid volume type")
    if not path.exists():
        _create(path, kind)
    is_kind, wording = _CHECKS[kind]
    if not path.exists() or not is_kind(path.stat().st_mode):
        raise VolumeError(f"hostPath type check failed: {path} is not {wording}")


def _create(path: Path, kind: str) -> None:
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        # The folder must be there: upstream does not make it for a file.
        try:
            path.touch(mode=0o644)
        except OSError as error:
            raise VolumeError(f"open {path}: {(error.strerror or '').lower()}") from error
