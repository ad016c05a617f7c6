"""Roles and their bindings (upstream: pkg/apis/rbac/validation). Escalation is asked by the admission chain."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, label_selector, texts
from apiserver.resources.validation.formats import go_struct, path_segment
from apiserver.types import Object
from common.api.names import is_dns1123_subdomain
from common.api.status import invalid_value, not_supported, required

Spec = dict[str, Any]

RBAC_GROUP = "rbac.authorization.k8s.io"


def check_role(obj: Object) -> Errors:
    return _rules(obj, namespaced=True)


def check_cluster_role(obj: Object) -> Errors:
    return _rules(obj, namespaced=False) + _aggregation(obj.get("aggregationRule"))


def _rules(obj: Object, *, namespaced: bool) -> Errors:
    return [e for i, rule in enumerate(obj.get("rules") or ()) for e in _rule(rule, f"rules[{i}]", namespaced)]


def _rule(rule: Spec, path: str, namespaced: bool) -> Errors:
    errors: Errors = []
    if not rule.get("verbs"):
        errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    if urls := rule.get("nonResourceURLs"):
        at = f"{path}.nonResourceURLs"
        if namespaced:
            errors.append(invalid_value(at, urls, "namespaced rules cannot apply to non-resource URLs"))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(invalid_value(at, urls, detail))
        return errors
    if not rule.get("apiGroups"):
        errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def _aggregation(aggregation: Spec | None) -> Errors:
    if aggregation is None:
        return []
    path, selectors = "aggregationRule.clusterRoleSelectors", aggregation.get("clusterRoleSelectors") or ()
    if not selectors:
        return [required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")]
    errors: Errors = []
    for i, selector in enumerate(selectors):
        if problems := label_selector(selector, f"{path}[{i}]"):
            errors += [*problems, invalid_value(f"{path}[{i}]", None, "invalid label selector.")]
    return errors


def check_role_binding(obj: Object) -> Errors:
    return _binding(obj, ("Role", "ClusterRole"), namespaced=True)


def check_cluster_role_binding(obj: Object) -> Errors:
    return _binding(obj, ("ClusterRole",), namespaced=False)


def _binding(obj: Object, kinds: tuple[str, ...], *, namespaced: bool) -> Errors:
    ref = obj.get("roleRef") or {}
    group, kind, name = (ref.get(field) or "" for field in ("apiGroup", "kind", "name"))
    errors: Errors = []
    if group != RBAC_GROUP:
        errors.append(not_supported("roleRef.apiGroup", group, (RBAC_GROUP,)))
    if kind not in kinds:
        errors.append(not_supported("roleRef.kind", kind, kinds))
    errors += texts("roleRef.name", name, path_segment(name)) if name else [required("roleRef.name")]
    for i, subject in enumerate(obj.get("subjects") or ()):
        errors += _subject(subject, f"subjects[{i}]", namespaced)
    return errors


def _subject(subject: Spec, path: str, namespaced: bool) -> Errors:
    kind, group, name = (subject.get(field) or "" for field in ("kind", "apiGroup", "name"))
    errors: Errors = [] if name else [required(f"{path}.name")]
    if kind == "ServiceAccount":
        if name:
            errors += texts(f"{path}.name", name, is_dns1123_subdomain(name))
        if group:
            errors.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != RBAC_GROUP:
            errors.append(not_supported(f"{path}.apiGroup", group, (RBAC_GROUP,)))
    else:
        errors.append(not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return errors


def check_binding_update(obj: Object, old: Object, subresource: str) -> Errors:
    ref = obj.get("roleRef") or {}
    if ref == old.get("roleRef"):
        return []
    shown = go_struct("rbac.RoleRef", ref, ("apiGroup", "kind", "name"))
    return [invalid_value("roleRef", shown, "cannot change roleRef")]
