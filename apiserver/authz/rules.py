"""RBAC rules compiled for one user, so that a decision is a few set look-ups.

A rule grants the product of its verbs, groups and resources; compiled, it is that product as a set of triples, with
``*`` kept as itself. A question then tries the few combinations of the asked values and ``*``.
https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from apiserver.types import Attributes

Rule = Mapping[str, Any]
Triple = tuple[str, str, str]

ALL = "*"


@dataclass(slots=True)
class RuleSet:
    """What rules of one scope (the cluster, or one namespace) grant, each with the reason to give."""

    plain: dict[Triple, str] = field(default_factory=dict)
    named: dict[Triple, dict[str, str]] = field(default_factory=dict)
    paths: dict[tuple[str, str], str] = field(default_factory=dict)
    prefixes: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, rule: Rule, reason: str) -> None:
        names = rule.get("resourceNames") or ()
        triples = product(rule.get("verbs") or (), rule.get("apiGroups") or (), rule.get("resources") or ())
        for triple in triples:
            if not names:
                self.plain.setdefault(triple, reason)
            for name in names:
                self.named.setdefault(triple, {}).setdefault(name, reason)
        for verb, path in product(rule.get("verbs") or (), rule.get("nonResourceURLs") or ()):
            if path == ALL or path.endswith("*"):
                self.prefixes.append((verb, path[:-1], reason))
            else:
                self.paths.setdefault((verb, path), reason)

    def allows(self, attributes: Attributes) -> str | None:
        """The reason it is allowed, or None."""
        if not attributes.is_resource:
            return self._allows_path(attributes.verb, attributes.path)
        for triple in _candidates(attributes):
            if triple in self.plain:
                return self.plain[triple]
            if attributes.name and triple in self.named and attributes.name in self.named[triple]:
                return self.named[triple][attributes.name]
        return None

    def _allows_path(self, verb: str, path: str) -> str | None:
        for candidate in (verb, ALL):
            if (candidate, path) in self.paths:
                return self.paths[candidate, path]
        for granted, prefix, reason in self.prefixes:
            if granted in (verb, ALL) and path.startswith(prefix):
                return reason
        return None


def _candidates(attributes: Attributes) -> Iterator[Triple]:
    if attributes.subresource:
        resources: tuple[str, ...] = (
            f"{attributes.resource}/{attributes.subresource}",
            ALL,
            f"*/{attributes.subresource}",
        )
    else:
        resources = (attributes.resource, ALL)
    return product((attributes.verb, ALL), (attributes.group, ALL), resources)


# ---- escalation: does one set of rules cover another? -------------------------------------------------------------


def covers(owned: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """Those simple rules of ``wanted`` that ``owned`` does not grant (upstream: validation.Covers)."""
    owned = list(owned)
    return [simple for rule in wanted for simple in breakdown(rule) if not any(_covers(o, simple) for o in owned)]


def breakdown(rule: Rule) -> Iterator[Rule]:
    """A rule as rules of one verb, one group, one resource (and one name) or one path each."""
    verbs = rule.get("verbs") or ()
    for group, resource, verb in product(rule.get("apiGroups") or (), rule.get("resources") or (), verbs):
        simple = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
        names = rule.get("resourceNames") or ()
        if not names:
            yield simple
        for name in names:
            yield simple | {"resourceNames": [name]}
    for path, verb in product(rule.get("nonResourceURLs") or (), verbs):
        yield {"nonResourceURLs": [path], "verbs": [verb]}


def _covers(owner: Rule, sub: Rule) -> bool:
    if not _has(owner.get("verbs"), sub["verbs"][0]):
        return False
    if sub.get("nonResourceURLs"):
        path = sub["nonResourceURLs"][0]
        return any(
            o == path or (o.endswith("*") and path.startswith(o[:-1])) for o in owner.get("nonResourceURLs") or ()
        )
    if not _has(owner.get("apiGroups"), sub["apiGroups"][0]):
        return False
    names = owner.get("resourceNames") or ()
    if names and (not sub.get("resourceNames") or sub["resourceNames"][0] not in names):
        return False
    resource = sub["resources"][0]
    _, slash, subresource = resource.partition("/")
    owned = owner.get("resources") or ()
    return _has(owned, resource) or bool(slash and f"*/{subresource}" in owned)


def _has(values: Iterable[str] | None, value: str) -> bool:
    values = values or ()
    return ALL in values or value in values


def compact_string(rule: Rule) -> str:
    """A rule as upstream prints it: ``{APIGroups:[""], Resources:["pods"], Verbs:["get"]}``."""
    shown = []
    for key, label in (
        ("apiGroups", "APIGroups"),
        ("resources", "Resources"),
        ("nonResourceURLs", "NonResourceURLs"),
        ("resourceNames", "ResourceNames"),
        ("verbs", "Verbs"),
    ):
        if values := rule.get(key):
            shown.append(f"{label}:[{' '.join(_quoted(v) for v in values)}]")
    return "{" + ", ".join(shown) + "}"


def _quoted(value: str) -> str:
    return f'"{value}"'


def compact(rules: Iterable[Rule]) -> list[Rule]:
    """Simple rules with the same group, resource and name put together: their verbs in one rule."""
    merged: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    keys = ("apiGroups", "resources", "nonResourceURLs", "resourceNames")
    for rule in rules:
        verbs = merged.setdefault(tuple(tuple(rule.get(key) or ()) for key in keys), [])
        verbs += [verb for verb in rule["verbs"] if verb not in verbs]
    return [
        {key: list(values) for key, values in zip(keys, identity, strict=True) if values} | {"verbs": verbs}
        for identity, verbs in merged.items()
    ]
