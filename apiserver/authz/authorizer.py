"""The authorizers in upstream's order: system:masters, paths open to all, nodes, RBAC. The first that allows wins."""

from __future__ import annotations

from typing import Protocol

from apiserver.authz.messages import forbidden_message
from apiserver.authz.node import NodeAuthorizer
from apiserver.authz.rbac import RBAC
from apiserver.authz.rules import Rule
from apiserver.types import Attributes, Registry, User

SUPERUSERS = "system:masters"
ALWAYS_ALLOWED = ("/healthz", "/livez", "/readyz")
"""Upstream's --authorization-always-allow-paths: health must be answered before any role can be read."""


class AuthorizationModule(Protocol):
    def allows(self, attributes: Attributes) -> str | None:
        """The reason it is allowed, or None for no opinion."""

    def denial(self, attributes: Attributes) -> str:
        """What to add to the refusal of what nobody allowed; "" for nothing."""


class ServerAuthorizer:
    """The Authorizer of the server."""

    def __init__(self, rbac: RBAC, modules: tuple[AuthorizationModule, ...] = ()) -> None:
        self.rbac = rbac
        self._modules = modules

    def authorize(self, attributes: Attributes) -> tuple[bool, str]:
        """Allowed, with the reason; or not, with the text that follows ``… is forbidden: ``."""
        allowed, reason = self.decide(attributes)
        return (True, reason) if allowed else (False, forbidden_message(attributes, reason))

    def decide(self, attributes: Attributes) -> tuple[bool, str]:
        """As :meth:`authorize`, with the bare reason ("" for none): what a SubjectAccessReview answers."""
        if SUPERUSERS in attributes.user.groups:
            return True, ""
        if not attributes.is_resource and _always_allowed(attributes.path):
            return True, ""
        for module in self._modules:
            if (reason := module.allows(attributes)) is not None:
                return True, reason
        if (reason := self.rbac.allows(attributes)) is not None:
            return True, reason
        return False, "; ".join(d for m in self._modules if (d := m.denial(attributes)))

    def rules_for(self, user: User, namespace: str) -> list[Rule]:
        """For SelfSubjectRulesReview and the escalation checks."""
        rules = self.rbac.rules_for(user, namespace)
        if SUPERUSERS in user.groups:
            rules = [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
                *rules,
            ]
        return rules


def _always_allowed(path: str) -> bool:
    return any(path == allowed or path.startswith(allowed + "/") for allowed in ALWAYS_ALLOWED)


def build(registry: Registry) -> ServerAuthorizer:
    """The authorizer over the cached roles, bindings, nodes and pods."""
    return ServerAuthorizer(RBAC(registry), (NodeAuthorizer(registry),))
