"""The graph of all objects and their owners, and what its changes call for. Pure: no I/O, no clock.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/

A node is known by its uid. An owner that was named but never seen is a *virtual* node: it may be younger than what the
watches have told, of a resource that is not watched, or gone; a look at the server decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from controller_manager.metadata import Metadata, Owner

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Ref:
    """Where an object is: enough to ask the server for it."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(slots=True)
class GraphNode:
    """An object as far as deletion is concerned."""

    ref: Ref
    owners: tuple[Owner, ...] = ()
    dependents: dict[str, GraphNode] = field(default_factory=dict)
    version: str = ""
    virtual: bool = False
    deleting: bool = False
    finalizers: tuple[str, ...] = ()

    @property
    def foreground(self) -> bool:
        """It is being deleted and waits for its dependents."""
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphaning(self) -> bool:
        """It is being deleted and its dependents are to be left alone."""
        return self.deleting and ORPHAN in self.finalizers

    def blocking(self) -> list[GraphNode]:
        """The dependents that hold up a foreground deletion."""
        uid = self.ref.uid
        return [d for d in self.dependents.values() if any(o.uid == uid and o.blockOwnerDeletion for o in d.owners)]


@dataclass(frozen=True, slots=True)
class Work:
    """What a change calls for: uids to try to delete, and uids whose dependents are to be orphaned."""

    delete: tuple[str, ...] = ()
    orphan: tuple[str, ...] = ()


class Graph:
    """Keeps the graph, and answers each change with the work it makes."""

    def __init__(self) -> None:
        self._nodes: dict[str, GraphNode] = {}

    def get(self, uid: str) -> GraphNode | None:
        """The node of that uid."""
        return self._nodes.get(uid)

    def __len__(self) -> int:
        return len(self._nodes)

    def observe(self, ref: Ref, metadata: Metadata) -> Work:
        """An object was seen, new or changed."""
        node = self._nodes.get(ref.uid)
        if node is None:
            node = self._nodes[ref.uid] = GraphNode(ref)
        was_foreground, was_orphaning, old_owners = node.foreground, node.orphaning, node.owners
        node.ref, node.virtual, node.version = ref, False, metadata.resourceVersion
        node.deleting, node.finalizers = metadata.deletionTimestamp is not None, metadata.finalizers
        delete = self._relink(node, metadata.ownerReferences)
        if old_owners and not node.owners:
            delete += [owner.uid for owner in old_owners if self._waits(owner.uid)]
        if node.foreground and not was_foreground:
            delete += [*node.dependents, ref.uid]
        if node.owners and not node.deleting:
            delete += [ref.uid] if self._has_doomed_owner(node) else []
        elif node.deleting:
            delete += [owner.uid for owner in node.owners if self._waits(owner.uid)]
        return Work(tuple(delete), (ref.uid,) if node.orphaning and not was_orphaning else ())

    def remove(self, uid: str) -> Work:
        """An object is gone: its dependents may be garbage, and an owner that waited for it may go."""
        node = self._nodes.pop(uid, None)
        if node is None:
            return Work()
        delete = list(node.dependents)
        for owner in node.owners:
            if (parent := self._nodes.get(owner.uid)) is None:
                continue
            parent.dependents.pop(uid, None)
            if parent.foreground:
                delete.append(owner.uid)
            self._drop_if_idle(parent)
        if node.dependents:  # they still name it
            ghost = GraphNode(node.ref, dependents=node.dependents, virtual=True)
            self._nodes[uid] = ghost
        return Work(tuple(delete))

    def virtual(self) -> list[str]:
        """The owners that were named but never seen."""
        return [uid for uid, node in self._nodes.items() if node.virtual]

    def _relink(self, node: GraphNode, owners: tuple[Owner, ...]) -> list[str]:
        """Follows a change of owner references. Returns the uids that are worth a look."""
        before, after = {o.uid: o for o in node.owners}, {o.uid: o for o in owners}
        node.owners = owners
        look: list[str] = []
        for uid in before.keys() - after.keys():
            if parent := self._nodes.get(uid):
                parent.dependents.pop(node.ref.uid, None)
                look += [uid] if parent.foreground else []
                self._drop_if_idle(parent)
        for uid in after.keys() - before.keys():
            look += self._link(node, after[uid])
        for uid in after.keys() & before.keys():
            if before[uid].blockOwnerDeletion and not after[uid].blockOwnerDeletion and self._waits(uid):
                look.append(uid)
        return look

    def _link(self, node: GraphNode, owner: Owner) -> list[str]:
        parent = self._nodes.get(owner.uid)
        if parent is None:
            ref = Ref(owner.apiVersion, owner.kind, node.ref.namespace, owner.name, owner.uid)
            parent = self._nodes[owner.uid] = GraphNode(ref, virtual=True)
        parent.dependents[node.ref.uid] = node
        # Upstream looks at a dependent again when what it says of its owner cannot be that owner.
        strange = not parent.virtual and not could_be(owner, node.ref.namespace, parent.ref)
        return [node.ref.uid] if strange or parent.virtual else []

    def _waits(self, uid: str) -> bool:
        parent = self._nodes.get(uid)
        return parent is not None and parent.foreground

    def _has_doomed_owner(self, node: GraphNode) -> bool:
        return any(self._waits(owner.uid) for owner in node.owners)

    def _drop_if_idle(self, node: GraphNode) -> None:
        if node.virtual and not node.dependents:
            self._nodes.pop(node.ref.uid, None)


def could_be(owner: Owner, namespace: str, ref: Ref) -> bool:
    """Whether a reference made in a namespace can mean this object: cluster-scoped, or in the same namespace."""
    same = owner.kind == ref.kind and owner.name == ref.name
    return same and ref.namespace in ("", namespace)
