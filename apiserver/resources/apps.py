"""The apps group: what keeps pods running."""

from __future__ import annotations

from apiserver.resources import warnings
from apiserver.resources import workload_columns as columns
from apiserver.resources import workload_defaults as defaults
from apiserver.resources.strategy import KindStrategy
from apiserver.resources.validation import apps as validation
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
        KindStrategy(checks=validation.check_controller_revision, update=validation.check_controller_revision_update),
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
            zero_status=dict.fromkeys(
                ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"), 0
            ),
            defaults=defaults.default_daemon_set,
            on_create=defaults.prepare_daemon_set,
            on_update=defaults.keep_template_generation,
            checks=validation.check_daemon_set,
            update_checks=validation.check_selector_update,
            status_update=validation.check_daemon_set_status,
            warn=warnings.warn_template,
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
            on_update=defaults.prepare_deployment_update,
            checks=validation.check_deployment,
            update_checks=validation.check_selector_update,
            status_update=validation.check_deployment_status,
            warn=warnings.warn_deployment,
            warn_update=warnings.warn_template,
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
            zero_status={"replicas": 0},
            defaults=defaults.default_replica_set,
            checks=validation.check_replica_set,
            update_checks=validation.check_selector_update,
            status_update=validation.check_replica_set_status,
            warn=warnings.warn_deployment,
            warn_update=warnings.warn_template,
        ),
        columns.REPLICA_SET,
        ("rs",),
        ALL,
        status=True,
        scale=ScalePaths(),
        has_generation=True,
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
            zero_status={"replicas": 0, "availableReplicas": 0},
            defaults=defaults.default_stateful_set,
            checks=validation.check_stateful_set,
            update=validation.check_stateful_set_update,
            status_update=validation.check_stateful_set_status,
            warn=warnings.warn_stateful_set,
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
