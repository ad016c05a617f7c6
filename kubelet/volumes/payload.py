"""What a volume made of API objects consists of, and the parts its types share."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lightkube.models.core_v1 import KeyToPath
from lightkube.resources.core_v1 import Pod

from kubelet.types import VolumeError

DEFAULT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class FileProjection:
    """One file. ``user`` owns it when set, else root."""

    data: bytes
    mode: int
    user: int | None = None


Payload = Mapping[str, FileProjection]


def select_keys(
    values: Mapping[str, bytes], items: Iterable[KeyToPath] | None, default_mode: int, *, optional: bool, missing: str
) -> Payload:
    """All keys as files of the same name, or the chosen ``items`` under their paths and modes.

    ``missing`` is the text before the name of a key that is not there, upstream's for the kind.
    """
    if not items:
        return {key: FileProjection(data, default_mode) for key, data in values.items()}
    chosen = {}
    for item in items:
        if item.key not in values:
            if optional:
                continue
            raise VolumeError(f"{missing}: {item.key}")
        mode = default_mode if item.mode is None else item.mode
        chosen[check_path(item.path)] = FileProjection(values[item.key], mode)
    return chosen


def check_path(path: str) -> str:
    """A path that stays inside the volume, normalised (upstream: validatePath of the atomic writer)."""
    if not path:
        raise VolumeError("invalid path: must not be empty")
    if path.startswith("/"):
        raise VolumeError(f"invalid path: must be relative path: {path}")
    parts = path.split("/")
    if ".." in parts:
        raise VolumeError(f"invalid path: must not contain '..': {path}")
    if parts[0].startswith(".."):
        raise VolumeError(f"invalid path: must not start with '..': {path}")
    return posixpath.normpath(path)


def fs_group(pod: Pod) -> int | None:
    context = pod.spec.securityContext if pod.spec else None
    return context.fsGroup if context else None


def fs_user(pod: Pod) -> int | None:
    """The user all containers of the pod run as, if it is one and the same (upstream: GetFsUser)."""
    spec = pod.spec
    if spec is None:
        return None
    default = spec.securityContext.runAsUser if spec.securityContext else None
    users = {
        container.securityContext.runAsUser
        if container.securityContext and container.securityContext.runAsUser is not None
        else default
        for container in [*(spec.initContainers or []), *spec.containers]
    }
    return users.pop() if len(users) == 1 else None
