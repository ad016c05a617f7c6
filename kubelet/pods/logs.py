"""Where people and log collectors look for containers' logs: ``/var/log/pods`` and ``/var/log/containers``.

``<namespace>_<name>_<uid>/<container>/<attempt>.log`` leads to the file that the runtime writes, as upstream's Docker
shim had it, and ``<name>_<namespace>_<container>-<id>.log`` to that link. Rotation is the runtime's.
https://kubernetes.io/docs/concepts/cluster-administration/logging/
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Set
from pathlib import Path

from kubelet.types import RuntimeContainer

log = logging.getLogger(__name__)

MAX_NAME = 255
"""Bytes of a file's name."""


class LogLinks:
    """Links are all that is made and removed here. Blocking; what fails is logged and keeps no pod from running."""

    def __init__(self, pod_log_dir: str, container_log_dir: str) -> None:
        self._pods = Path(pod_log_dir)
        self._containers = Path(container_log_dir)

    def link(self, containers: Iterable[RuntimeContainer]) -> None:
        for container in containers:
            self._link(container)

    def _link(self, container: RuntimeContainer) -> None:
        if not container.log_path or container.is_sandbox:
            return
        try:
            path = self._path(container)
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._containers.mkdir(mode=0o755, parents=True, exist_ok=True)
            _point(path, container.log_path)
            _point(self._containers / collector_name(container), str(path))
        except OSError as error:
            log.warning("log of container %s: %s", container.name, error)

    def unlink(self, container: RuntimeContainer) -> None:
        """Of a container that is removed."""
        for path in (self._containers / collector_name(container), self._path(container)):
            with contextlib.suppress(OSError):
                path.unlink()

    def remove(self, pod_uid: str) -> None:
        """All of a pod's. A file that is no link is somebody else's: it stays, and its folder with it."""
        for folder in self._folders():
            if _uid_of(folder) == pod_uid:
                self._remove_folder(self._pods / folder)
        self._remove_dangling()

    def sweep(self, known: Set[str]) -> None:
        """Removes what is left of pods that are not ``known``: the kubelet was away when they went."""
        stale = [folder for folder in self._folders() if _uid_of(folder) not in known]
        for folder in stale:
            self._remove_folder(self._pods / folder)
        self._remove_dangling()

    def _path(self, container: RuntimeContainer) -> Path:
        folder = f"{container.namespace}_{container.pod_name}_{container.pod_uid}"
        return self._pods / folder / container.name / f"{container.attempt}.log"

    def _folders(self) -> list[str]:
        """What is called as a pod's folder is."""
        try:
            return [name for name in os.listdir(self._pods) if name.count("_") == 2]
        except OSError:
            return []

    def _remove_folder(self, folder: Path) -> None:
        for current, folders, files in os.walk(folder, topdown=False):
            for name in (*files, *folders):
                path = Path(current, name)
                with contextlib.suppress(OSError):
                    path.unlink() if path.is_symlink() else path.rmdir()
        with contextlib.suppress(OSError):
            folder.rmdir()

    def _remove_dangling(self) -> None:
        """Links to links of ours that are gone."""
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
    scratch = path.with_name(".new")
    with contextlib.suppress(FileNotFoundError):
        scratch.unlink()
    scratch.symlink_to(target)
    scratch.replace(path)
