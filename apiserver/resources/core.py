"""The core group (``/api/v1``)."""

from __future__ import annotations

from collections.abc import Callable

from apiserver.resources import (
    claims,
    core_events,
    core_nodes,
    core_policy,
    core_volumes,
    replication,
    services,
    workload_columns,
)
from apiserver.resources import core_columns as columns
from apiserver.resources import core_defaults as defaults
from apiserver.resources import core_validation as validation
from apiserver.resources.columns import CREATED_AT, NAME, dig
from apiserver.resources.pods.columns import COLUMNS as POD_COLUMNS
from apiserver.resources.pods.columns import row_conditions as pod_row_conditions
from apiserver.resources.pods.strategy import POD
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Object, Resource, ScalePaths
from common.api.names import is_dns1035_label, is_dns1123_label

ALL = ("all",)


def field(*path: str) -> Callable[[Object], str]:
    """A selectable field: the text at a path."""
    return lambda obj: str(dig(obj, *path) or "")


def flag(*path: str) -> Callable[[Object], str]:
    return lambda obj: "true" if dig(obj, *path) else "false"


def number(*path: str) -> Callable[[Object], str]:
    return lambda obj: str(dig(obj, *path) or 0)


_ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
EVENT_FIELDS = {
    **{f"involvedObject.{name}": field("involvedObject", name) for name in _ABOUT},
    "reason": field("reason"),
    "reportingComponent": field("reportingComponent"),
    "source": lambda obj: dig(obj, "source", "component") or obj.get("reportingComponent") or "",
    "type": field("type"),
}
BY_NAME = {"name": field("metadata", "name")}
"""Upstream keeps this field of three kinds for clients of long ago."""
POD_FIELDS = {
    "spec.nodeName": field("spec", "nodeName"),
    "spec.restartPolicy": field("spec", "restartPolicy"),
    "spec.schedulerName": field("spec", "schedulerName"),
    "spec.serviceAccountName": field("spec", "serviceAccountName"),
    "spec.hostNetwork": flag("spec", "hostNetwork"),
    "status.phase": field("status", "phase"),
    "status.podIP": field("status", "podIP"),
    "status.nominatedNodeName": field("status", "nominatedNodeName"),
}

RESOURCES = (
    Resource("", "v1", "bindings", "Binding", "binding", True, KindStrategy(), verbs=("create",)),
    Resource(
        "",
        "v1",
        "componentstatuses",
        "ComponentStatus",
        "componentstatus",
        False,
        KindStrategy(),
        columns.COMPONENT_STATUS,
        ("cs",),
        verbs=("get", "list"),
    ),
    Resource(
        "",
        "v1",
        "configmaps",
        "ConfigMap",
        "configmap",
        True,
        KindStrategy(checks=validation.check_config_map, update=validation.check_config_map_update),
        columns.CONFIG_MAP,
        ("cm",),
    ),
    Resource(
        "",
        "v1",
        "endpoints",
        "Endpoints",
        "endpoints",
        True,
        KindStrategy(defaults=defaults.default_endpoints, checks=validation.check_endpoints),
        columns.ENDPOINTS,
        ("ep",),
        create_on_update=True,
    ),
    Resource(
        "",
        "v1",
        "events",
        "Event",
        "event",
        True,
        KindStrategy(defaults=core_events.default_event, checks=core_events.check_event),
        columns.EVENT,
        ("ev",),
        selectable_fields=EVENT_FIELDS,
        create_on_update=True,
        has_dependents=False,
    ),
    Resource(
        "",
        "v1",
        "limitranges",
        "LimitRange",
        "limitrange",
        True,
        KindStrategy(defaults=core_policy.default_limit_range, checks=core_policy.check_limit_range),
        (NAME, CREATED_AT),
        ("limits",),
        create_on_update=True,
    ),
    Resource(
        "",
        "v1",
        "namespaces",
        "Namespace",
        "namespace",
        False,
        KindStrategy(
            status=True,
            defaults=defaults.default_namespace,
            on_create=defaults.prepare_namespace,
            on_update=defaults.keep_namespace,
            checks=validation.check_namespace,
            update=validation.check_namespace_update,
            status_update=validation.check_namespace_status,
            parts={"finalize": validation.check_namespace_finalizers},
        ),
        columns.NAMESPACE,
        ("ns",),
        verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
        status=True,
        selectable_fields={**BY_NAME, "status.phase": field("status", "phase")},
        name_validation=is_dns1123_label,
    ),
    Resource(
        "",
        "v1",
        "nodes",
        "Node",
        "node",
        False,
        KindStrategy(
            status=False,
            defaults=core_nodes.default_node,
            on_create=core_nodes.prepare_node,
            on_update=core_nodes.keep_node,
            checks=core_nodes.check_node,
            update=core_nodes.check_node_update,
            status_update=core_nodes.check_node_update,
        ),
        columns.NODE,
        ("no",),
        status=True,
        selectable_fields={"spec.unschedulable": flag("spec", "unschedulable")},
    ),
    Resource(
        "",
        "v1",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        "persistentvolumeclaim",
        True,
        KindStrategy(
            status=True,
            zero_status={"phase": "Pending"},
            defaults=claims.default_claim,
            on_create=claims.prepare_claim,
            on_update=claims.keep_claim,
            checks=claims.check_claim,
            update=claims.check_claim_update,
            status_update=claims.check_claim_status,
            warn=claims.claim_warnings,
        ),
        columns.PERSISTENT_VOLUME_CLAIM,
        ("pvc",),
        status=True,
        selectable_fields=BY_NAME,
    ),
    Resource(
        "",
        "v1",
        "persistentvolumes",
        "PersistentVolume",
        "persistentvolume",
        False,
        KindStrategy(
            status=True,
            defaults=core_volumes.default_volume,
            on_create=core_volumes.prepare_volume,
            on_update=core_volumes.keep_volume,
            checks=core_volumes.check_volume,
            update=core_volumes.check_volume_update,
            status_update=lambda obj, old: [],
            warn=core_volumes.volume_warnings,
        ),
        columns.PERSISTENT_VOLUME,
        ("pv",),
        status=True,
        selectable_fields=BY_NAME,
    ),
    Resource(
        "",
        "v1",
        "pods",
        "Pod",
        "pod",
        True,
        POD,
        POD_COLUMNS,
        ("po",),
        ALL,
        status=True,
        graceful=True,
        selectable_fields=POD_FIELDS,
        renamed_fields={"spec.host": "spec.nodeName"},  # of clients of long ago
        row_conditions=pod_row_conditions,
    ),
    Resource(
        "",
        "v1",
        "podtemplates",
        "PodTemplate",
        "podtemplate",
        True,
        replication.POD_TEMPLATE,
        workload_columns.POD_TEMPLATE,
    ),
    Resource(
        "",
        "v1",
        "replicationcontrollers",
        "ReplicationController",
        "replicationcontroller",
        True,
        replication.REPLICATION_CONTROLLER,
        workload_columns.REPLICATION_CONTROLLER,
        ("rc",),
        ALL,
        status=True,
        scale=ScalePaths(),
        has_generation=True,
        selectable_fields={"status.replicas": number("status", "replicas")},
        orphans_dependents=True,
    ),
    Resource(
        "",
        "v1",
        "resourcequotas",
        "ResourceQuota",
        "resourcequota",
        True,
        KindStrategy(
            status=True,
            defaults=core_policy.default_resource_quota,
            checks=core_policy.check_resource_quota,
            update=core_policy.check_resource_quota_update,
            status_update=core_policy.check_resource_quota_status,
        ),
        columns.RESOURCE_QUOTA,
        ("quota",),
        status=True,
    ),
    Resource(
        "",
        "v1",
        "secrets",
        "Secret",
        "secret",
        True,
        KindStrategy(
            defaults=defaults.default_secret,
            checks=validation.check_secret,
            update=validation.check_secret_update,
        ),
        columns.SECRET,
        selectable_fields={"type": field("type")},
    ),
    Resource(
        "",
        "v1",
        "serviceaccounts",
        "ServiceAccount",
        "serviceaccount",
        True,
        KindStrategy(),
        columns.SERVICE_ACCOUNT,
        ("sa",),
    ),
    Resource(
        "",
        "v1",
        "services",
        "Service",
        "service",
        True,
        services.SERVICE,
        columns.SERVICE,
        ("svc",),
        ALL,
        status=True,
        name_validation=is_dns1035_label,
        selectable_fields={"spec.clusterIP": field("spec", "clusterIP"), "spec.type": field("spec", "type")},
        create_on_update=True,
    ),
)
