"""What the handlers work with, made once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from apiserver.authn import RequestAuthenticator, TokenIssuer, build_issuer
from apiserver.authn.settings import AuthnSettings
from apiserver.authz import ServerAuthorizer
from apiserver.endpoints.api import Api
from apiserver.endpoints.request import Answer, Request, Send
from apiserver.subresources.kubelet import KubeletClient, KubeletSettings
from apiserver.types import Connection, ObjectStore


class Settings(AuthnSettings, KubeletSettings, Protocol):
    """Flags that the handlers depend on."""


@dataclass(frozen=True)
class Context:
    api: Api
    authenticator: RequestAuthenticator
    authorizer: ServerAuthorizer
    kubelet: KubeletClient
    issuer: TokenIssuer | None

    def store(self, group: str, plural: str) -> ObjectStore:
        return self.api.stores.store(group, plural)


Handler = Callable[[Context, Connection, Request, Send], Awaitable[Answer | None]]
"""Answers a request: with an Answer, or by itself (streams) with None."""


def build_context(
    settings: Settings, api: Api, *, authenticator: RequestAuthenticator, authorizer: ServerAuthorizer
) -> Context:
    """Raises OSError or ValueError for a signing key that cannot be used."""
    return Context(api, authenticator, authorizer, KubeletClient(settings, api.stores), build_issuer(settings))
