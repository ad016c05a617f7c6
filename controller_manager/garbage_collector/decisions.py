"""What the garbage collector does with an object whose owners are known to be there, gone or going. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from controller_manager.garbage_collector.graph import FOREGROUND, ORPHAN, GraphNode
from controller_manager.metadata import Owner


class OwnerState(Enum):
    """Upstream's words for it."""

    SOLID = "solid"
    """It exists, and is not waiting for its dependents to go."""
    DANGLING = "dangling"
    """It is gone."""
    WAITING = "waiting"
    """It is being deleted in the foreground: it waits for its dependents."""


class Verdict(Enum):
    """What is to be done."""

    KEEP = "keep"
    DISOWN = "disown"
    """Take the owner references that mean nothing any more out of it."""
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, and how to carry it out."""

    verdict: Verdict
    policy: str = "Background"
    drop: tuple[str, ...] = ()
    """The uids of owners to take out."""
    unblock: bool = False
    """Its owner references must stop blocking first: a dependent of its own waits for it, a circle."""


def decide(node: GraphNode, states: Sequence[tuple[Owner, OwnerState]]) -> Decision:
    """An object with one solid owner stays. One whose owners are all gone, or wait for it, goes."""
    if not states:
        return Decision(Verdict.KEEP)
    useless = tuple(owner.uid for owner, state in states if state is not OwnerState.SOLID)
    if len(useless) < len(states):
        return Decision(Verdict.DISOWN, drop=useless) if useless else Decision(Verdict.KEEP)
    waited_for = any(state is OwnerState.WAITING for _, state in states)
    if waited_for and node.dependents:
        circle = any(dependent.foreground for dependent in node.dependents.values())
        return Decision(Verdict.DELETE, policy="Foreground", unblock=circle)
    return Decision(Verdict.DELETE, policy=_own_policy(node))


def _own_policy(node: GraphNode) -> str:
    """The policy that the object's finalizers ask for."""
    if ORPHAN in node.finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in node.finalizers else "Background"
