"""configMap: https://kubernetes.io/docs/concepts/storage/volumes/#configmap."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from lightkube.models.core_v1 import KeyToPath
from lightkube.resources.core_v1 import ConfigMap, Pod

from common.api.meta import meta_of
from common.api.status import NotFound
from kubelet.types import ObjectSource
from kubelet.volumes.payload import Payload, select_keys


def contents(config_map: ConfigMap) -> Mapping[str, bytes]:
    text = {key: value.encode() for key, value in (config_map.data or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (config_map.binaryData or {}).items()}


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
        config_map = await objects.config_map(meta_of(pod).namespace or "default", name)
    except NotFound:
        if not optional:
            raise
        return {}
    return select_keys(
        contents(config_map),
        items,
        default_mode,
        optional=optional,
        missing="configmap references non-existent config key",
    )
