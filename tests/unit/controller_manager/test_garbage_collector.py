"""The graph of owners, and what is decided from it."""

from __future__ import annotations

from controller_manager.garbage_collector.decisions import Decision, OwnerState, Verdict, decide
from controller_manager.garbage_collector.graph import FOREGROUND, ORPHAN, Graph, GraphNode, Ref, Work
from controller_manager.metadata import Metadata, Owner, decode_list


def ref(kind: str, name: str) -> Ref:
    return Ref("v1", kind, "default", name, name)


def owner(name: str, kind: str = "Owner", block: bool | None = None) -> Owner:
    return Owner("v1", kind, name, name, blockOwnerDeletion=block)


def metadata(name: str, *owners: Owner, deleting: bool = False, finalizers: tuple[str, ...] = ()) -> Metadata:
    at = "2026-01-01T00:00:00Z" if deleting else None
    return Metadata(name, "default", name, "1", at, finalizers, owners)


def graph(*children: Metadata) -> Graph:
    made = Graph()
    made.observe(ref("Owner", "parent"), metadata("parent"))
    for child in children:
        made.observe(ref("Child", child.name), child)
    return made


def test_dependents_of_a_removed_owner_are_looked_at():
    made = graph(metadata("a", owner("parent")), metadata("b", owner("parent")), metadata("c"))
    assert made.remove("parent") == Work(delete=("a", "b"))
    assert made.virtual() == ["parent"]
    made.remove("a")
    made.remove("b")
    assert made.virtual() == []


def test_a_dependent_seen_before_its_owner_is_looked_at():
    made = Graph()
    assert made.observe(ref("Child", "a"), metadata("a", owner("parent"))) == Work(delete=("a",))
    assert made.virtual() == ["parent"]
    assert made.observe(ref("Owner", "parent"), metadata("parent")) == Work()
    assert made.virtual() == []
    assert made.remove("parent") == Work(delete=("a",))


def test_a_reference_to_something_else_of_that_uid_is_looked_at():
    made = graph()
    stranger = metadata("a", owner("parent", kind="Other"))
    assert made.observe(ref("Child", "a"), stranger) == Work(delete=("a",))


def test_foreground_deletion_wakes_dependents_and_then_the_owner():
    made = graph(metadata("a", owner("parent", block=True)), metadata("b", owner("parent")))
    going = metadata("parent", deleting=True, finalizers=(FOREGROUND,))
    assert made.observe(ref("Owner", "parent"), going) == Work(delete=("a", "b", "parent"))
    assert [each.ref.name for each in made.get("parent").blocking()] == ["a"]
    assert made.remove("a") == Work(delete=("parent",))
    assert made.get("parent").blocking() == []


def test_a_dependent_that_stops_blocking_wakes_its_waiting_owner():
    made = graph(metadata("a", owner("parent", block=True)))
    made.observe(ref("Owner", "parent"), metadata("parent", deleting=True, finalizers=(FOREGROUND,)))
    assert "parent" in made.observe(ref("Child", "a"), metadata("a", owner("parent", block=False))).delete
    assert "parent" in made.observe(ref("Child", "a"), metadata("a")).delete


def test_orphaning_is_told_once():
    made = graph(metadata("a", owner("parent")))
    going = metadata("parent", deleting=True, finalizers=(ORPHAN,))
    assert made.observe(ref("Owner", "parent"), going) == Work(orphan=("parent",))
    assert made.observe(ref("Owner", "parent"), going) == Work()


def node(*dependents: GraphNode, finalizers: tuple[str, ...] = (), deleting: bool = False) -> GraphNode:
    made = GraphNode(ref("Child", "a"), finalizers=finalizers, deleting=deleting)
    made.dependents = {str(i): each for i, each in enumerate(dependents)}
    return made


def states(*found: OwnerState) -> list[tuple[Owner, OwnerState]]:
    return [(owner(f"o{i}"), state) for i, state in enumerate(found)]


def test_decisions():
    solid, dangling, waiting = OwnerState.SOLID, OwnerState.DANGLING, OwnerState.WAITING
    assert decide(node(), []) == Decision(Verdict.KEEP)
    assert decide(node(), states(solid)) == Decision(Verdict.KEEP)
    assert decide(node(), states(solid, dangling, waiting)) == Decision(Verdict.DISOWN, drop=("o1", "o2"))
    assert decide(node(), states(dangling)) == Decision(Verdict.DELETE, policy="Background")
    assert decide(node(), states(waiting)) == Decision(Verdict.DELETE, policy="Background")
    assert decide(node(node()), states(dangling)).policy == "Background"
    assert decide(node(node()), states(waiting)) == Decision(Verdict.DELETE, policy="Foreground")
    circle = decide(node(node(deleting=True, finalizers=(FOREGROUND,))), states(waiting))
    assert circle == Decision(Verdict.DELETE, policy="Foreground", unblock=True)
    assert decide(node(finalizers=(ORPHAN,)), states(dangling)).policy == "Orphan"
    assert decide(node(finalizers=(FOREGROUND,)), states(dangling)).policy == "Foreground"


def test_metadata_is_read_from_whole_objects_too():
    page = decode_list(
        b'{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"kind":"Pod","spec":{"x":1},'
        b'"metadata":{"name":"a","uid":"u","managedFields":[],"ownerReferences":'
        b'[{"apiVersion":"v1","kind":"K","name":"o","uid":"o","controller":true}]}}]}'
    )
    assert page.resource_version == "7"
    assert (page.items[0].name, page.items[0].ownerReferences[0].controller) == ("a", True)
    assert decode_list(b'{"metadata":{},"items":null}').items == []
