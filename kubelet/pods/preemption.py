"""Which pods go so that a critical one has room: the fewest, the least important. Pure.

Upstream: pkg/kubelet/preemption. Guaranteed pods only when all others are not enough, then burstable, then best-effort
ones; among them those that come nearest to what is missing.
https://kubernetes.io/docs/tasks/administer-cluster/guaranteed-scheduling-critical-addon-pods/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from lightkube.resources.core_v1 import Pod

from common.api.pods import qos_class, requests
from kubelet.pods.identity import spec_of
from kubelet.types import Ending

MESSAGE = "Preempted in order to admit critical pod"
ENDING = Ending("Preempting", MESSAGE, None, "Pod was preempted by Kubelet to accommodate a critical pod.")


class CannotPreempt(Exception):
    """All pods that could go together are not enough."""


def preemptable(preemptor: Pod, pod: Pod, is_critical: Callable[[Pod], bool]) -> bool:
    if is_critical(preemptor) and not is_critical(pod):
        return True
    mine, theirs = spec_of(preemptor).priority, spec_of(pod).priority
    return mine is not None and theirs is not None and mine > theirs


def victims(missing: Mapping[str, int], pods: Iterable[Pod]) -> list[Pod]:
    """``missing``: how much of each resource has to be given up. Raises CannotPreempt."""
    groups: dict[str, list[Pod]] = {"BestEffort": [], "Burstable": [], "Guaranteed": []}
    for pod in pods:
        groups[qos_class(spec_of(pod))].append(pod)
    best_effort, burstable, guaranteed = groups["BestEffort"], groups["Burstable"], groups["Guaranteed"]
    left = _less(missing, [*best_effort, *burstable, *guaranteed])
    if left:
        raise CannotPreempt(f"no set of running pods found to reclaim resources: {_shown(left)}")
    third = _nearest(guaranteed, _less(missing, [*best_effort, *burstable]))
    second = _nearest(burstable, _less(missing, [*best_effort, *third]))
    first = _nearest(best_effort, _less(missing, [*second, *third]))
    return [*first, *second, *third]


def _nearest(pods: Sequence[Pod], missing: Mapping[str, int]) -> list[Pod]:
    left, chosen = list(pods), []
    while missing:
        if not left:
            raise CannotPreempt(f"no set of running pods found to reclaim resources: {_shown(missing)}")
        best = min(left, key=lambda pod: (_distance(pod, missing), _given(pod, "memory"), _given(pod, "cpu")))
        missing = _less(missing, [best])
        left.remove(best)
        chosen.append(best)
    return chosen


def _distance(pod: Pod, missing: Mapping[str, int]) -> float:
    """How far from enough: each resource counts alike, whatever its unit."""
    shares = ((amount - _given(pod, name)) / amount for name, amount in missing.items())
    return sum(share * share for share in shares if share > 0)


def _less(missing: Mapping[str, int], pods: Sequence[Pod]) -> dict[str, int]:
    left = {name: amount - sum(_given(pod, name) for pod in pods) for name, amount in missing.items()}
    return {name: amount for name, amount in left.items() if amount > 0}


def _given(pod: Pod, resource: str) -> int:
    return 1 if resource == "pods" else requests(spec_of(pod)).get(resource, 0)


def _shown(missing: Mapping[str, int]) -> str:
    return "[" + "".join(f"(res: {name}, q: {amount}), " for name, amount in missing.items()) + "]"
