"""The rbac.authorization.k8s.io group."""

from __future__ import annotations

from apiserver.resources.columns import NAME_AGE
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
        "clusterrolebinding",
        False,
        KindStrategy(),
        NAME_AGE,
    ),
    Resource(
        "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", "clusterrole", False, KindStrategy(), NAME_AGE
    ),
    Resource(
        "rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", "rolebinding", True, KindStrategy(), NAME_AGE
    ),
    Resource("rbac.authorization.k8s.io", "v1", "roles", "Role", "role", True, KindStrategy(), NAME_AGE),
)
