"""RBAC from the cached Role, ClusterRole and binding objects.

The roles and bindings are indexed by subject when one of them has changed and a question comes; the rules of a user
(their name and groups) are compiled on their first question after that. So the usual question costs two dictionary
look-ups and a few set look-ups, and a change of a role holds for the next question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from apiserver.authz.rules import Rule, RuleSet
from apiserver.types import Attributes, Object, Registry, User
from common.api.selectors import label_selector_from

GROUP = "rbac.authorization.k8s.io"
KINDS = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
MAX_COMPILED_USERS = 4096

Subject = tuple[str, str]
"""("User", name) or ("Group", name); service accounts are the users they authenticate as."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A role given to one subject by one binding. ``namespace`` is "" for the whole cluster."""

    namespace: str
    rules: tuple[Rule, ...]
    reason: str


@dataclass(slots=True)
class Compiled:
    """Everything one user may do."""

    cluster: RuleSet = field(default_factory=RuleSet)
    namespaces: dict[str, RuleSet] = field(default_factory=dict)

    def allows(self, attributes: Attributes) -> str | None:
        reason = self.cluster.allows(attributes)
        if reason is None and attributes.namespace and attributes.is_resource:
            rules = self.namespaces.get(attributes.namespace)
            reason = rules.allows(attributes) if rules else None
        return reason


def rules_of(role: Object, cluster_roles: Collection[Object], above: frozenset[str] = frozenset()) -> tuple[Rule, ...]:
    """A role's rules; those of an aggregated ClusterRole are its own and those of every role its selectors match, which
    may be aggregated itself. ``above`` are the roles that it is asked for.

    Upstream has a controller write them into the role. Computed here they hold at once.
    """
    rules = tuple(role.get("rules") or ())
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    if not selectors:
        return rules
    parsed = [label_selector_from(s) for s in selectors]
    above |= {role["metadata"]["name"]}
    for other in cluster_roles:
        labels = other["metadata"].get("labels") or {}
        if other["metadata"]["name"] not in above and any(s.matches(labels) for s in parsed):
            rules += rules_of(other, cluster_roles, above)
    return rules


def subject_key(subject: Mapping[str, Any], binding_namespace: str) -> Subject | None:
    kind, name = subject.get("kind"), subject.get("name", "")
    if kind == "ServiceAccount":
        return "User", f"system:serviceaccount:{subject.get('namespace') or binding_namespace}:{name}"
    return (kind, name) if kind in ("User", "Group") else None


class RBAC:
    """Answers questions by roles and bindings."""

    def __init__(self, registry: Registry) -> None:
        self._stores = {plural: registry.store(GROUP, plural) for plural in KINDS}
        self._grants: dict[Subject, list[Grant]] = {}
        self._compiled: dict[tuple[str, tuple[str, ...]], Compiled] = {}
        self._stale = True
        for store in self._stores.values():
            store.on_change(self._changed)

    def _changed(self, _type: str, _obj: Object) -> None:
        self._stale = True

    def allows(self, attributes: Attributes) -> str | None:
        """The reason it is allowed, or None when no rule allows it."""
        return self._of(attributes.user).allows(attributes)

    def rules_for(self, user: User, namespace: str) -> list[Rule]:
        """All rules that hold for a user in a namespace ("": the cluster's only)."""
        self._refresh()
        return [rule for grant in self._grants_of(user) if grant.namespace in ("", namespace) for rule in grant.rules]

    def role_rules(self, kind: str, name: str, namespace: str) -> list[Rule] | None:
        """The rules that a roleRef stands for, or None when there is no such role."""
        store = self._stores["roles" if kind == "Role" else "clusterroles"]
        role = store.cached(namespace if kind == "Role" else "", name)
        return None if role is None else list(rules_of(role, self._cluster_roles()))

    def _cluster_roles(self) -> list[Object]:
        return list(self._stores["clusterroles"].cached_list())

    def _of(self, user: User) -> Compiled:
        self._refresh()
        key = (user.name, user.groups)
        compiled = self._compiled.get(key)
        if compiled is None:
            if len(self._compiled) >= MAX_COMPILED_USERS:
                self._compiled.clear()
            compiled = self._compiled[key] = self._compile(user)
        return compiled

    def _compile(self, user: User) -> Compiled:
        compiled = Compiled()
        for grant in self._grants_of(user):
            if grant.namespace:
                rules = compiled.namespaces.setdefault(grant.namespace, RuleSet())
            else:
                rules = compiled.cluster
            for rule in grant.rules:
                # A path belongs to the cluster: a namespace's binding cannot grant it.
                rules.add({**rule, "nonResourceURLs": ()} if grant.namespace else rule, grant.reason)
        return compiled

    def _grants_of(self, user: User) -> Iterator[Grant]:
        for subject in (("User", user.name), *(("Group", group) for group in user.groups)):
            yield from self._grants.get(subject, ())

    def _refresh(self) -> None:
        if not self._stale:
            return
        self._grants = dict(self._index())
        self._compiled.clear()
        self._stale = False

    def _index(self) -> Mapping[Subject, list[Grant]]:
        cluster_roles = self._cluster_roles()
        resolved = {r["metadata"]["name"]: rules_of(r, cluster_roles) for r in cluster_roles}
        local = {
            (r["metadata"]["namespace"], r["metadata"]["name"]): tuple(r.get("rules") or ())
            for r in self._stores["roles"].cached_list()
        }
        grants: defaultdict[Subject, list[Grant]] = defaultdict(list)
        for plural in ("clusterrolebindings", "rolebindings"):
            for binding in self._stores[plural].cached_list():
                namespace = binding["metadata"].get("namespace", "")
                ref = binding["roleRef"]
                rules = local.get((namespace, ref["name"])) if ref["kind"] == "Role" else resolved.get(ref["name"])
                if not rules:
                    continue
                for subject in binding.get("subjects") or ():
                    if key := subject_key(subject, namespace):
                        grants[key].append(Grant(namespace, rules, _reason(binding, namespace, subject)))
        return grants


def _reason(binding: Object, namespace: str, subject: Mapping[str, Any]) -> str:
    name, ref = binding["metadata"]["name"], binding["roleRef"]
    what = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
    who = subject["name"]
    if subject["kind"] == "ServiceAccount":
        who = f"{who}/{subject.get('namespace') or namespace}"
    return f'RBAC: allowed by {what} of {ref["kind"]} "{ref["name"]}" to {subject["kind"]} "{who}"'
