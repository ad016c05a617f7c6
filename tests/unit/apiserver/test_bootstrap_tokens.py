"""Bootstrap tokens: whom a Secret stands for, and when it is no credential."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from apiserver.authn.bootstrap_tokens import user_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = {
    "token-id": "abcdef",
    "token-secret": "0123456789abcdef",
    "usage-bootstrap-authentication": "true",
    "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
    "expiration": "2026-01-02T00:00:00Z",
}


def secret(**changed: Any) -> dict[str, Any]:
    data = {**GOOD, **{name.replace("_", "-"): value for name, value in changed.items()}}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in data.items() if value is not None}
    return {"type": "bootstrap.kubernetes.io/token", "metadata": {}, "data": encoded}


def test_a_token_stands_for_a_bootstrapper() -> None:
    user = user_of(secret(), "abcdef", "0123456789abcdef", NOW)
    assert user is not None and user.name == "system:bootstrap:abcdef"
    assert user.groups == ("system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token")
    assert user_of(secret(expiration=None, auth_extra_groups=None), "abcdef", "0123456789abcdef", NOW)


@pytest.mark.parametrize(
    "stored",
    [
        secret(token_secret="fedcba9876543210"),
        secret(token_id="fedcba"),
        secret(usage_bootstrap_authentication="false"),
        secret(usage_bootstrap_authentication=None),
        secret(expiration="2025-12-31T00:00:00Z"),
        secret(expiration="soon"),
        secret(auth_extra_groups="system:masters"),
        {**secret(), "type": "Opaque"},
        {**secret(), "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
)
def test_what_is_no_token(stored: dict[str, Any]) -> None:
    assert user_of(stored, "abcdef", "0123456789abcdef", NOW) is None
