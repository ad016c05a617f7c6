"""What authentication needs to know of the server's flags (upstream's names)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

PathLike = str | os.PathLike[str]


class AuthnSettings(Protocol):
    @property
    def token_auth_file(self) -> PathLike | None: ...
    @property
    def enable_bootstrap_token_auth(self) -> bool: ...
    @property
    def service_account_issuer(self) -> str: ...
    @property
    def api_audiences(self) -> Sequence[str]: ...
    @property
    def service_account_key_file(self) -> PathLike | Sequence[PathLike] | None: ...
    @property
    def service_account_signing_key_file(self) -> PathLike | None: ...
    @property
    def client_ca_file(self) -> str | None: ...
    @property
    def requestheader_client_ca_file(self) -> str | None: ...
    @property
    def requestheader_allowed_names(self) -> Sequence[str]: ...
    @property
    def requestheader_username_headers(self) -> Sequence[str]: ...
    @property
    def requestheader_group_headers(self) -> Sequence[str]: ...
    @property
    def requestheader_extra_headers_prefix(self) -> Sequence[str]: ...


def as_paths(value: PathLike | Sequence[PathLike] | None) -> list[str]:
    """A flag that may be given once or several times, as a list."""
    if not value:
        return []
    if isinstance(value, str | os.PathLike):
        return [os.fspath(value)]
    return [os.fspath(path) for path in value]


def audiences(settings: AuthnSettings) -> tuple[str, ...]:
    """``--api-audiences``, or the issuer alone when it is not given: upstream's default."""
    return tuple(settings.api_audiences) or (settings.service_account_issuer,)
