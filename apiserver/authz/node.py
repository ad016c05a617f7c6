"""The node authorizer: a kubelet reads what the pods on its node need, and nothing else.

One difference from upstream v1.32: a node may read all Nodes. The kubelet keeps the routes to the other nodes' pods
itself, which upstream leaves to a network plugin with an account of its own.
https://kubernetes.io/docs/reference/access-authn-authz/node/
"""

from __future__ import annotations

from apiserver.authz.node_graph import NodeGraph
from apiserver.authz.policy.component_roles import NODE_RULES
from apiserver.authz.rules import RuleSet
from apiserver.types import Attributes, Registry, User
from common.api.selectors import parse_field_selector

NODE_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"
READ = frozenset({"get", "list", "watch"})
WRITE = frozenset({"update", "patch"})
OWN = frozenset({"get", "create", "update", "patch", "delete"})
"""What a node does with its lease and its CSINode."""
NO_PATH = "no relationship found between node '{}' and this object"


def node_of(user: User) -> str | None:
    """The node that a user is, or None. "" for one that does not say which: no node has that name."""
    if NODES_GROUP in user.groups and user.name.startswith(NODE_PREFIX):
        return user.name.removeprefix(NODE_PREFIX)
    return None


class NodeAuthorizer:
    """Allows nodes what is theirs; has no opinion on anybody else."""

    def __init__(self, registry: Registry) -> None:
        self._graph = NodeGraph(registry)
        self._rules = RuleSet()
        for rule in NODE_RULES:
            self._rules.add(rule, "")

    def allows(self, attributes: Attributes) -> str | None:
        node = node_of(attributes.user)
        return "" if node and self._problem(node, attributes) is None else None

    def denial(self, attributes: Attributes) -> str:
        node = node_of(attributes.user)
        if node is None:
            return ""
        return (self._problem(node, attributes) or "") if node else f'unknown node for user "{attributes.user.name}"'

    def _problem(self, node: str, asked: Attributes) -> str | None:
        """Why the node may not; None if it may."""
        if asked.is_resource:
            match asked.group, asked.resource:
                case "", "secrets" | "configmaps":
                    return self._read(node, asked)
                case "", "persistentvolumeclaims" if asked.subresource == "status":
                    if asked.verb not in WRITE:
                        return "can only get/update/patch this type"
                    return self._related(node, asked)
                case ("", "persistentvolumeclaims" | "persistentvolumes") | ("storage.k8s.io", "volumeattachments"):
                    return self._get(node, asked)
                case "", "serviceaccounts":
                    return self._create_token(node, asked)
                case "", "pods" if not asked.subresource and asked.verb in READ:
                    return self._pods(node, asked)
                case "coordination.k8s.io", "leases":
                    return _lease(node, asked)
                case "storage.k8s.io", "csinodes":
                    return _csi_node(node, asked)
        return None if self._rules.allows(asked) is not None else ""

    def _read(self, node: str, asked: Attributes) -> str | None:
        if asked.verb not in READ:
            return "can only read resources of this type"
        if asked.subresource:
            return "cannot read subresource"
        if not asked.namespace:
            return "can only read namespaced object of this type"
        return self._related(node, asked)

    def _get(self, node: str, asked: Attributes) -> str | None:
        if asked.verb != "get":
            return "can only get individual resources of this type"
        return "cannot get subresource" if asked.subresource else self._related(node, asked)

    def _create_token(self, node: str, asked: Attributes) -> str | None:
        if asked.verb != "create" or not asked.name:
            return "can only create tokens for individual service accounts"
        if asked.subresource != "token":
            return "can only create token subresource of serviceaccount"
        return self._related(node, asked)

    def _pods(self, node: str, asked: Attributes) -> str | None:
        """Its own pods: by name, or by a selector that asks for no others (KEP-4601)."""
        if asked.verb == "get":
            return self._get(node, asked)
        if _selects(asked.field_selector, "spec.nodeName", node):
            return None
        if not asked.name:
            return "can only list/watch pods with spec.nodeName field selector"
        return self._related(node, asked)

    def _related(self, node: str, asked: Attributes) -> str | None:
        if not asked.name:
            return "No Object name found"
        found = self._graph.leads_to(node, asked.resource, asked.namespace, asked.name)
        return None if found else NO_PATH.format(node)


def _lease(node: str, asked: Attributes) -> str | None:
    if asked.verb not in OWN:
        return "can only get, create, update, patch, or delete a node lease"
    if asked.namespace != "kube-node-lease":
        return 'can only access leases in the "kube-node-lease" system namespace'
    if asked.verb != "create" and asked.name != node:  # of a create, admission looks at the name
        return "can only access node lease with the same name as the requesting node"
    return None


def _csi_node(node: str, asked: Attributes) -> str | None:
    if asked.verb not in OWN:
        return "can only get, create, update, patch, or delete a CSINode"
    if asked.subresource:
        return "cannot authorize CSINode subresources"
    if asked.verb != "create" and asked.name != node:
        return "can only access CSINode with the same name as the requesting node"
    return None


def _selects(field_selector: str, field: str, value: str) -> bool:
    """Whether only objects with this value of the field are asked for."""
    try:
        return parse_field_selector(field_selector).exact(field) == value
    except ValueError:
        return False
