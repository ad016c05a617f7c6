"""Short words for writing RBAC rules down."""

from __future__ import annotations

from typing import Any

Rule = dict[str, Any]

CORE, APPS, BATCH, AUTOSCALING, POLICY = "", "apps", "batch", "autoscaling", "policy"
NETWORKING, DISCOVERY, COORDINATION = "networking.k8s.io", "discovery.k8s.io", "coordination.k8s.io"
CERTIFICATES, STORAGE, EVENTS, NODE = "certificates.k8s.io", "storage.k8s.io", "events.k8s.io", "node.k8s.io"
AUTHENTICATION, AUTHORIZATION, RBAC = "authentication.k8s.io", "authorization.k8s.io", "rbac.authorization.k8s.io"
METRICS, EXTENSIONS, RESOURCE = "metrics.k8s.io", "extensions", "resource.k8s.io"

READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", "patch", "update")
READ_UPDATE = (*READ, "patch", "update")
READ_WRITE = (*READ, *WRITE)


def rule(verbs: tuple[str, ...] | str, groups: tuple[str, ...] | str, resources: str, names: str = "") -> Rule:
    """``resources`` and ``names`` are words apart by blanks; ``verbs`` too, or one of the tuples above."""
    made: Rule = {
        "apiGroups": [groups] if isinstance(groups, str) else list(groups),
        "resources": resources.split(),
        "verbs": verbs.split() if isinstance(verbs, str) else list(verbs),
    }
    if names:
        made["resourceNames"] = names.split()
    return made


def path_rule(verbs: str, paths: str) -> Rule:
    return {"nonResourceURLs": paths.split(), "verbs": verbs.split()}


EVENTS_RULE = rule("create patch update", (CORE, EVENTS), "events")
"""What every process needs that says what it does."""
