"""The rbac.authorization.k8s.io group."""

from __future__ import annotations

from collections.abc import Callable

from apiserver.resources import group_columns as columns
from apiserver.resources import group_defaults as defaults
from apiserver.resources.checks import Errors
from apiserver.resources.strategy import KindStrategy
from apiserver.resources.validation import rbac as validation
from apiserver.resources.validation.formats import path_segment
from apiserver.types import Object, Resource


def _binding(checks: Callable[[Object], Errors]) -> KindStrategy:
    return KindStrategy(defaults=defaults.default_binding, checks=checks, update_checks=validation.check_binding_update)


def _role(checks: Callable[[Object], Errors]) -> KindStrategy:
    return KindStrategy(defaults=defaults.default_role, checks=checks)


RESOURCES = (
    Resource(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
        "clusterrolebinding",
        False,
        _binding(validation.check_cluster_role_binding),
        columns.ROLE_BINDING,
        name_validation=path_segment,
        create_on_update=True,
    ),
    Resource(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterroles",
        "ClusterRole",
        "clusterrole",
        False,
        _role(validation.check_cluster_role),
        columns.ROLE,
        name_validation=path_segment,
        create_on_update=True,
    ),
    Resource(
        "rbac.authorization.k8s.io",
        "v1",
        "rolebindings",
        "RoleBinding",
        "rolebinding",
        True,
        _binding(validation.check_role_binding),
        columns.ROLE_BINDING,
        name_validation=path_segment,
        create_on_update=True,
    ),
    Resource(
        "rbac.authorization.k8s.io",
        "v1",
        "roles",
        "Role",
        "role",
        True,
        _role(validation.check_role),
        columns.ROLE,
        name_validation=path_segment,
        create_on_update=True,
    ),
)
