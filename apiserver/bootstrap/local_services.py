"""An APIService for each group version that this server serves itself (upstream: the aggregator's auto-registration).

They say in which order groups are discovered, and ``kubectl get apiservices`` shows them as Local. The group of the
APIServices is not among them.
"""

from __future__ import annotations

from collections.abc import Iterable

from apiserver.resources.group_defaults import prepare_api_service
from apiserver.resources.priorities import AGGREGATOR, priority
from apiserver.resources.table import RESOURCES
from apiserver.types import Object

GROUP = AGGREGATOR
AUTO_MANAGED = "kube-aggregator.kubernetes.io/automanaged"


def api_services() -> Iterable[Object]:
    served = dict.fromkeys((r.group, r.version) for r in RESOURCES if r.group != GROUP)
    return [api_service(group, version) for group, version in served]


def api_service(group: str, version: str) -> Object:
    minimum, own = priority(group, version)
    spec: Object = {"version": version, "groupPriorityMinimum": minimum, "versionPriority": own}
    if group:
        spec["group"] = group
    made: Object = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {AUTO_MANAGED: "onstart"}},
        "spec": spec,
    }
    prepare_api_service(made)
    return made
