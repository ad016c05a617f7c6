"""fsGroup: a volume's files belong to a group that all containers of the pod are in.

https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#set-the-security-context-for-a-pod
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_READ_WRITE, _READ_ONLY, _EXECUTE = 0o660, 0o440, 0o110


def set_group(root: Path, group: int, *, read_only: bool) -> None:
    """Group, group's access and (on directories) the set-group-id bit, on everything below ``root`` and on itself."""
    _set(root, group, read_only)
    for directory, folders, files in os.walk(root):
        for name in (*folders, *files):
            _set(Path(directory, name), group, read_only)


def _set(path: Path, group: int, read_only: bool) -> None:
    status = path.lstat()
    os.chown(path, -1, group, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        return
    mask = _READ_ONLY if read_only else _READ_WRITE
    if stat.S_ISDIR(status.st_mode):
        mask |= stat.S_ISGID | _EXECUTE
    path.chmod(stat.S_IMODE(status.st_mode) | mask)
