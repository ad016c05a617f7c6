"""The rbac.authorization.k8s.io group."""

from __future__ import annotations

from apiserver.resources import group_columns as columns
from apiserver.resources import group_defaults as defaults
from apiserver.resources import group_validation as validation
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource


def _any_name(_name: str) -> list[str]:
    """Names of RBAC objects may have colons; the generic check that a name is a path segment is enough."""
    return []


_BINDING = KindStrategy(
    defaults=defaults.default_binding, checks=validation.check_binding, update_checks=validation.check_binding_update
)
_ROLE = KindStrategy(defaults=defaults.default_role, checks=validation.check_role)

RESOURCES = (
    Resource(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
        "clusterrolebinding",
        False,
        _BINDING,
        columns.ROLE_BINDING,
        name_validation=_any_name,
    ),
    Resource(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterroles",
        "ClusterRole",
        "clusterrole",
        False,
        _ROLE,
        columns.ROLE,
        name_validation=_any_name,
    ),
    Resource(
        "rbac.authorization.k8s.io",
        "v1",
        "rolebindings",
        "RoleBinding",
        "rolebinding",
        True,
        _BINDING,
        columns.ROLE_BINDING,
        name_validation=_any_name,
    ),
    Resource(
        "rbac.authorization.k8s.io", "v1", "roles", "Role", "role", True, _ROLE, columns.ROLE, name_validation=_any_name
    ),
)
