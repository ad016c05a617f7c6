"""Service-account tokens for projected volumes: asked of the API server, bound to the pod, renewed before they expire.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens. A token is
renewed when 80 % of its life is over or after 24 hours; when the API server is away the old one is used until it ends.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from lightkube.resources.core_v1 import Pod, ServiceAccount

from common.api.meta import meta_of
from common.api.time import parse_rfc3339

log = logging.getLogger("kubelet.volumes")

DEFAULT_EXPIRATION = 3600
_MAX_AGE = 24 * 3600
_JITTER = 10


class TokenClient(Protocol):
    """The part of common.client.Client that is used here."""

    async def post_subresource(
        self,
        kind: type[ServiceAccount],
        name: str,
        subresource: str,
        body: dict[str, Any],
        namespace: str | None = None,
    ) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Token:
    value: str
    expires: float
    lifetime: float

    def __repr__(self) -> str:
        return f"Token(expires={self.expires})"


def needs_refresh(token: Token, now: float, jitter: float) -> bool:
    """Whether 80 % of the token's life, or a day of it, is over."""
    issued = token.expires - token.lifetime
    return now > issued + min(token.lifetime * 0.8, _MAX_AGE) - jitter


class TokenManager:
    """One token for each pod, audience and lifetime."""

    def __init__(self, client: TokenClient) -> None:
        self._client = client
        self._tokens: dict[tuple[str, str, int], Token] = {}

    async def token(self, pod: Pod, audience: str, expiration: int) -> str:
        key = (meta_of(pod).uid or "", audience, expiration)
        held = self._tokens.get(key)
        now = time.time()
        if held is not None and not needs_refresh(held, now, random.uniform(0, _JITTER)):
            return held.value
        try:
            fresh = await self._request(pod, audience, expiration)
        except Exception as error:
            if held is None or now >= held.expires:
                raise
            log.warning("token of pod %s could not be renewed, the old one stays: %s", meta_of(pod).name, error)
            return held.value
        self._tokens[key] = fresh
        return fresh.value

    def forget(self, pod_uid: str) -> None:
        for key in [key for key in self._tokens if key[0] == pod_uid]:
            del self._tokens[key]

    async def _request(self, pod: Pod, audience: str, expiration: int) -> Token:
        meta = meta_of(pod)
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": expiration,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid},
            },
        }
        account = (pod.spec.serviceAccountName if pod.spec else None) or "default"
        answer = await self._client.post_subresource(ServiceAccount, account, "token", body, namespace=meta.namespace)
        status = answer["status"]
        expires = _seconds(status["expirationTimestamp"])
        lifetime = answer.get("spec", {}).get("expirationSeconds") or expiration
        return Token(status["token"], expires, float(lifetime))


def _seconds(value: str | datetime) -> float:
    moment = parse_rfc3339(value) if isinstance(value, str) else value
    return moment.astimezone(UTC).timestamp()
