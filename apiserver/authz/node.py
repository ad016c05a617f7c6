"""The node authorizer: a kubelet reads what the pods on its node need, and nothing else.

Upstream walks a graph from secrets, config maps, claims and accounts to the pods that use them; here the same edges are
kept by node, out of the watch cache of pods, so that a question is one set look-up.
https://kubernetes.io/docs/reference/access-authn-authz/node/
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from apiserver.authz.policy.component_roles import NODE_RULES
from apiserver.authz.rules import RuleSet
from apiserver.types import Attributes, Object, Registry, User

NODE_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"
USED = frozenset({"secrets", "configmaps", "persistentvolumeclaims", "persistentvolumes", "serviceaccounts"})
"""Core resources that a node reads because a pod of its own refers to them."""
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
READ_ONE = ("get", "list", "watch")

Reference = tuple[str, str, str]
"""(plural, namespace, name)."""


def node_of(user: User) -> str | None:
    """The node that a user is, or None."""
    if NODES_GROUP in user.groups and user.name.startswith(NODE_PREFIX):
        return user.name.removeprefix(NODE_PREFIX)
    return None


def is_mirror(pod: Object) -> bool:
    return MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {})


def granted(pod: Object) -> frozenset[Reference]:
    """What a pod lets its node read. Of a mirror pod nothing: nodes make those, and would give themselves anything."""
    return frozenset() if is_mirror(pod) else frozenset(references(pod))


def references(pod: Object) -> Iterator[Reference]:
    """All that a pod's spec refers to."""
    namespace, spec = pod["metadata"].get("namespace", ""), pod.get("spec") or {}
    if spec.get("serviceAccountName"):
        yield "serviceaccounts", namespace, spec["serviceAccountName"]
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", namespace, secret.get("name", "")
    for volume in spec.get("volumes") or ():
        for plural, name in _of_volume(volume, pod):
            yield plural, namespace, name
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            for plural, name in _of_env(container):
                yield plural, namespace, name


def _of_volume(volume: Mapping[str, Any], pod: Object) -> Iterator[tuple[str, str]]:
    if "secret" in volume:
        yield "secrets", (volume["secret"] or {}).get("secretName", "")
    if "configMap" in volume:
        yield "configmaps", (volume["configMap"] or {}).get("name", "")
    if "persistentVolumeClaim" in volume:
        yield "persistentvolumeclaims", (volume["persistentVolumeClaim"] or {}).get("claimName", "")
    if "ephemeral" in volume:
        yield "persistentvolumeclaims", f"{pod['metadata']['name']}-{volume.get('name', '')}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("secret"):
            yield "secrets", source["secret"].get("name", "")
        if source.get("configMap"):
            yield "configmaps", source["configMap"].get("name", "")
    for kind in ("csi", "flexVolume", "cephfs", "iscsi", "rbd", "scaleIO", "storageos"):
        source = volume.get(kind) or {}
        ref = source.get("secretRef") or source.get("nodePublishSecretRef")
        if ref:
            yield "secrets", ref.get("name", "")


def _of_env(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sources = [*(container.get("envFrom") or ()), *((e.get("valueFrom") or {}) for e in container.get("env") or ())]
    for source in sources:
        for key, plural in (
            ("secretRef", "secrets"),
            ("secretKeyRef", "secrets"),
            ("configMapRef", "configmaps"),
            ("configMapKeyRef", "configmaps"),
        ):
            if source.get(key):
                yield plural, source[key].get("name", "")


class NodeAuthorizer:
    """Allows nodes what is theirs; has no opinion on anybody else."""

    def __init__(self, registry: Registry) -> None:
        self._pods: dict[str, tuple[str, frozenset[Reference]]] = {}
        self._used: defaultdict[str, Counter[Reference]] = defaultdict(Counter)
        self._claims = registry.store("", "persistentvolumeclaims")
        self._store = registry.store("", "pods")
        self._loaded = False
        self._general = RuleSet()
        for rule in NODE_RULES:
            if not USED & set(rule["resources"]):
                self._general.add(rule, "")
        self._store.on_change(self._changed)

    def allows(self, attributes: Attributes) -> str | None:
        node = node_of(attributes.user)
        if node is None or not attributes.is_resource:
            return None
        resource = attributes.resource
        if attributes.group == "" and resource in USED:
            return "" if self._may_use(node, attributes) else None
        if attributes.group == "storage.k8s.io" and resource == "csinodes" and attributes.verb != "create":
            return "" if attributes.name == node else None
        if resource == "leases" and attributes.group == "coordination.k8s.io":
            own = attributes.namespace == "kube-node-lease" and attributes.name in (node, "")
            if not own or (not attributes.name and attributes.verb != "create"):
                return None
        return self._general.allows(attributes)

    def denial(self, attributes: Attributes) -> str:
        node = node_of(attributes.user)
        if node is None or attributes.group or attributes.resource not in USED:
            return ""
        if attributes.verb not in READ_ONE and not attributes.subresource:
            return "can only read resources of this type"
        if not attributes.name:
            return "No Object name found"
        return f"no relationship found between node '{node}' and this object"

    def _may_use(self, node: str, attributes: Attributes) -> bool:
        """Reads of single named objects that a pod of the node refers to; tokens for the accounts of its pods."""
        plural, name = attributes.resource, attributes.name
        if plural == "serviceaccounts" and attributes.subresource == "token":
            if attributes.verb != "create":
                return False
        elif attributes.subresource not in ("", "status") or (
            attributes.verb not in READ_ONE
            and not (attributes.subresource == "status" and plural == "persistentvolumeclaims")
        ):
            return False
        if not name:
            return False
        self._load()
        used = self._used.get(node)
        if not used:
            return False
        if plural == "persistentvolumes":
            return self._bound_to(name) & used.keys() != set()
        return (plural, attributes.namespace, name) in used

    def _bound_to(self, volume: str) -> set[Reference]:
        return {
            ("persistentvolumeclaims", c["metadata"]["namespace"], c["metadata"]["name"])
            for c in self._claims.cached_list()
            if (c.get("spec") or {}).get("volumeName") == volume
        }

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for pod in self._store.cached_list():
                self._changed("ADDED", pod)

    def _changed(self, type_: str, pod: Object) -> None:
        key = f"{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"
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
