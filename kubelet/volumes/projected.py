"""projected: several sources in one directory: https://kubernetes.io/docs/concepts/storage/projected-volumes/."""

from __future__ import annotations

from collections.abc import Mapping

from lightkube.models.core_v1 import ProjectedVolumeSource, ServiceAccountTokenProjection, VolumeProjection
from lightkube.resources.core_v1 import Pod

from common.api.status import BadRequest, Forbidden, Invalid, NotFound
from kubelet.types import ObjectSource, VolumeError
from kubelet.volumes import config_map, downward_api, secret
from kubelet.volumes.payload import DEFAULT_MODE, FileProjection, Payload, check_path, fs_group, fs_user
from kubelet.volumes.token import DEFAULT_EXPIRATION, TokenManager


async def payload(
    objects: ObjectSource,
    tokens: TokenManager,
    pod: Pod,
    volume: ProjectedVolumeSource,
    allocatable: Mapping[str, int],
) -> Payload:
    mode = DEFAULT_MODE if volume.defaultMode is None else volume.defaultMode
    files: dict[str, FileProjection] = {}
    problems: list[Exception] = []
    for source in volume.sources or []:
        try:
            files.update(await _source(objects, tokens, pod, source, mode, allocatable))
        except (VolumeError, NotFound, Forbidden) as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise VolumeError(f"[{', '.join(str(problem) for problem in problems)}]")
    return files


async def _source(
    objects: ObjectSource,
    tokens: TokenManager,
    pod: Pod,
    source: VolumeProjection,
    mode: int,
    allocatable: Mapping[str, int],
) -> Payload:
    if source.configMap is not None:
        chosen = source.configMap
        optional = bool(chosen.optional)
        return await config_map.payload(objects, pod, chosen.name or "", chosen.items, mode, optional=optional)
    if source.secret is not None:
        hidden = source.secret
        optional = bool(hidden.optional)
        return await secret.payload(objects, pod, hidden.name or "", hidden.items, mode, optional=optional)
    if source.downwardAPI is not None:
        return downward_api.payload(pod, source.downwardAPI.items, mode, allocatable)
    if source.serviceAccountToken is not None:
        return await _token(tokens, pod, source.serviceAccountToken, mode)
    if source.clusterTrustBundle is not None:
        raise VolumeError("ClusterTrustBundle projection is not supported in static kubelet mode")
    raise VolumeError("a source of a projected volume must name one of its types")


async def _token(tokens: TokenManager, pod: Pod, source: ServiceAccountTokenProjection, mode: int) -> Payload:
    """Mode 0600 when the pod has a user or group of its own to own the file, as upstream does."""
    user = fs_user(pod)
    if user is not None or fs_group(pod) is not None:
        mode = 0o600
    try:
        value = await tokens.token(pod, source.audience or "", source.expirationSeconds or DEFAULT_EXPIRATION)
    except (NotFound, Forbidden, BadRequest, Invalid) as error:
        raise VolumeError(f"failed to fetch token: {error}") from error
    return {check_path(source.path): FileProjection(value.encode(), mode, user)}
