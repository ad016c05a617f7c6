"""Bootstrap tokens: Secrets of type ``bootstrap.kubernetes.io/token`` in kube-system, with which a machine asks for its
first certificate.

https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
from datetime import UTC, datetime

from apiserver.types import Object, Registry, User
from common.api.status import NotFound
from common.api.time import parse_rfc3339

log = logging.getLogger(__name__)

TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE, PREFIX = "kube-system", "bootstrap-token-"
GROUP = "system:bootstrappers"
EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class BootstrapTokens:
    """Looks a token's Secret up for every request: one that is deleted is no good any more."""

    def __init__(self, registry: Registry) -> None:
        self._secrets = registry.store("", "secrets")

    async def user(self, token: str) -> User | None:
        found = TOKEN.fullmatch(token)
        if found is None:
            return None
        token_id, secret = found.groups()
        try:
            stored = await self._secrets.get(NAMESPACE, f"{PREFIX}{token_id}")
        except NotFound:
            return None
        return user_of(stored, token_id, secret, datetime.now(UTC))


def user_of(stored: Object, token_id: str, secret: str, now: datetime) -> User | None:
    """Whom the token stands for, None when it is none (any more)."""
    metadata = stored.get("metadata") or {}
    if metadata.get("deletionTimestamp") or stored.get("type") != TYPE:
        return None
    data = {key: _decoded(value) for key, value in (stored.get("data") or {}).items()}
    if not hmac.compare_digest(data.get("token-secret", "").encode(), secret.encode()):
        return None
    if data.get("token-id") != token_id or data.get("usage-bootstrap-authentication") != "true":
        return None
    if expiration := data.get("expiration"):
        try:
            if now >= parse_rfc3339(expiration):
                return None
        except ValueError:
            log.error("bootstrap token %s has an expiration that is no time", token_id)
            return None
    extra = [group for group in data.get("auth-extra-groups", "").split(",") if group]
    if not all(EXTRA_GROUP.fullmatch(group) for group in extra):
        log.error("bootstrap token %s has groups that it may not have", token_id)
        return None
    return User(f"system:bootstrap:{token_id}", groups=(GROUP, *sorted(set(extra))))


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
