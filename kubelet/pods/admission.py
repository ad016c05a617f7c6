"""Whether this node takes a pod that was bound to it: the scheduler may have decided on an older picture of it.

The checks are upstream's admit handlers in their order (pkg/kubelet/kubelet.go): pressure, kernel parameters, what the
node cannot do, the scheduler's rules (pkg/kubelet/lifecycle/predicate.go), a node that shuts down, AppArmor. For a
critical pod the node makes room. Pure.
https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lightkube.models.core_v1 import PodSpec, Taint
from lightkube.resources.core_v1 import Node, Pod

from common.api.pods import qos_class
from common.api.taints import MEMORY_PRESSURE, find_untolerated
from kubelet.pods import apparmor, sysctls
from kubelet.pods.identity import all_containers, spec_of
from kubelet.pods.predicates import Insufficient, Misfit, failures
from kubelet.pods.preemption import CannotPreempt, preemptable, victims

Rejection = tuple[str, str]
"""Reason and message; the status of the pod says "Pod was rejected: " before it."""
UNEXPECTED = "UnexpectedAdmissionError"
SHUTDOWN: Rejection = ("NodeShutdown", "Pod was rejected as the node is shutting down.")


@dataclass(frozen=True)
class NodeView:
    """What the node is like when a pod comes."""

    node: Node | None = None
    """None while the API server has not told of it."""
    others: Sequence[Pod] = ()
    capacity: Mapping[str, int] = field(default_factory=dict)
    """Allocatable: cpu in milli, the rest in bytes or pieces."""
    max_pods: int = 110
    pressure: Sequence[str] = ()
    """MemoryPressure, DiskPressure, PIDPressure: those that hold."""
    shutting_down: bool = False
    unsafe_sysctls: Sequence[str] = ()
    is_critical: Callable[[Pod], bool] = lambda _: False
    static: bool = False
    """The pod comes from a manifest."""


@dataclass(frozen=True)
class Verdict:
    """The pod is taken when there is no rejection, and then after those to be preempted are gone."""

    rejection: Rejection | None = None
    preempt: Sequence[Pod] = ()
    lacking: str = ""
    """The resource for whose sake they are."""


def admit(pod: Pod, view: NodeView) -> Verdict:
    spec = spec_of(pod)
    refused = _pressed(pod, view)
    if refused is None and (forbidden := sysctls.forbidden(spec, view.unsafe_sysctls)) is not None:
        refused = (sysctls.REASON, forbidden)
    refused = refused or _unsupported(spec) or (SHUTDOWN if view.shutting_down else None)
    if refused is not None:
        return Verdict(refused)
    verdict = _fit(pod, view)
    if verdict.rejection is None and (why := apparmor.refusal(pod)) is not None:
        return Verdict((apparmor.REASON, why))
    return verdict


def _pressed(pod: Pod, view: NodeView) -> Rejection | None:
    """Memory that is short keeps best-effort pods out, anything else everybody; never critical pods."""
    if not view.pressure or view.is_critical(pod):
        return None
    if list(view.pressure) == ["MemoryPressure"]:
        taint = Taint(effect="NoSchedule", key=MEMORY_PRESSURE)
        tolerated = find_untolerated([taint], spec_of(pod).tolerations) is None
        if qos_class(spec_of(pod)) != "BestEffort" or tolerated:
            return None
    return "Evicted", f"The node had condition: [{' '.join(view.pressure)}]. "


def _fit(pod: Pod, view: NodeView) -> Verdict:
    found = failures(pod, view.others, view.node, view.capacity, view.max_pods, static=view.static)
    if not found:
        return Verdict()
    if not view.is_critical(pod):
        return Verdict((found[0].reason, found[0].message))
    misfits = [each for each in found if isinstance(each, Misfit)]
    if misfits:
        return Verdict((misfits[0].reason, misfits[0].message))
    missing = {each.resource: each.missing for each in found if isinstance(each, Insufficient)}
    try:
        chosen = victims(missing, [o for o in view.others if preemptable(pod, o, view.is_critical)])
        return Verdict(None, chosen, next(iter(missing), ""))
    except CannotPreempt as error:
        text = "Unexpected error while attempting to recover from admission failure: "
        return Verdict((UNEXPECTED, f"{text}preemption: error finding a set of pods to preempt: {error}"))


def _unsupported(spec: PodSpec) -> Rejection | None:
    if spec.os is not None and spec.os.name != "linux":
        return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
    shared = spec.securityContext
    if shared is not None and shared.supplementalGroupsPolicy == "Strict" and not _all_have_a_group(spec):
        message = "SupplementalGroupsPolicy=Strict is not supported in this node"
        return "SupplementalGroupsPolicyNotSupported", message
    return None


def _all_have_a_group(spec: PodSpec) -> bool:
    """Docker adds the image's own groups of a user only where no group is given."""
    if spec.securityContext is not None and spec.securityContext.runAsGroup is not None:
        return True
    contexts = [container.securityContext for container in all_containers(spec)]
    return all(context is not None and context.runAsGroup is not None for context in contexts)
