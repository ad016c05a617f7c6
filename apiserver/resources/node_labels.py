"""Labels of nodes that have newer names (upstream: pkg/api/node/util.go)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_DEPRECATED = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}


def deprecated_label(key: str) -> str:
    """What to say of a label; "" of one that is in order."""
    return _DEPRECATED.get(key, "")


def node_term_warnings(term: dict[str, Any], path: str) -> Iterator[str]:
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        key = expression.get("key", "")
        if text := deprecated_label(key):
            yield f"{path}.matchExpressions[{i}].key: {key} is {text}"
