"""secret: https://kubernetes.io/docs/concepts/storage/volumes/#secret. Held in memory (tmpfs) only, never on a disk."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from lightkube.models.core_v1 import KeyToPath
from lightkube.resources.core_v1 import Pod, Secret

from common.api.meta import meta_of
from common.api.status import NotFound
from kubelet.types import ObjectSource
from kubelet.volumes.payload import Payload, select_keys


def contents(secret: Secret) -> Mapping[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (secret.data or {}).items()}


async def payload(
    objects: ObjectSource,
    pod: Pod,
    name: str,
    items: Iterable[KeyToPath] | None,
    default_mode: int,
    *,
    optional: bool,
) -> Payload:
    try:
        secret = await objects.secret(meta_of(pod).namespace or "default", name)
    except NotFound:
        if not optional:
            raise
        return {}
    return select_keys(
        contents(secret),
        items,
        default_mode,
        optional=optional,
        missing="references non-existent secret key",
    )
