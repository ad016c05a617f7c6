"""Which pods go first when there are too many.

The order is upstream's `ActivePodsWithRanks`: prefer to lose what serves nobody yet (unassigned, pending, not ready),
then what its owner calls cheap (`controller.kubernetes.io/pod-deletion-cost`), then pods that are doubled up on a node,
and of equals the youngest. Ages are compared by their logarithm (KEP-2185), so that pods of about the same age are
chosen at random (by uid) and a rollout's leftovers do not all sit on one node.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from lightkube.resources.core_v1 import Pod

from common.api.meta import annotations_of
from common.api.pods import is_ready
from controller_manager.objects import is_active, need, phase_of, ready_condition, uid_of

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


def pods_to_delete(pods: Sequence[Pod], related: Iterable[Pod], count: int, now: datetime) -> list[Pod]:
    """The `count` pods to delete. `related` are all pods of the same workload, to see which are doubled up."""
    if count >= len(pods):
        return list(pods)
    on_node = Counter(need(pod.spec).nodeName for pod in related if is_active(pod))
    compare = functools.partial(_compare, on_node=on_node, now=now)
    return sorted(pods, key=functools.cmp_to_key(compare))[:count]


def deletion_cost(pod: Pod) -> int:
    """The annotated cost; one that is not a 32-bit integer counts as none, as upstream has it."""
    text = annotations_of(pod).get(DELETION_COST, "0")
    try:
        cost = int(text)
    except ValueError:
        return 0
    return cost if -(2**31) <= cost < 2**31 else 0


def _compare(a: Pod, b: Pod, on_node: Counter[str | None], now: datetime) -> int:
    spec_a, spec_b = need(a.spec), need(b.spec)
    order = _first_difference(
        (bool(spec_a.nodeName), bool(spec_b.nodeName)),
        (_PHASE_RANK.get(phase_of(a), 2), _PHASE_RANK.get(phase_of(b), 2)),
        (is_ready(a), is_ready(b)),
        (deletion_cost(a), deletion_cost(b)),
        (-on_node[spec_a.nodeName], -on_node[spec_b.nodeName]),
    )
    if order:
        return order
    if is_ready(a):
        order = _compare_age(_ready_since(a), _ready_since(b), a, b, now)
        if order:
            return order
    order = _first_difference(*zip(_restarts(b), _restarts(a), strict=True))
    return order or _compare_age(_created(a), _created(b), a, b, now)


def _first_difference(*pairs: tuple[int, int]) -> int:
    return next((-1 if a < b else 1 for a, b in pairs if a != b), 0)


def _compare_age(a: datetime | None, b: datetime | None, pod_a: Pod, pod_b: Pod, now: datetime) -> int:
    """Younger first; of about the same age, by uid. A missing time counts as just now."""
    if a == b:
        return 0
    if a is None or b is None:
        return -1 if a is None else 1
    rank_a, rank_b = _log_age(a, now), _log_age(b, now)
    if rank_a == rank_b:
        return -1 if uid_of(pod_a) < uid_of(pod_b) else 1
    return -1 if rank_a < rank_b else 1


def _log_age(since: datetime, now: datetime) -> int:
    nanoseconds = (now - since).total_seconds() * 1e9
    return int(math.log2(nanoseconds)) if nanoseconds > 0 else -1


def _ready_since(pod: Pod) -> datetime | None:
    condition = ready_condition(pod)
    return condition.lastTransitionTime if condition else None


def _created(pod: Pod) -> datetime | None:
    return need(pod.metadata).creationTimestamp


def _restarts(pod: Pod) -> tuple[int, int]:
    """The most restarts of a container, and of a sidecar."""
    status, spec = pod.status, need(pod.spec)
    if status is None:
        return 0, 0
    sidecars = {c.name for c in spec.initContainers or () if c.restartPolicy == "Always"}
    regular = max((s.restartCount for s in status.containerStatuses or ()), default=0)
    sidecar = max((s.restartCount for s in status.initContainerStatuses or () if s.name in sidecars), default=0)
    return regular, sidecar
