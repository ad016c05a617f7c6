"""What one object counts for in a quota, by the quota's names of resources. Pure functions.

https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

from apiserver.admission.limit_ranger import pod_total
from apiserver.types import Object
from common.api.quantity import parse_quantity

Usage = dict[str, Decimal]

PLAIN = frozenset(
    {"pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas"}
)
"""Core resources that a quota counts by their plain names."""
COMPUTE = ("cpu", "memory", "ephemeral-storage")


def usage_of(group: str, plural: str, obj: Object | None) -> Usage:
    """Nothing for no object, and for a pod that has ended."""
    if obj is None or (group == "" and plural == "pods" and not _counts(obj)):
        return {}
    usage: Usage = {f"count/{plural}.{group}" if group else f"count/{plural}": Decimal(1)}
    if group:
        return usage
    if plural in PLAIN:
        usage[plural] = Decimal(1)
    if plural == "pods":
        usage |= _pod(obj)
    elif plural == "services":
        usage |= _service(obj)
    elif plural == "persistentvolumeclaims":
        usage |= _claim(obj)
    return usage


def _counts(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _pod(pod: Object) -> Usage:
    spec = pod.get("spec") or {}
    usage: Usage = {}
    for name, value in pod_total(spec, "requests").items():
        amount = parse_quantity(value).amount
        usage[f"requests.{name}"] = amount
        if name in COMPUTE:
            usage[name] = amount
    for name, value in pod_total(spec, "limits").items():
        usage[f"limits.{name}"] = parse_quantity(value).amount
    return usage


def _service(service: Object) -> Usage:
    spec = service.get("spec") or {}
    kind, ports = spec.get("type"), len(spec.get("ports") or ())
    if kind == "NodePort":
        return {"services.nodeports": Decimal(ports)}
    if kind == "LoadBalancer":
        allocates = spec.get("allocateLoadBalancerNodePorts") is not False
        return {"services.loadbalancers": Decimal(1), "services.nodeports": Decimal(ports if allocates else 0)}
    return {}


def _claim(claim: Object) -> Usage:
    spec = claim.get("spec") or {}
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        return {}
    amount = parse_quantity(storage).amount
    usage = {"requests.storage": amount}
    if name := spec.get("storageClassName"):
        prefix = f"{name}.storageclass.storage.k8s.io"
        usage |= {f"{prefix}/requests.storage": amount, f"{prefix}/persistentvolumeclaims": Decimal(1)}
    return usage


def total(usages: Iterable[Usage]) -> Usage:
    summed: defaultdict[str, Decimal] = defaultdict(Decimal)
    for usage in usages:
        for name, amount in usage.items():
            summed[name] += amount
    return dict(summed)


def in_scope(quota: Object, plural: str, obj: Object) -> bool:
    """Whether a quota is about this object: scopes choose among pods only."""
    spec = quota.get("spec") or {}
    scopes = [(scope, "Exists", ()) for scope in spec.get("scopes") or ()]
    for expression in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        scopes.append((expression["scopeName"], expression["operator"], tuple(expression.get("values") or ())))
    if not scopes:
        return True
    return plural == "pods" and all(_matches(scope, operator, values, obj) for scope, operator, values in scopes)


def _matches(scope: str, operator: str, values: tuple[str, ...], pod: Object) -> bool:
    spec = pod.get("spec") or {}
    match scope:
        case "Terminating":
            return (spec.get("activeDeadlineSeconds") or -1) >= 0
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return _best_effort(spec)
        case "NotBestEffort":
            return not _best_effort(spec)
        case "PriorityClass":
            name = spec.get("priorityClassName")
            present = {"Exists": bool(name), "DoesNotExist": not name, "In": name in values}
            return present.get(operator, name not in values)
        case "CrossNamespacePodAffinity":
            return _reaches_out(spec)
    return False


def _reaches_out(spec: Object) -> bool:
    """Whether a pod wants to be near, or far from, pods of other namespaces (KEP-2249)."""
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [term.get("podAffinityTerm") or {} for term in preferred]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


def _best_effort(spec: Object) -> bool:
    resources = (pod_total(spec, "requests"), pod_total(spec, "limits"))
    return not any(name in found for found in resources for name in ("cpu", "memory"))


def missing(hard: Mapping[str, object], spec: Object) -> list[str]:
    """Which compute resources of the quota a pod's containers do not state: ``limits.cpu for: a,b``."""
    found = []
    for name in sorted(hard):
        field, _, resource = name.rpartition(".")
        field = field or "requests"
        if resource not in COMPUTE or field not in ("requests", "limits"):
            continue
        silent = [
            c["name"]
            for key in ("containers", "initContainers")
            for c in spec.get(key) or ()
            if resource not in ((c.get("resources") or {}).get(field) or {})
        ]
        if silent:
            found.append(f"{name} for: {','.join(sorted(silent))}")
    return found
