"""tmpfs and bind mounts, and finding and removing them.

Blocking. Only mounts below a directory of ours are ever unmounted. No function asks what is mounted at a path for
anything: a server that is gone would hold it; the mount table tells.
"""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from kubelet.types import VolumeError

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND = 0x1, 0x2, 0x4, 0x20, 0x1000
_MS_REC, _MS_PRIVATE, _MS_SHARED = 0x4000, 1 << 18, 1 << 20
_MNT_FORCE, _MNT_DETACH, _UMOUNT_NOFOLLOW = 0x1, 0x2, 0x8
_MOUNT_SETATTR, _MOUNT_ATTR_RDONLY, _AT_FDCWD, _AT_RECURSIVE = 442, 0x1, -100, 0x8000
_DEEPEST = 64
_NETWORK = frozenset({"nfs", "nfs4"})
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A line of the mount table (proc(5), mountinfo)."""

    path: str
    kind: str
    """The file system's type: ext4, tmpfs, nfs4, …"""
    shared: bool
    """Whether mounts below it appear in other places too."""


def parse_mountinfo(text: str) -> list[MountPoint]:
    """In the order of mounting."""
    return [_mount_point(line) for line in text.splitlines() if line]


def _mount_point(line: str) -> MountPoint:
    head, _, tail = line.partition(" - ")
    words = head.split(" ")
    shared = any(word.startswith("shared:") for word in words[6:])
    return MountPoint(_unescape(words[4]), tail.split(" ")[0], shared)


def mount_table() -> list[MountPoint]:
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text())


def points_below(directory: Path) -> list[MountPoint]:
    """Mounts at or below a directory, the last mounted first."""
    prefix = _real(directory)
    points = mount_table()
    return [each for each in reversed(points) if each.path == prefix or each.path.startswith(prefix + "/")]


def mounts_below(directory: Path) -> list[str]:
    return [each.path for each in points_below(directory)]


def is_mount_point(path: Path) -> bool:
    """From the mount table: a file of the same file system can be mounted too, which ``st_dev`` does not tell."""
    real = _real(path)
    return any(each.path == real for each in mount_table())


def mount_tmpfs(
    path: Path, *, size: int | None = None, mode: int = 0o1777, flags: int = _MS_NOSUID | _MS_NODEV
) -> None:
    """Mounts memory at a directory, unless something is mounted there already. Where the kernel knows how, what is in
    it is never written to swap (noswap, from Linux 6.4 on)."""
    if is_mount_point(path):
        return
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    if _mount("tmpfs", path, "tmpfs", flags, f"{options},noswap") == errno.EINVAL:
        _check(_mount("tmpfs", path, "tmpfs", flags, options), f"mount of tmpfs at {path}")


def mount_hugetlbfs(path: Path, page_size: str) -> None:
    """``page_size`` as the kernel writes it: 2M, 1G."""
    if not is_mount_point(path):
        failed = _mount("hugetlbfs", path, "hugetlbfs", _MS_NODEV, f"pagesize={page_size}")
        _check(failed, f"mount of hugetlbfs at {path}")


def bind_mount(source: str, target: Path, *, read_only: bool = False) -> None:
    """``read_only`` changes a bind mount that is there already."""
    flags = _MS_BIND | (_MS_REMOUNT | _MS_RDONLY if read_only else 0)
    _check(_mount(source, target, "", flags, ""), f"bind mount at {target}")


def can_be_read_only_recursively() -> bool:
    """Whether the kernel has mount_setattr(2) (from 5.12 on): before, each mount within had to be changed by itself."""
    return _set_attributes("", -1, 0, _MountAttr()) != errno.ENOSYS


def bind_read_only_recursively(source: str, target: Path) -> None:
    """With all that is mounted within as of now; what comes or goes there later does not show."""
    _check(_mount(source, target, "", _MS_BIND | _MS_REC, ""), f"bind mount at {target}")
    attributes = _MountAttr(set=_MOUNT_ATTR_RDONLY, propagation=_MS_PRIVATE)
    failed = _set_attributes(str(target), _AT_FDCWD, _AT_RECURSIVE, attributes)
    if failed:
        for point in mounts_below(target):
            unmount(point)
    _check(failed, f"recursive read-only mount at {target}")


class _MountAttr(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns_fd")]


def _set_attributes(path: str, folder: int, flags: int, attributes: _MountAttr) -> int:
    """0 or the error's number. By the call's number, the same on all machines: glibc has its name from 2.36 on."""
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    words = (ctypes.c_int(folder), os.fsencode(path), ctypes.c_uint(flags), ctypes.byref(attributes), size)
    return 0 if _libc.syscall(ctypes.c_long(_MOUNT_SETATTR), *words) == 0 else ctypes.get_errno()


def make_shared(directory: Path) -> None:
    """What is mounted below the directory later is seen by containers that ask for it (mountPropagation): it becomes
    a mount of its own where the one that it is on is not shared (upstream: MakeRShared)."""
    directory.mkdir(parents=True, exist_ok=True)
    real = _real(directory)
    above = [each for each in mount_table() if _within(real, each.path)]
    holder = max(above, key=lambda each: len(each.path), default=None)
    if holder is not None and holder.shared:
        return
    if holder is None or holder.path != real:
        _check(_mount(real, Path(real), "", _MS_BIND | _MS_REC, ""), f"bind mount at {real}")
    _check(_mount("", Path(real), "", _MS_SHARED | _MS_REC, ""), f"make {real} a shared mount")


def unmount(point: str) -> None:
    """Unmounts; a busy mount is detached (it is gone once its last user is)."""
    code = 0
    for flags in (_UMOUNT_NOFOLLOW, _UMOUNT_NOFOLLOW | _MNT_DETACH):
        if _libc.umount2(os.fsencode(point), flags) == 0:
            return
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOENT):
            return
        if code != errno.EBUSY:
            break
    raise VolumeError(f"unmount of {point} failed: {os.strerror(code)}")


def abandon(point: str) -> None:
    """Takes away a mount whose server does not answer: what waits for it gets an error, what was not written yet is
    lost."""
    _libc.umount2(os.fsencode(point), _UMOUNT_NOFOLLOW | _MNT_FORCE)
    _libc.umount2(os.fsencode(point), _UMOUNT_NOFOLLOW | _MNT_DETACH)


def is_network(point: MountPoint) -> bool:
    return point.kind in _NETWORK or point.kind.startswith("fuse")


def remove_tree(directory: Path) -> None:
    """Unmounts what is mounted below a directory, then removes it. Never removes through a mount or a link: a directory
    that another mount came upon meanwhile is left, with an error."""
    if not directory.exists():
        return
    for point in mounts_below(directory):
        unmount(point)
    left = mounts_below(directory)
    if left:
        raise VolumeError(f"{left[0]} is still mounted")
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while _empty(top, top, mount_id(top), str(directory), 0):
            pass
    finally:
        os.close(top)
    os.rmdir(directory)


def mount_id(descriptor: int) -> str:
    """Of the mount that an open file is on (proc(5), fdinfo)."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next((line.split()[1] for line in lines if line.startswith("mnt_id:")), "")


def _empty(folder: int, top: int, mount: str, shown: str, depth: int) -> bool:
    """Removes what is in an open directory; whether there was anything. Directories that lie deeper than this may go
    are moved to the top, whose turn comes again."""
    if mount_id(folder) != mount:
        raise VolumeError(f"{shown} is still mounted")
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
        elif depth >= _DEEPEST:
            os.rename(entry.name, f"{entry.inode()}.deep", src_dir_fd=folder, dst_dir_fd=top)
        else:
            below = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                _empty(below, top, mount, f"{shown}/{entry.name}", depth + 1)
            finally:
                os.close(below)
            os.rmdir(entry.name, dir_fd=folder)
    return bool(found)


def _mount(source: str, target: Path, kind: str, flags: int, options: str) -> int:
    """0 or the error's number."""
    words = (os.fsencode(source), os.fsencode(target), kind.encode() or None)
    if _libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None) == 0:
        return 0
    return ctypes.get_errno()


def _check(code: int, what: str) -> None:
    if code:
        raise VolumeError(f"{what} failed: {os.strerror(code)}")


def _real(path: Path) -> str:
    """The path as the mount table has it. Its last part is taken as it is: it may be mounted and not answer."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def _within(path: str, above: str) -> bool:
    return above == "/" or path == above or path.startswith(above + "/")


def _unescape(field: str) -> str:
    """The kernel writes blanks and backslashes as octal."""
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escaped, plain)
    return field
