"""The roles, bindings, namespaces and priority classes as objects, and what a stored one lacks of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from apiserver.authz.policy.component_roles import COMPONENT_ROLES, CONTROLLERS, NAMESPACED_ROLES
from apiserver.authz.policy.rules import RBAC
from apiserver.authz.policy.user_roles import AGGREGATION, EXTRA_LABELS, USER_ROLES
from apiserver.authz.rules import covers
from apiserver.types import Object

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
API_VERSION = f"{RBAC}/v1"
MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"


def user(name: str) -> Object:
    return {"apiGroup": RBAC, "kind": "User", "name": name}


def group(name: str) -> Object:
    return {"apiGroup": RBAC, "kind": "Group", "name": name}


def account(name: str) -> Object:
    return {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}


CLUSTER_BINDINGS: dict[str, list[Object]] = {
    "cluster-admin": [group("system:masters")],
    "system:monitoring": [group("system:monitoring")],
    "system:discovery": [group("system:authenticated")],
    "system:basic-user": [group("system:authenticated")],
    "system:public-info-viewer": [group("system:authenticated"), group("system:unauthenticated")],
    "system:node-proxier": [user("system:kube-proxy")],
    "system:kube-controller-manager": [user(MANAGER)],
    "system:kube-dns": [account("kube-dns")],
    "system:kube-scheduler": [user(SCHEDULER)],
    "system:volume-scheduler": [user(SCHEDULER)],
    "system:node": [],
    "system:service-account-issuer-discovery": [group("system:serviceaccounts")],
}
"""Subjects by the name that binding and role share. Nodes are the node authorizer's: their role is bound to nobody."""

ROLE_BINDINGS: dict[tuple[str, str, str], list[Object]] = {
    ("kube-system", "system::extension-apiserver-authentication-reader", "extension-apiserver-authentication-reader"): [
        user(MANAGER),
        user(SCHEDULER),
    ],
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
    ): [user(MANAGER), account("kube-controller-manager")],
    ("kube-system", "system::leader-locking-kube-scheduler", "system::leader-locking-kube-scheduler"): [
        user(SCHEDULER),
        account("kube-scheduler"),
    ],
    ("kube-public", "system:controller:bootstrap-signer", "system:controller:bootstrap-signer"): [
        account("bootstrap-signer")
    ],
    ("kube-system", "system:controller:bootstrap-signer", "system:controller:bootstrap-signer"): [
        account("bootstrap-signer")
    ],
    ("kube-system", "system:controller:token-cleaner", "system:controller:token-cleaner"): [account("token-cleaner")],
}
"""Subjects by namespace, binding and role."""


def _object(kind: str, name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Object:
    metadata: Object = {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **(labels or {})},
        "annotations": {AUTOUPDATE: "true"},
    }
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata}


def cluster_roles() -> Iterator[Object]:
    for name, rules in {**USER_ROLES, **COMPONENT_ROLES}.items():
        role = _object("ClusterRole", name, labels=EXTRA_LABELS.get(name))
        role["rules"] = copy.deepcopy(rules)
        if name in AGGREGATION:
            selectors = [{"matchLabels": {label: "true"}} for label in AGGREGATION[name]]
            role["aggregationRule"] = {"clusterRoleSelectors": selectors}
        yield role
    for name, rules in CONTROLLERS.items():
        yield {**_object("ClusterRole", f"system:controller:{name}"), "rules": copy.deepcopy(rules)}


def cluster_role_bindings() -> Iterator[Object]:
    for name, subjects in CLUSTER_BINDINGS.items():
        yield _binding(_object("ClusterRoleBinding", name), "ClusterRole", name, subjects)
    for name in CONTROLLERS:
        role = f"system:controller:{name}"
        yield _binding(_object("ClusterRoleBinding", role), "ClusterRole", role, [account(name), user(MANAGER)])


def roles() -> Iterator[Object]:
    for (namespace, name), rules in NAMESPACED_ROLES.items():
        yield {**_object("Role", name, namespace), "rules": copy.deepcopy(rules)}


def role_bindings() -> Iterator[Object]:
    for (namespace, name, role), subjects in ROLE_BINDINGS.items():
        yield _binding(_object("RoleBinding", name, namespace), "Role", role, subjects)


def _binding(binding: Object, kind: str, role: str, subjects: list[Object]) -> Object:
    binding["roleRef"] = {"apiGroup": RBAC, "kind": kind, "name": role}
    if subjects:
        binding["subjects"] = copy.deepcopy(subjects)
    return binding


def priority_classes() -> Iterator[Object]:
    for name, value, description in (
        (
            "system-node-critical",
            2000001000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2000000000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if "
            "necessary.",
        ),
    ):
        yield {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name, "generation": 1},
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        }


def namespace(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def completed(stored: Object, wanted: Object) -> Object | None:
    """The stored role or binding with what it lacks, or None when it lacks nothing or is not to be touched.

    What somebody added stays, as upstream: the automatic update only ever adds.
    """
    metadata = stored["metadata"]
    if (metadata.get("annotations") or {}).get(AUTOUPDATE) == "false":
        return None
    result = copy.deepcopy(stored)
    labels = result["metadata"].setdefault("labels", {})
    for key, value in wanted["metadata"]["labels"].items():
        labels.setdefault(key, value)
    if "rules" in wanted:
        result["rules"] = [*(stored.get("rules") or ()), *covers(stored.get("rules") or (), wanted["rules"])]
        if "aggregationRule" in wanted:
            result.setdefault("aggregationRule", wanted["aggregationRule"])
    if wanted.get("subjects"):
        present = stored.get("subjects") or []
        result["subjects"] = [*present, *(s for s in wanted["subjects"] if s not in present)]
    return None if result == stored else result
