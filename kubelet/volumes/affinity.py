"""Whether a persistent volume can be reached from this node: its ``spec.nodeAffinity``.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#node-affinity
"""

from __future__ import annotations

from collections.abc import Mapping

from lightkube.models.core_v1 import NodeSelectorRequirement, NodeSelectorTerm
from lightkube.resources.core_v1 import PersistentVolume


def reachable(volume: PersistentVolume, node: str, labels: Mapping[str, str]) -> bool:
    """A volume that says nothing is reached from everywhere."""
    affinity = volume.spec.nodeAffinity if volume.spec else None
    if affinity is None or affinity.required is None:
        return True
    return any(_term(term, node, labels) for term in affinity.required.nodeSelectorTerms or ())


def _term(term: NodeSelectorTerm, node: str, labels: Mapping[str, str]) -> bool:
    """All requirements of a term must hold; an empty term matches nothing."""
    if not term.matchExpressions and not term.matchFields:
        return False
    expressions = all(_holds(each, labels.get(each.key)) for each in term.matchExpressions or ())
    fields = {"metadata.name": node}
    return expressions and all(_holds(each, fields.get(each.key)) for each in term.matchFields or ())


def _holds(requirement: NodeSelectorRequirement, value: str | None) -> bool:
    values = requirement.values or []
    match requirement.operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and _number(value) > _number(values[0])
        case "Lt":
            return value is not None and _number(value) < _number(values[0])
    return False


def _number(text: str) -> float:
    """What is no number compares as neither more nor less."""
    try:
        return int(text)
    except ValueError:
        return float("nan")
