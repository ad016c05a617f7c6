"""The scheduling framework: extension points by upstream's names, on columns instead of on one node at a time.

Upstream calls Filter and Score for each node, on 16 goroutines. Here a plugin gets the whole table of nodes
(`scheduler.nodes.NodeTable`) and answers with arrays, one entry for each row: the same decisions, a few NumPy
operations for each plugin however many nodes there are. Since a cycle runs without giving way to the event loop, the
table is the snapshot.

https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scheduler.nodes import NodeTable
from scheduler.podinfo import PodInfo

Mask = NDArray[np.bool_]
Scores = NDArray[np.float64]

MAX_NODE_SCORE = 100.0


class ClusterEvent(Enum):
    """What may make a pod schedulable that was not (upstream: framework.ClusterEvent)."""

    NODE_ADD = auto()
    NODE_ALLOCATABLE = auto()
    NODE_LABEL = auto()
    NODE_TAINT = auto()
    ASSIGNED_POD_ADD = auto()
    ASSIGNED_POD_UPDATE = auto()
    ASSIGNED_POD_DELETE = auto()
    PVC_ADD = auto()
    PVC_UPDATE = auto()


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rows that a Filter plugin rules out, and why. ``unresolvable``: evicting pods from there would not help."""

    rows: Mask
    reason: str
    unresolvable: bool = False


class Unschedulable(Exception):
    """A PreFilter plugin knows already that the pod fits nowhere; ``plugin`` is its name."""

    def __init__(self, plugin: str, message: str) -> None:
        super().__init__(message)
        self.plugin = plugin


class PreFilterPlugin(Protocol):
    name: str
    events: frozenset[ClusterEvent]

    def pre_filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[str] | None:
        """The names of the only nodes that come into question, or None for all. Raises Unschedulable."""


class FilterPlugin(Protocol):
    name: str
    events: frozenset[ClusterEvent]
    """What may make this plugin change its mind (upstream: EventsToRegister)."""

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Iterable[Rejection]: ...


class ScorePlugin(Protocol):
    name: str

    def score(self, pod: PodInfo, nodes: NodeTable, feasible: NDArray[np.intp]) -> Scores | None:
        """A score of 0 to 100, normalised, for each row in ``feasible``; None when all are alike to it."""


class BindPlugin(Protocol):
    name: str

    async def bind(self, pod: PodInfo, node: str) -> None:
        """Raises a StatusError when the pod was not bound."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why no node fits: for each reason on how many nodes, and which plugins said so."""

    total: int
    reasons: dict[str, int] = field(default_factory=dict)
    unresolvable: int = 0
    plugins: frozenset[str] = frozenset()
    pre_filter_message: str = ""

    def message(self) -> str:
        """Upstream's wording, with that of a preemption which found nobody to evict."""
        if self.total == 0:
            return "no nodes available to schedule pods"
        head = f"0/{self.total} nodes are available:"
        if self.pre_filter_message:
            tried = {"Preemption is not helpful for scheduling": self.total}
            return f"{head} {self.pre_filter_message}. preemption: {head} {_histogram(tried)}."
        tried = {
            "Preemption is not helpful for scheduling": self.unresolvable,
            "No preemption victims found for incoming pod": self.total - self.unresolvable,
        }
        return f"{head} {_histogram(self.reasons)}. preemption: {head} {_histogram(tried)}."


def _histogram(reasons: dict[str, int]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items() if count))


class FitError(Exception):
    """The pod fits on no node."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message())
        self.diagnosis = diagnosis


@dataclass(frozen=True, slots=True)
class Profile:
    """The plugins of one scheduler, in the order in which they are asked; scores with their weights."""

    pre_filters: Sequence[PreFilterPlugin]
    filters: Sequence[FilterPlugin]
    scores: Sequence[tuple[ScorePlugin, int]]
    bind: BindPlugin

    def events_of(self, plugins: Iterable[str]) -> frozenset[ClusterEvent]:
        """What may help a pod that these plugins rejected; any event for a plugin that is not known."""
        known = {plugin.name: plugin.events for plugin in self.pre_filters}
        known |= {plugin.name: plugin.events for plugin in self.filters}
        wanted: set[ClusterEvent] = set()
        for name in plugins:
            wanted |= known.get(name, frozenset(ClusterEvent))
        return frozenset(wanted) or frozenset(ClusterEvent)


def find_feasible(profile: Profile, pod: PodInfo, nodes: NodeTable) -> NDArray[np.intp]:
    """The rows on which the pod fits. Raises FitError when there are none."""
    total = len(nodes)
    if total == 0:
        raise FitError(Diagnosis(0))
    feasible, reasons, unresolvable, plugins = nodes.valid.copy(), dict[str, int](), 0, set[str]()
    try:
        allowed = _pre_filter(profile, pod, nodes, feasible)
    except Unschedulable as error:
        diagnosis = Diagnosis(total, plugins=frozenset((error.plugin,)), pre_filter_message=str(error))
        raise FitError(diagnosis) from None
    if allowed:
        left = int(np.count_nonzero(feasible))
        if left < total:
            reasons[f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(allowed))}]"] = total - left
            unresolvable += total - left
            plugins |= allowed
    for plugin in profile.filters:
        rejected, unresolved = np.zeros_like(feasible), np.zeros_like(feasible)
        for rejection in plugin.filter(pod, nodes):
            hit = rejection.rows & feasible
            count = int(np.count_nonzero(hit))
            if count:
                reasons[rejection.reason] = reasons.get(rejection.reason, 0) + count
                rejected |= hit
                if rejection.unresolvable:
                    unresolved |= hit
                plugins.add(plugin.name)
        unresolvable += int(np.count_nonzero(unresolved))
        feasible &= ~rejected
    rows = np.flatnonzero(feasible)
    if not len(rows):
        raise FitError(Diagnosis(total, reasons, unresolvable, frozenset(plugins)))
    return rows


def _pre_filter(profile: Profile, pod: PodInfo, nodes: NodeTable, feasible: Mask) -> set[str]:
    """Leaves the nodes in ``feasible`` that PreFilter plugins allow; returns the plugins that chose."""
    choosers = set()
    for plugin in profile.pre_filters:
        names = plugin.pre_filter(pod, nodes)
        if names is None:
            continue
        choosers.add(plugin.name)
        chosen = np.zeros_like(feasible)
        chosen[[row for row in map(nodes.row, names) if row is not None]] = True
        feasible &= chosen
    return choosers


def select_node(
    profile: Profile, pod: PodInfo, nodes: NodeTable, feasible: NDArray[np.intp], random: np.random.Generator
) -> int:
    """The row with the highest weighted score; any one of several that are alike."""
    if len(feasible) == 1:
        return int(feasible[0])
    total = np.zeros(len(feasible))
    for plugin, weight in profile.scores:
        scores = plugin.score(pod, nodes, feasible)
        if scores is not None:
            total += weight * scores
    best = np.flatnonzero(total == total.max())
    return int(feasible[best[random.integers(len(best))] if len(best) > 1 else best[0]])


def default_normalize(scores: NDArray[Any], *, reverse: bool = False) -> Scores:
    """Upstream's DefaultNormalizeScore: the largest becomes 100; whole numbers, as upstream's."""
    highest = scores.max(initial=0)
    if highest == 0:
        return np.full(len(scores), MAX_NODE_SCORE if reverse else 0.0)
    scaled: Scores = np.floor(MAX_NODE_SCORE * scores / highest)
    return MAX_NODE_SCORE - scaled if reverse else scaled
