"""tmpfs and bind mounts, and finding and removing them.

Blocking. Only mounts below a directory of ours are ever unmounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

from kubelet.types import VolumeError

_MS_NOSUID, _MS_NODEV, _MS_BIND = 0x2, 0x4, 0x1000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 0x2, 0x8
_libc = ctypes.CDLL(None, use_errno=True)


def parse_mountinfo(text: str) -> list[str]:
    """Mount points, in the order of mounting (proc(5), mountinfo, field 5)."""
    return [_unescape(line.split(" ")[4]) for line in text.splitlines() if line]


def mounts_below(directory: Path) -> list[str]:
    """Mount points at or below a directory, the last mounted first."""
    prefix = os.path.realpath(directory)
    points = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    return [point for point in reversed(points) if point == prefix or point.startswith(prefix + "/")]


def mount_tmpfs(path: Path, *, size: int | None = None, mode: int = 0o777) -> None:
    """Mounts memory at a directory, unless something is mounted there already."""
    if os.path.realpath(path) in parse_mountinfo(Path("/proc/self/mountinfo").read_text()):
        return
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    if _libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", _MS_NOSUID | _MS_NODEV, options.encode()) != 0:
        raise VolumeError(f"mount of tmpfs at {path} failed: {os.strerror(ctypes.get_errno())}")


def bind_mount(source: str, target: Path) -> None:
    if _libc.mount(os.fsencode(source), os.fsencode(target), None, _MS_BIND, None) != 0:
        raise VolumeError(f"bind mount at {target} failed: {os.strerror(ctypes.get_errno())}")


def is_mount_point(path: Path) -> bool:
    """From the mount table: a file of the same file system can be mounted too, which ``st_dev`` does not tell."""
    return os.path.realpath(path) in parse_mountinfo(Path("/proc/self/mountinfo").read_text())


def unmount(point: str) -> None:
    """Unmounts; a busy mount is detached (it is gone once its last user is)."""
    for flags in (_UMOUNT_NOFOLLOW, _UMOUNT_NOFOLLOW | _MNT_DETACH):
        if _libc.umount2(os.fsencode(point), flags) == 0:
            return
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOENT):
            return
        if code != errno.EBUSY:
            break
    raise VolumeError(f"unmount of {point} failed: {os.strerror(code)}")


def remove_tree(directory: Path) -> None:
    """Unmounts what is mounted below a directory, then removes it. Never removes through a mount or a link."""
    if not directory.exists():
        return
    for point in mounts_below(directory):
        unmount(point)
    left = mounts_below(directory)
    if left:
        raise VolumeError(f"{left[0]} is still mounted")
    shutil.rmtree(directory)


def _unescape(field: str) -> str:
    """The kernel writes blanks and backslashes as octal."""
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escaped, plain)
    return field
