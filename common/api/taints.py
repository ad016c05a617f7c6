"""Taints and tolerations: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"""

from __future__ import annotations

from collections.abc import Container, Iterable

from lightkube.models.core_v1 import Taint, Toleration

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
MEMORY_PRESSURE = "node.kubernetes.io/memory-pressure"
DISK_PRESSURE = "node.kubernetes.io/disk-pressure"
PID_PRESSURE = "node.kubernetes.io/pid-pressure"
NETWORK_UNAVAILABLE = "node.kubernetes.io/network-unavailable"


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if not toleration.key and toleration.operator != "Exists":
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == (taint.value or "")


def find_untolerated(
    taints: Iterable[Taint] | None,
    tolerations: Iterable[Toleration] | None,
    effects: Container[str] = ("NoSchedule", "NoExecute"),
) -> Taint | None:
    """The first taint with one of the effects that no toleration covers."""
    tolerations = list(tolerations or ())
    for taint in taints or ():
        if taint.effect in effects and not any(tolerates(t, taint) for t in tolerations):
            return taint
    return None


def same_taint(a: Taint, b: Taint) -> bool:
    """Taints are one when key and effect agree."""
    return bool(a.key == b.key and a.effect == b.effect)
