"""PodTopologySpread: pods that belong together are spread over nodes, zones or any other label of nodes.

Constraints with DoNotSchedule filter, those with ScheduleAnyway score. A pod without constraints gets upstream's system
defaults as score (zone, maxSkew 5; hostname, maxSkew 3): the replicas of a Deployment land on different nodes. What
belongs together by default is what one controller made; upstream also looks at the Services that select a pod, which
for a controller's pods comes to the same.

https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from lightkube.models.core_v1 import TopologySpreadConstraint
from numpy.typing import NDArray

from common.api.selectors import label_selector_from
from common.api.taints import find_untolerated
from scheduler.framework import MAX_NODE_SCORE, ClusterEvent, Mask, Rejection, Scores
from scheduler.nodes import Ints, NodeTable
from scheduler.plugins.node_affinity import NodeAffinity
from scheduler.podinfo import PodInfo

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint, with the question which pods count."""

    key: str
    max_skew: int
    question: Hashable
    counts: Callable[[PodInfo], bool]
    min_domains: int = 1
    self_match: bool = True
    honor_affinity: bool = True
    honor_taints: bool = False


class PodTopologySpread:
    name = "PodTopologySpread"
    events = frozenset(
        (
            ClusterEvent.NODE_ADD,
            ClusterEvent.NODE_LABEL,
            ClusterEvent.NODE_TAINT,
            ClusterEvent.ASSIGNED_POD_ADD,
            ClusterEvent.ASSIGNED_POD_UPDATE,
            ClusterEvent.ASSIGNED_POD_DELETE,
        )
    )

    def __init__(self, node_affinity: NodeAffinity) -> None:
        self._node_affinity = node_affinity

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[Rejection]:
        reason = "node(s) didn't match pod topology spread constraints"
        hard = _constraints(pod, "DoNotSchedule")
        left = nodes.valid.copy()  # the first constraint that a node does not satisfy is its reason
        for constraint in hard:
            absent = left & (nodes.label(constraint.key).ids < 0)
            yield Rejection(absent, f"{reason} (missing required label)", unresolvable=True)
            eligible = self._eligible(pod, nodes, constraint, hard)
            domains, counts = _by_domain(nodes, constraint, eligible)
            present = np.unique(nodes.label(constraint.key).ids[eligible])
            lowest = int(counts[present].min()) if len(present) >= max(constraint.min_domains, 1) else 0
            skew = counts[domains] + constraint.self_match - lowest
            skewed = left & ~absent & (skew > constraint.max_skew)
            yield Rejection(skewed, reason)
            left &= ~(absent | skewed)

    def score(self, pod: PodInfo, nodes: NodeTable, feasible: NDArray[np.intp]) -> Scores | None:
        """The fewer pods of its kind in a node's domains, the better."""
        explicit = bool(pod.spec.topologySpreadConstraints)
        soft = _constraints(pod, "ScheduleAnyway") if explicit else _system_defaults(pod)
        if not soft:
            return None
        total, ignored = np.zeros(len(feasible)), np.zeros(len(feasible), dtype=bool)
        for constraint in soft:
            eligible = self._eligible(pod, nodes, constraint, soft if explicit else ())
            domains, counts = _by_domain(nodes, constraint, eligible)
            here = domains[feasible]
            labelled = nodes.label(constraint.key).ids[feasible] >= 0
            # With the system's defaults a node without a zone is not worse for it.
            ignored |= ~labelled & explicit
            size = len(feasible) if constraint.key == HOSTNAME else len(np.unique(here[labelled]))
            weight = math.log(size + 2)
            total += np.where(labelled, counts[here] * weight + (constraint.max_skew - 1), 0)
        return _normalize(np.round(total), ignored)

    def _eligible(self, pod: PodInfo, nodes: NodeTable, constraint: Constraint, all_of: Iterable[Constraint]) -> Mask:
        """The nodes whose pods count: those with all labels that the pod could be on (KEP-3094)."""
        rows = nodes.valid.copy()
        for other in all_of:
            rows &= nodes.label(other.key).ids >= 0
        if constraint.honor_affinity:
            matched = self._node_affinity.matches(pod, nodes)
            if matched is not None:
                rows &= matched
        if constraint.honor_taints:
            rows &= nodes.fits_taints(lambda taints: find_untolerated(taints, pod.spec.tolerations) is None)
        return rows


def _by_domain(nodes: NodeTable, constraint: Constraint, eligible: Mask) -> tuple[Ints, Ints]:
    """The domain number of each row, and the pods in each domain; rows without the label share the last domain."""
    column = nodes.label(constraint.key)
    last = len(column.values)
    domains = np.where(column.ids >= 0, column.ids, last)
    pods = np.where(eligible, nodes.count(constraint.question, constraint.counts), 0)
    return domains, np.bincount(domains, weights=pods, minlength=last + 1).astype(np.int64)


def _normalize(scores: Scores, ignored: Mask) -> Scores:
    counted = scores[~ignored]
    if not len(counted):
        return np.zeros(len(scores))
    highest, lowest = counted.max(), counted.min()
    if highest == 0:
        return np.where(ignored, 0.0, MAX_NODE_SCORE)
    normal = np.floor(MAX_NODE_SCORE * (highest + lowest - scores) / highest)
    return np.where(ignored, 0.0, normal)


def _constraints(pod: PodInfo, when: str) -> list[Constraint]:
    return [_constraint(pod, c) for c in pod.spec.topologySpreadConstraints or () if c.whenUnsatisfiable == when]


def _constraint(pod: PodInfo, constraint: TopologySpreadConstraint) -> Constraint:
    selector = label_selector_from(constraint.labelSelector)
    # matchLabelKeys: only pods with the same values as this one's (its own revision, usually)
    own = tuple((key, pod.labels[key]) for key in constraint.matchLabelKeys or () if key in pod.labels)
    namespace = pod.namespace

    def matches(labels: dict[str, str]) -> bool:
        return selector.matches(labels) and all(labels.get(key) == value for key, value in own)

    return Constraint(
        key=constraint.topologyKey,
        max_skew=constraint.maxSkew,
        question=("selector", namespace, selector, own),
        counts=lambda other: other.namespace == namespace and not other.deleting and matches(other.labels),
        min_domains=constraint.minDomains or 1,
        self_match=matches(pod.labels),
        honor_affinity=constraint.nodeAffinityPolicy != "Ignore",
        honor_taints=constraint.nodeTaintsPolicy == "Honor",
    )


def _system_defaults(pod: PodInfo) -> list[Constraint]:
    if not pod.owner:
        return []
    owner = pod.owner

    def same_owner(other: PodInfo) -> bool:
        return other.owner == owner and not other.deleting

    return [Constraint(key, skew, ("owner", owner), same_owner) for key, skew in ((HOSTNAME, 3), (ZONE, 5))]
