"""What a pod's files take of the node: its volumes, and its containers' writable layers and logs.

This is what eviction compares with an emptyDir's ``sizeLimit`` and with limits of ``ephemeral-storage``, and what
/stats/summary shows. A directory is walked once, by what its files occupy (as ``du`` counts: holes are free, a file of
several names counts once), never into another file system and never along a link.
https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#local-ephemeral-storage
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kubelet.types import DiskUsage

_BLOCK = 512
"""st_blocks counts in these, whatever the file system's own block is."""


def tree_usage(root: Path | str) -> DiskUsage:
    """Of a directory or file and all below it; nothing when it is not there. Blocking.

    Files that vanish meanwhile are no error: the containers go on writing.
    """
    try:
        top = os.lstat(root)
    except OSError:
        return DiskUsage()
    total, inodes = top.st_blocks * _BLOCK, 1
    seen: set[int] = set()
    waiting = [os.fspath(root)] if os.path.isdir(root) and not os.path.islink(root) else []
    while waiting:
        for status, folder in _entries(waiting.pop()):
            if status.st_dev != top.st_dev:
                continue
            if status.st_nlink > 1 and not folder:
                if status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
            total += status.st_blocks * _BLOCK
            inodes += 1
            if folder:
                waiting.append(folder)
    return DiskUsage(total, inodes)


def file_system_usage(root: Path | str) -> DiskUsage:
    """Of the whole file system that is mounted there: exact and free of cost for memory. Blocking, but briefly."""
    try:
        found = os.statvfs(root)
    except OSError:
        return DiskUsage()
    return DiskUsage((found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree)


def _entries(folder: str) -> Iterable[tuple[os.stat_result, str]]:
    """Each entry's status, and its path when it is a directory."""
    try:
        with os.scandir(folder) as found:
            for entry in found:
                try:
                    status = entry.stat(follow_symlinks=False)
                    yield status, entry.path if entry.is_dir(follow_symlinks=False) else ""
                except OSError:
                    continue
    except OSError:
        return
