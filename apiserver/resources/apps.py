"""The apps group: what keeps pods running."""

from __future__ import annotations

from apiserver.resources.columns import NAME_AGE
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource, ScalePaths

ALL = ("all",)

RESOURCES = (
    Resource(
        "apps", "v1", "controllerrevisions", "ControllerRevision", "controllerrevision", True, KindStrategy(), NAME_AGE
    ),
    Resource(
        "apps",
        "v1",
        "daemonsets",
        "DaemonSet",
        "daemonset",
        True,
        KindStrategy(status=True),
        NAME_AGE,
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
        KindStrategy(status=True),
        NAME_AGE,
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
        KindStrategy(status=True),
        NAME_AGE,
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
        KindStrategy(status=True),
        NAME_AGE,
        ("sts",),
        ALL,
        status=True,
        scale=ScalePaths(),
        has_generation=True,
    ),
)
