"""fsGroup: a volume's files belong to a group that all containers of the pod are in.

https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#set-the-security-context-for-a-pod. Another
container may be at work in the volume meanwhile: what is changed is always what was opened, never what a name that was
swapped for a link leads to.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_READ_WRITE, _READ_ONLY, _EXECUTE = 0o660, 0o440, 0o110
_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def set_group(root: Path, group: int, *, read_only: bool, on_root_mismatch: bool = False) -> None:
    """Group, group's access and (on directories) the set-group-id bit, on everything below ``root`` and on itself.

    ``on_root_mismatch``: nothing, when the root has them already (fsGroupChangePolicy). The root is changed last: as
    long as it differs, an interrupted change begins anew.
    """
    mask = _READ_ONLY if read_only else _READ_WRITE
    if on_root_mismatch and _has(root, group, mask):
        return
    for _, folders, files, descriptor in os.fwalk(root, topdown=False):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):  # the containers go on working
                os.chown(name, -1, group, dir_fd=descriptor, follow_symlinks=False)
                _set(os.open(name, _FLAGS, dir_fd=descriptor), group, mask)
    _set(os.open(root, os.O_PATH | os.O_CLOEXEC), group, mask)


def _has(root: Path, group: int, mask: int) -> bool:
    status = root.stat()
    wanted = mask | _EXECUTE | stat.S_ISGID
    return status.st_gid == group and status.st_mode & wanted == wanted


def _set(descriptor: int, group: int, mask: int) -> None:
    """Changes the open file, and closes it."""
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISLNK(mode):
            return  # its owner was set by name already; it has no mode
        path = f"/proc/self/fd/{descriptor}"
        os.chown(path, -1, group)
        if stat.S_ISDIR(mode):
            mask |= stat.S_ISGID | _EXECUTE
        os.chmod(path, stat.S_IMODE(mode) | mask)
    finally:
        os.close(descriptor)
