"""Which labels a node may give itself (KEP-279).

Labels of Kubernetes' own steer workloads: a node that could set any of them would choose its pods. So the kubelet
refuses to start with others (``--node-labels``), and the API server refuses a node that sets them (NodeRestriction).
https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from collections.abc import Iterable

KUBERNETES = ("kubernetes.io", "k8s.io")
"""Kubernetes' own: these domains and all below them, ``node-restriction.kubernetes.io`` among them."""
OPEN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
OPEN = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    }
)
"""What a kubelet may say of its node, of the labels of Kubernetes' own."""


def may_label(key: str) -> bool:
    """Whether a node may give itself this label, take it away or change it."""
    domain, slash, _ = key.partition("/")
    if not slash or not _within(domain, KUBERNETES):
        return True
    return key in OPEN or _within(domain, OPEN_DOMAINS)


def forbidden(keys: Iterable[str]) -> list[str]:
    """Those of the labels that a node may not touch, in order."""
    return sorted(key for key in keys if not may_label(key))


def _within(domain: str, parents: tuple[str, ...]) -> bool:
    return any(domain == parent or domain.endswith(f".{parent}") for parent in parents)
