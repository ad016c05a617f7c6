"""The FlowSchemas and PriorityLevelConfigurations that every cluster has (upstream: apis/flowcontrol/bootstrap)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apiserver.resources.flow_control import GROUP
from apiserver.resources.validation.flow_control import MANDATORY_LEVELS, MANDATORY_SCHEMAS
from apiserver.types import Object

Spec = dict[str, Any]

API_VERSION = f"{GROUP}/v1"
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
_WRITE = ("get", "create", "update")
_EVERYTHING = ("*",)


def _queue(shares: int, lendable: int, queues: int, hand: int) -> Spec:
    queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": 50}
    response = {"type": "Queue", "queuing": queuing}
    limited = {"nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable}
    return {"type": "Limited", "limited": limited}


LEVELS: dict[str, Spec] = {
    **MANDATORY_LEVELS,
    "system": _queue(30, 33, 64, 6),
    "node-high": _queue(40, 25, 64, 6),
    "leader-election": _queue(10, 0, 16, 4),
    "workload-high": _queue(40, 50, 128, 6),
    "workload-low": _queue(100, 90, 128, 6),
    "global-default": _queue(20, 50, 128, 6),
}


def _groups(*names: str) -> list[Spec]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Spec]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _accounts(*names: str) -> list[Spec]:
    return [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}} for name in names]


def _resources(verbs: tuple[str, ...], groups: tuple[str, ...], *resources: str, cluster: bool = False) -> Spec:
    rule: Spec = {"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources)}
    return rule | ({"clusterScope": True} if cluster else {}) | {"namespaces": ["*"]}


ALL = _resources(_EVERYTHING, _EVERYTHING, "*", cluster=True)
ALL_URLS: Spec = {"verbs": ["*"], "nonResourceURLs": ["*"]}
LEASES = ("coordination.k8s.io",)


def _schema(level: str, precedence: int, method: str, subjects: list[Spec], *rules: Spec) -> Spec:
    spec: Spec = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if method:
        spec["distinguisherMethod"] = {"type": method}
    rule: Spec = {"subjects": subjects}
    if resources := [r for r in rules if "resources" in r]:
        rule["resourceRules"] = resources
    if others := [r for r in rules if "resources" not in r]:
        rule["nonResourceRules"] = others
    return {**spec, "rules": [rule]}


MANAGER, SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"
EVERYBODY = ("system:unauthenticated", "system:authenticated")
SCHEMAS: dict[str, Spec] = {
    **MANDATORY_SCHEMAS,
    "probes": _schema(
        "exempt",
        2,
        "",
        _groups(*EVERYBODY),
        {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]},
    ),
    "system-leader-election": _schema(
        "leader-election",
        100,
        "ByUser",
        [*_users(MANAGER, SCHEDULER), *_accounts("*")],
        _resources(_WRITE, LEASES, "leases"),
    ),
    "endpoint-controller": _schema(
        "workload-high",
        150,
        "ByUser",
        [*_users(MANAGER), *_accounts("endpoint-controller", "endpointslicemirroring-controller")],
        _resources(_WRITE, ("",), "endpoints"),
    ),
    "workload-leader-election": _schema(
        "leader-election",
        200,
        "ByUser",
        _accounts("*"),
        _resources(_WRITE, ("",), "endpoints", "configmaps"),
        _resources(_WRITE, LEASES, "leases"),
    ),
    "system-node-high": _schema(
        "node-high",
        400,
        "ByUser",
        _groups("system:nodes"),
        _resources(_EVERYTHING, ("",), "nodes", "nodes/status", cluster=True),
        _resources(_EVERYTHING, LEASES, "leases"),
    ),
    "system-nodes": _schema("system", 500, "ByUser", _groups("system:nodes"), ALL, ALL_URLS),
    "kube-controller-manager": _schema("workload-high", 800, "ByNamespace", _users(MANAGER), ALL, ALL_URLS),
    "kube-scheduler": _schema("workload-high", 800, "ByNamespace", _users(SCHEDULER), ALL, ALL_URLS),
    "kube-system-service-accounts": _schema("workload-high", 900, "ByNamespace", _accounts("*"), ALL, ALL_URLS),
    "service-accounts": _schema("workload-low", 9000, "ByUser", _groups("system:serviceaccounts"), ALL, ALL_URLS),
    "global-default": _schema("global-default", 9900, "ByUser", _groups(*EVERYBODY), ALL, ALL_URLS),
}


def _object(kind: str, name: str, spec: Spec, status: Spec) -> Object:
    metadata = {"name": name, "generation": 1, "annotations": {AUTOUPDATE: "true"}}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec, "status": status}


def priority_levels() -> Iterator[Object]:
    for name, spec in LEVELS.items():
        yield _object("PriorityLevelConfiguration", name, spec, {})


def flow_schemas(time: str) -> Iterator[Object]:
    for name, spec in SCHEMAS.items():
        level = spec["priorityLevelConfiguration"]["name"]
        found = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" and it exists'
        condition = {
            "type": "Dangling",
            "status": "False",
            "lastTransitionTime": time,
            "reason": "Found",
            "message": found,
        }
        yield _object("FlowSchema", name, spec, {"conditions": [condition]})
