"""What the pods of each node lead to: node <- pod <- secret, config map, account, claim <- volume <- secret.

Upstream walks a graph for each question; here the same edges are kept by node, out of the watch caches, so that a
question is a few look-ups.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from apiserver.authz.references import Reference, claim_of, is_mirror, references, secrets_of
from apiserver.types import Object, Registry


def granted(pod: Object) -> frozenset[Reference]:
    """What a pod lets its node read. Of a mirror pod nothing: nodes make those, and would give themselves anything."""
    return frozenset() if is_mirror(pod) else frozenset(references(pod))


class _Volume(NamedTuple):
    claim: Reference
    secrets: frozenset[Reference]


class NodeGraph:
    """Follows the caches from its first question on."""

    def __init__(self, registry: Registry) -> None:
        self._pods: dict[tuple[str, str], tuple[str, frozenset[Reference]]] = {}
        self._used: defaultdict[str, Counter[Reference]] = defaultdict(Counter)
        self._volumes: dict[str, _Volume] = {}
        """Those that are bound."""
        self._by_secret: defaultdict[Reference, set[str]] = defaultdict(set)
        self._attachments = registry.store("storage.k8s.io", "volumeattachments")
        self._stores = registry.store("", "pods"), registry.store("", "persistentvolumes")
        self._loaded = False
        for store, changed in zip(self._stores, (self._pod_changed, self._volume_changed), strict=True):
            store.on_change(changed)

    def leads_to(self, node: str, plural: str, namespace: str, name: str) -> bool:
        """Whether a pod of the node needs the object."""
        self._load()
        if plural == "pods":
            return self._pods.get((namespace, name), ("",))[0] == node
        if plural == "volumeattachments":
            attachment = self._attachments.cached("", name)
            return attachment is not None and (attachment.get("spec") or {}).get("nodeName") == node
        used = self._used.get(node)
        if not used:
            return False
        if plural == "persistentvolumes":
            return name in self._volumes and self._volumes[name].claim in used
        reference = plural, namespace, name
        return reference in used or any(self._volumes[v].claim in used for v in self._by_secret.get(reference, ()))

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        pods, volumes = self._stores
        for pod in pods.cached_list():
            self._pod_changed("ADDED", pod)
        for volume in volumes.cached_list():
            self._volume_changed("ADDED", volume)

    def _pod_changed(self, type_: str, pod: Object) -> None:
        key = pod["metadata"].get("namespace", ""), pod["metadata"]["name"]
        node = (pod.get("spec") or {}).get("nodeName") or ""
        new = (node, granted(pod)) if node and type_ != "DELETED" else None
        old = self._pods.pop(key, None)
        if old is not None and old != new:
            self._count(old[0], old[1], -1)
        if new is not None:
            self._pods[key] = new
            if old != new:
                self._count(new[0], new[1], 1)

    def _count(self, node: str, found: Iterable[Reference], by: int) -> None:
        used = self._used[node]
        for reference in found:
            used[reference] += by
            if used[reference] <= 0:
                del used[reference]
        if not used:
            del self._used[node]

    def _volume_changed(self, type_: str, volume: Object) -> None:
        name = volume["metadata"]["name"]
        if old := self._volumes.pop(name, None):
            for secret in old.secrets:
                self._by_secret[secret].discard(name)
                if not self._by_secret[secret]:
                    del self._by_secret[secret]
        claim = claim_of(volume)
        if claim is None or type_ == "DELETED":
            return
        self._volumes[name] = new = _Volume(claim, frozenset(secrets_of(volume)))
        for secret in new.secrets:
            self._by_secret[secret].add(name)
