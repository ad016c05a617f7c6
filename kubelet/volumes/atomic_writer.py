"""Writes a set of files into a directory so that a reader sees all of the old ones or all of the new ones.

The layout is the one that programs in containers know from upstream
(https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically): the files
are in a hidden directory named after the time, ``..data`` is a symbolic link to it that is replaced by a rename, and
each visible name is a link through ``..data``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kubelet.volumes.payload import FileProjection, Payload, check_path

DATA_LINK = "..data"
_NEW_DATA_LINK = "..data_tmp"


def write_payload(target: Path, payload: Payload, set_ownership: Callable[[Path], None] | None = None) -> bool:
    """Makes ``target`` hold exactly the payload. False when it did already.

    ``set_ownership`` is called with the new directory before anybody can see it.
    """
    files = {check_path(path): file for path, file in payload.items()}
    current = _current_dir(target)
    if current is not None and _holds(current, files):
        _link_names(target, files)
        _remove_stale(target, files, current.name)
        return False
    scratch = Path(tempfile.mkdtemp(prefix=time.strftime("..%Y_%m_%d_%H_%M_%S."), dir=target))
    try:
        scratch.chmod(0o755)
        _write_files(scratch, files)
        if set_ownership is not None:
            set_ownership(scratch)
        new_link = target / _NEW_DATA_LINK
        new_link.unlink(missing_ok=True)
        new_link.symlink_to(scratch.name)
        new_link.replace(target / DATA_LINK)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    _link_names(target, files)
    _remove_stale(target, files, scratch.name)
    return True


def _current_dir(target: Path) -> Path | None:
    try:
        return target / os.readlink(target / DATA_LINK)
    except OSError:
        return None


def _holds(directory: Path, files: Payload) -> bool:
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}
    if found != set(files):
        return False
    return all((directory / path).read_bytes() == file.data for path, file in files.items())


def _write_files(directory: Path, files: Payload) -> None:
    for path, file in files.items():
        _write_file(directory / path, file)


def _write_file(path: Path, file: FileProjection) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(file.data)
        os.fchmod(stream.fileno(), file.mode)
        if file.user is not None:
            os.fchown(stream.fileno(), file.user, -1)


def _link_names(target: Path, files: Payload) -> None:
    for name in {path.split("/", 1)[0] for path in files}:
        if not (target / name).is_symlink():
            (target / name).symlink_to(Path(DATA_LINK, name))


def _remove_stale(target: Path, files: Payload, keep: str) -> None:
    """Links to files that are gone, and every older hidden directory (also one that a crash left)."""
    names = {path.split("/", 1)[0] for path in files}
    for entry in os.scandir(target):
        if entry.is_symlink():
            if entry.name != DATA_LINK and entry.name not in names:
                os.unlink(entry.path)
        elif entry.name.startswith("..") and entry.name != keep:
            shutil.rmtree(entry.path, ignore_errors=True)
