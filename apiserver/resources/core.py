"""The core group (``/api/v1``), except pods, which have a package of their own."""

from __future__ import annotations

from apiserver.resources.columns import CREATED_AT, NAME, NAME_AGE
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource, ScalePaths

ALL = ("all",)

RESOURCES = (
    Resource("", "v1", "bindings", "Binding", "binding", True, KindStrategy(), verbs=("create",)),
    Resource("", "v1", "configmaps", "ConfigMap", "configmap", True, KindStrategy(), NAME_AGE, ("cm",)),
    Resource("", "v1", "endpoints", "Endpoints", "endpoints", True, KindStrategy(), NAME_AGE, ("ep",)),
    Resource("", "v1", "events", "Event", "event", True, KindStrategy(), NAME_AGE, ("ev",)),
    Resource(
        "", "v1", "limitranges", "LimitRange", "limitrange", True, KindStrategy(), (NAME, CREATED_AT), ("limits",)
    ),
    Resource("", "v1", "namespaces", "Namespace", "namespace", False, KindStrategy(), NAME_AGE, ("ns",), status=True),
    Resource("", "v1", "nodes", "Node", "node", False, KindStrategy(status=True), NAME_AGE, ("no",), status=True),
    Resource(
        "",
        "v1",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        "persistentvolumeclaim",
        True,
        KindStrategy(status=True),
        NAME_AGE,
        ("pvc",),
        status=True,
    ),
    Resource(
        "",
        "v1",
        "persistentvolumes",
        "PersistentVolume",
        "persistentvolume",
        False,
        KindStrategy(status=True),
        NAME_AGE,
        ("pv",),
        status=True,
    ),
    Resource(
        "",
        "v1",
        "pods",
        "Pod",
        "pod",
        True,
        KindStrategy(status=True),
        NAME_AGE,
        ("po",),
        ALL,
        status=True,
        has_generation=False,
        graceful=True,
    ),
    Resource("", "v1", "podtemplates", "PodTemplate", "podtemplate", True, KindStrategy(), NAME_AGE),
    Resource(
        "",
        "v1",
        "replicationcontrollers",
        "ReplicationController",
        "replicationcontroller",
        True,
        KindStrategy(status=True),
        NAME_AGE,
        ("rc",),
        ALL,
        status=True,
        scale=ScalePaths(),
        has_generation=True,
    ),
    Resource(
        "",
        "v1",
        "resourcequotas",
        "ResourceQuota",
        "resourcequota",
        True,
        KindStrategy(status=True),
        NAME_AGE,
        ("quota",),
        status=True,
    ),
    Resource("", "v1", "secrets", "Secret", "secret", True, KindStrategy(), NAME_AGE),
    Resource("", "v1", "serviceaccounts", "ServiceAccount", "serviceaccount", True, KindStrategy(), NAME_AGE, ("sa",)),
    Resource(
        "",
        "v1",
        "services",
        "Service",
        "service",
        True,
        KindStrategy(status=True),
        NAME_AGE,
        ("svc",),
        ALL,
        status=True,
    ),
)
