"""What the files of a volume are whose content the API server holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from lightkube.models.core_v1 import Volume
from lightkube.resources.core_v1 import Pod

from kubelet.types import ObjectSource
from kubelet.volumes import config_map, downward_api, projected, secret
from kubelet.volumes.payload import DEFAULT_MODE, Payload
from kubelet.volumes.token import TokenManager


class Content:
    def __init__(self, objects: ObjectSource, tokens: TokenManager, allocatable: Mapping[str, int]) -> None:
        self._objects = objects
        self._tokens = tokens
        self._allocatable = allocatable

    async def payload(self, pod: Pod, volume: Volume) -> Payload:
        """Raises VolumeError, StatusError."""
        if volume.configMap is not None:
            mapped, mode = volume.configMap, _mode(volume.configMap.defaultMode)
            optional = bool(mapped.optional)
            return await config_map.payload(
                self._objects, pod, mapped.name or "", mapped.items, mode, optional=optional
            )
        if volume.secret is not None:
            hidden, mode = volume.secret, _mode(volume.secret.defaultMode)
            optional = bool(hidden.optional)
            return await secret.payload(
                self._objects, pod, hidden.secretName or "", hidden.items, mode, optional=optional
            )
        if volume.downwardAPI is not None:
            mode = _mode(volume.downwardAPI.defaultMode)
            return downward_api.payload(pod, volume.downwardAPI.items, mode, self._allocatable)
        assert volume.projected is not None
        return await projected.payload(self._objects, self._tokens, pod, volume.projected, self._allocatable)


def fingerprint(payload: Payload) -> bytes:
    """Tells whether the content changed, and nothing of what it is."""
    digest = hashlib.blake2b(digest_size=16)
    for path, file in sorted(payload.items()):
        digest.update(f"{path}\0{file.mode}\0{file.user}\0{len(file.data)}\0".encode())
        digest.update(file.data)
    return digest.digest()


def _mode(mode: int | None) -> int:
    return DEFAULT_MODE if mode is None else mode
