"""The storage.k8s.io group."""

from __future__ import annotations

from apiserver.resources.columns import NAME_AGE
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource

RESOURCES = (
    Resource("storage.k8s.io", "v1", "csidrivers", "CSIDriver", "csidriver", False, KindStrategy(), NAME_AGE),
    Resource("storage.k8s.io", "v1", "csinodes", "CSINode", "csinode", False, KindStrategy(), NAME_AGE),
    Resource(
        "storage.k8s.io",
        "v1",
        "csistoragecapacities",
        "CSIStorageCapacity",
        "csistoragecapacity",
        True,
        KindStrategy(),
        NAME_AGE,
    ),
    Resource(
        "storage.k8s.io",
        "v1",
        "storageclasses",
        "StorageClass",
        "storageclass",
        False,
        KindStrategy(),
        NAME_AGE,
        ("sc",),
    ),
    Resource(
        "storage.k8s.io",
        "v1",
        "volumeattachments",
        "VolumeAttachment",
        "volumeattachment",
        False,
        KindStrategy(status=True),
        NAME_AGE,
        status=True,
    ),
)
