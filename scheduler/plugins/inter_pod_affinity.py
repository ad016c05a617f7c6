"""InterPodAffinity: pods that want to be near others, or away from them.

Required terms filter: a pod's own, and the anti-affinity of pods that run already, which holds in both directions. A
pod's own preferred terms score; those of running pods towards a new one do not count yet. A namespaceSelector that is
not empty needs the namespaces' labels, which this scheduler does not watch: such a pod stays pending and is told so.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from scheduler.framework import MAX_NODE_SCORE, ClusterEvent, Mask, Rejection, Scores, Unschedulable
from scheduler.nodes import Ints, NodeTable
from scheduler.podinfo import AffinityTerm, PodInfo


class InterPodAffinity:
    name = "InterPodAffinity"
    events = frozenset(
        (
            ClusterEvent.NODE_ADD,
            ClusterEvent.NODE_LABEL,
            ClusterEvent.ASSIGNED_POD_ADD,
            ClusterEvent.ASSIGNED_POD_UPDATE,
            ClusterEvent.ASSIGNED_POD_DELETE,
        )
    )

    def pre_filter(self, pod: PodInfo, nodes: NodeTable) -> None:
        if any(term.unknown_namespaces for term in (*pod.affinity, *pod.anti_affinity)):
            raise Unschedulable(self.name, "namespaceSelector of pod (anti-)affinity is not supported")

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[Rejection]:
        """The first rule that a node breaks is its reason."""
        left = nodes.valid.copy()
        if pod.affinity:
            lonely = self._without_company(pod, nodes)
            yield Rejection(lonely, "node(s) didn't match pod affinity rules", unresolvable=True)
            left &= ~lonely
        if pod.anti_affinity:
            near = np.zeros(nodes.capacity, dtype=bool)
            for term in pod.anti_affinity:
                near |= _in_domain(nodes, term, nodes.count(term, term.matches)) > 0
            yield Rejection(near & left, "node(s) didn't match pod anti-affinity rules")
            left &= ~near
        if nodes.anti_affinity:
            unwelcome = self._unwelcome(pod, nodes) & left
            yield Rejection(unwelcome, "node(s) didn't satisfy existing pods anti-affinity rules")

    def score(self, pod: PodInfo, nodes: NodeTable, feasible: NDArray[np.intp]) -> Scores | None:
        if not pod.preferred_affinity:
            return None
        total = np.zeros(len(feasible), dtype=np.int64)
        for weight, term in pod.preferred_affinity:
            if not term.unknown_namespaces:
                total += weight * _in_domain(nodes, term, nodes.count(term, term.matches))[feasible]
        lowest, highest = total.min(), total.max()
        if lowest == highest:
            return None
        scores: Scores = np.floor(MAX_NODE_SCORE * (total - lowest) / (highest - lowest))
        return scores

    def _without_company(self, pod: PodInfo, nodes: NodeTable) -> Mask:
        """The rows in whose domains no pod runs that all terms of the pod want near.

        The first pod of a group that wants to be near its own kind may go anywhere with the labels.
        """
        terms = pod.affinity
        company = nodes.count(("all of", terms), lambda other: all(term.matches(other) for term in terms))
        nobody = not company[nodes.valid].any() and all(term.matches(pod) for term in terms)
        lonely = np.zeros(nodes.capacity, dtype=bool)
        for term in terms:
            labelled = nodes.label(term.topology_key).ids >= 0
            lonely |= ~labelled if nobody else _in_domain(nodes, term, company) == 0
        return lonely & nodes.valid

    def _unwelcome(self, pod: PodInfo, nodes: NodeTable) -> Mask:
        rows = np.zeros(nodes.capacity, dtype=bool)
        for other, node in nodes.anti_affinity.values():
            row = nodes.row(node)
            if row is None:
                continue
            for term in other.anti_affinity:
                if term.matches(pod):
                    ids = nodes.label(term.topology_key).ids
                    rows |= (ids == ids[row]) & (ids >= 0)
        return rows


def _in_domain(nodes: NodeTable, term: AffinityTerm, counts: Ints) -> Ints:
    """For each row the pods in its domain; 0 where the label is absent."""
    column = nodes.label(term.topology_key)
    last = len(column.values)
    domains = np.where(column.ids >= 0, column.ids, last)
    sums = np.bincount(domains, weights=np.where(nodes.valid, counts, 0), minlength=last + 1).astype(np.int64)
    sums[last] = 0
    result: Ints = sums[domains]
    return result
