"""The flowcontrol.apiserver.k8s.io group: how upstream's server shares itself among its clients.

Here they are objects that clients read and write; what bounds this server's requests is ``apiserver.limits``.
https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
"""

from __future__ import annotations

from typing import Any

from apiserver.resources.columns import AGE, NAME, NONE, cell, dig, text
from apiserver.resources.strategy import KindStrategy
from apiserver.resources.validation import flow_control as validation
from apiserver.types import Object, Resource

GROUP = "flowcontrol.apiserver.k8s.io"
UNKNOWN = "?"
_QUEUING = {"handSize": 8, "queues": 64, "queueLengthLimit": 50}


def default_flow_schema(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def default_priority_level(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if (exempt := spec.get("exempt")) is not None:
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    if (limited := spec.get("limited")) is None:
        return
    limited.setdefault("nominalConcurrencyShares", 30)
    limited.setdefault("lendablePercent", 0)
    queuing = (limited.get("limitResponse") or {}).get("queuing")
    if queuing is None:
        return
    for name, value in _QUEUING.items():
        if not queuing.get(name):
            queuing[name] = value


def _missing(schema: Object) -> str:
    for condition in dig(schema, "status", "conditions") or ():
        if condition.get("type") == "Dangling":
            return str(condition.get("status"))
    return UNKNOWN


FLOW_SCHEMA = (
    NAME,
    text("PriorityLevel", "spec", "priorityLevelConfiguration", "name"),
    cell("MatchingPrecedence", lambda o: dig(o, "spec", "matchingPrecedence") or 0),
    text("DistinguisherMethod", "spec", "distinguisherMethod", "type", empty=NONE),
    AGE,
    cell("MissingPL", _missing),
)


def _shares(level: Object) -> Any:
    part = dig(level, "spec", "exempt") or dig(level, "spec", "limited")
    return NONE if part is None else part.get("nominalConcurrencyShares", NONE)


def _queuing(field: str) -> Any:
    def shown(level: Object) -> Any:
        value = dig(level, "spec", "limited", "limitResponse", "queuing", field)
        return NONE if value is None else value

    return shown


PRIORITY_LEVEL = (
    NAME,
    text("Type", "spec", "type"),
    cell("NominalConcurrencyShares", _shares),
    cell("Queues", _queuing("queues")),
    cell("HandSize", _queuing("handSize")),
    cell("QueueLengthLimit", _queuing("queueLengthLimit")),
    AGE,
)

RESOURCES = (
    Resource(
        GROUP,
        "v1",
        "flowschemas",
        "FlowSchema",
        "flowschema",
        False,
        KindStrategy(
            status=True,
            defaults=default_flow_schema,
            checks=validation.check_flow_schema,
            status_update=validation.check_status,
        ),
        FLOW_SCHEMA,
        status=True,
        has_generation=True,
    ),
    Resource(
        GROUP,
        "v1",
        "prioritylevelconfigurations",
        "PriorityLevelConfiguration",
        "prioritylevelconfiguration",
        False,
        KindStrategy(
            status=True,
            defaults=default_priority_level,
            checks=validation.check_priority_level,
            status_update=validation.check_status,
        ),
        PRIORITY_LEVEL,
        status=True,
        has_generation=True,
    ),
)
