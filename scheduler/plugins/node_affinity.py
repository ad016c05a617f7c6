"""NodeAffinity: nodeSelector and node affinity, required (Filter) and preferred (Score).

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from lightkube.models.core_v1 import NodeSelectorRequirement, NodeSelectorTerm
from numpy.typing import NDArray

from scheduler.framework import ClusterEvent, Mask, Rejection, Scores, default_normalize
from scheduler.nodes import NodeTable
from scheduler.podinfo import PodInfo


class NodeAffinity:
    name = "NodeAffinity"
    events = frozenset((ClusterEvent.NODE_ADD, ClusterEvent.NODE_LABEL))

    def pre_filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[str] | None:
        """A pod bound to nodes by name in each term (a DaemonSet's) needs no look at the others."""
        terms = required_terms(pod)
        names: set[str] = set()
        for term in terms:
            fields = [r for r in term.matchFields or () if r.key == "metadata.name" and r.operator == "In"]
            if not fields:
                return None
            names |= set.intersection(*(set(r.values or ()) for r in fields))
        return names if terms else None

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[Rejection]:
        matched = self.matches(pod, nodes)
        if matched is not None:
            reason = "node(s) didn't match Pod's node affinity/selector"
            yield Rejection(nodes.valid & ~matched, reason, unresolvable=True)

    def matches(self, pod: PodInfo, nodes: NodeTable) -> Mask | None:
        """The rows that nodeSelector and required affinity accept; None when the pod has neither."""
        matched: Mask | None = None
        if pod.spec.nodeSelector:
            matched = np.ones(nodes.capacity, dtype=bool)
            for key, value in pod.spec.nodeSelector.items():
                matched &= nodes.label(key).where(lambda found, value=value: found == value)  # type: ignore[misc]
        affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity else None
        if affinity is not None and affinity.requiredDuringSchedulingIgnoredDuringExecution is not None:
            chosen = any_term(affinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms, nodes)
            matched = chosen if matched is None else matched & chosen
        return matched

    def score(self, pod: PodInfo, nodes: NodeTable, feasible: NDArray[np.intp]) -> Scores | None:
        """The sum of the weights of the preferred terms that a node matches."""
        affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity else None
        preferred = affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity else None
        if not preferred:
            return None
        total = np.zeros(len(feasible), dtype=np.int64)
        for term in preferred:
            if term.weight:
                total += term.weight * any_term([term.preference], nodes)[feasible]
        return default_normalize(total)


def required_terms(pod: PodInfo) -> Sequence[NodeSelectorTerm]:
    affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    return required.nodeSelectorTerms if required else ()


def any_term(terms: Iterable[NodeSelectorTerm], nodes: NodeTable) -> Mask:
    """Terms are alternatives; within a term all requirements must hold. An empty term matches nothing."""
    matched = np.zeros(nodes.capacity, dtype=bool)
    for term in terms:
        if not term.matchExpressions and not term.matchFields:
            continue
        rows = nodes.valid.copy()
        for requirement in term.matchExpressions or ():
            rows &= nodes.label(requirement.key).where(accepts(requirement))
        for requirement in term.matchFields or ():
            test = accepts(requirement)
            rows &= np.fromiter((test(name) for name in nodes.names), dtype=bool, count=nodes.capacity)
        matched |= rows
    return matched


def accepts(requirement: NodeSelectorRequirement) -> Callable[[str | None], bool]:
    """What a requirement says about a label's value (None: the label is absent)."""
    values = requirement.values or []
    match requirement.operator:
        case "In":
            return lambda value: value is not None and value in values
        case "NotIn":
            return lambda value: value is None or value not in values
        case "Exists":
            return lambda value: value is not None
        case "DoesNotExist":
            return lambda value: value is None
        case "Gt" | "Lt":
            return lambda value: _compares(value, requirement.operator, values)
    return lambda _: False


def _compares(value: str | None, operator: str, values: Sequence[str]) -> bool:
    if value is None or len(values) != 1:
        return False
    try:
        left, right = int(value), int(values[0])
    except ValueError:
        return False
    return left > right if operator == "Gt" else left < right
