"""The apps group: what keeps pods running."""

from __future__ import annotations

from apiserver.resources import workload_columns as columns
from apiserver.resources import workload_defaults as defaults
from apiserver.resources import workload_validation as validation
from apiserver.resources.columns import dig
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource, ScalePaths
from common.api.names import is_dns1123_label

ALL = ("all",)

RESOURCES = (
    Resource(
        "apps",
        "v1",
        "controllerrevisions",
        "ControllerRevision",
        "controllerrevision",
        True,
        KindStrategy(
            checks=validation.check_controller_revision, update_checks=validation.check_controller_revision_update
        ),
        columns.CONTROLLER_REVISION,
    ),
    Resource(
        "apps",
        "v1",
        "daemonsets",
        "DaemonSet",
        "daemonset",
        True,
        KindStrategy(
            status=True,
            defaults=defaults.default_daemon_set,
            checks=validation.check_daemon_set,
            update_checks=validation.check_selector_update,
        ),
        columns.DAEMON_SET,
        ("ds",),
        ALL,
        status=True,
        has_generation=True,
    ),
    Resource(
        "apps",
        "v1",
        "deployments",
        "Deployment",
        "deployment",
        True,
        KindStrategy(
            status=True,
            defaults=defaults.default_deployment,
            checks=validation.check_deployment,
            update_checks=validation.check_selector_update,
        ),
        columns.DEPLOYMENT,
        ("deploy",),
        ALL,
        status=True,
        scale=ScalePaths(),
        has_generation=True,
    ),
    Resource(
        "apps",
        "v1",
        "replicasets",
        "ReplicaSet",
        "replicaset",
        True,
        KindStrategy(
            status=True,
            defaults=defaults.default_replica_set,
            checks=validation.check_replica_set,
            update_checks=validation.check_selector_update,
        ),
        columns.REPLICA_SET,
        ("rs",),
        ALL,
        status=True,
        scale=ScalePaths(),
        has_generation=True,
        selectable_fields={"status.replicas": lambda obj: str(dig(obj, "status", "replicas") or 0)},
    ),
    Resource(
        "apps",
        "v1",
        "statefulsets",
        "StatefulSet",
        "statefulset",
        True,
        KindStrategy(
            status=True,
            defaults=defaults.default_stateful_set,
            checks=validation.check_stateful_set,
            update_checks=validation.check_stateful_set_update,
        ),
        columns.STATEFUL_SET,
        ("sts",),
        ALL,
        status=True,
        scale=ScalePaths(),
        has_generation=True,
        name_validation=is_dns1123_label,
    ),
)
