"""Where people and log collectors look for containers' logs: ``/var/log/pods`` and ``/var/log/containers``.

``<namespace>_<name>_<uid>/<container>/<attempt>.log`` is the log, ``<name>_<namespace>_<container>-<id>.log`` a link to
it. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Set
from pathlib import Path

from kubelet.cri import RuntimeContainer

MAX_NAME = 255
"""Bytes of a file's name."""


class LogPaths:
    def __init__(self, pod_log_dir: str, container_log_dir: str) -> None:
        self._pods = Path(pod_log_dir)
        self._containers = Path(container_log_dir)

    def path(self, container: RuntimeContainer) -> Path:
        folder = f"{container.namespace}_{container.pod_name}_{container.pod_uid}"
        return self._pods / folder / container.name / f"{container.attempt}.log"

    def prepare(self, container: RuntimeContainer) -> Path:
        """Makes the log's folder and the link to it. Raises OSError."""
        path = self.path(container)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._containers.mkdir(mode=0o755, parents=True, exist_ok=True)
        _point(self._containers / collector_name(container), str(path))
        return path

    def unlink(self, container: RuntimeContainer) -> None:
        """Of a container that is removed: the link; the log is its copy's to remove."""
        with contextlib.suppress(OSError):
            (self._containers / collector_name(container)).unlink()

    def remove(self, pod_uid: str) -> None:
        """All of a pod's."""
        for folder in self._folders():
            if _uid_of(folder) == pod_uid:
                shutil.rmtree(self._pods / folder, ignore_errors=True)
        self._remove_dangling()

    def sweep(self, known: Set[str]) -> None:
        """Removes what is left of pods that are not ``known``: the kubelet was away when they went."""
        for folder in self._folders():
            if _uid_of(folder) not in known:
                shutil.rmtree(self._pods / folder, ignore_errors=True)
        self._remove_dangling()

    def _folders(self) -> list[str]:
        """What is called as a pod's folder is."""
        try:
            return [name for name in os.listdir(self._pods) if name.count("_") == 2]
        except OSError:
            return []

    def _remove_dangling(self) -> None:
        """Links to logs of ours that are gone."""
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._containers):
                ours = entry.is_symlink() and os.readlink(entry.path).startswith(f"{self._pods}/")
                if ours and not os.path.lexists(os.readlink(entry.path)):
                    os.unlink(entry.path)


def collector_name(container: RuntimeContainer) -> str:
    name = f"{container.pod_name}_{container.namespace}_{container.name}-{container.id}"
    return f"{name[: MAX_NAME - len('.log')]}.log"


def _uid_of(folder: str) -> str:
    return folder.rpartition("_")[2]


def _point(path: Path, target: str) -> None:
    if path.is_symlink() and os.readlink(path) == target:
        return
    scratch = path.with_name(f".{os.path.basename(target)}.new")
    with contextlib.suppress(FileNotFoundError):
        scratch.unlink()
    scratch.symlink_to(target)
    scratch.replace(path)
