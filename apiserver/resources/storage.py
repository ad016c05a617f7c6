"""The storage.k8s.io group."""

from __future__ import annotations

from apiserver.resources import group_columns as columns
from apiserver.resources import group_defaults as defaults
from apiserver.resources import group_validation as validation
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "storage.k8s.io",
        "v1",
        "csidrivers",
        "CSIDriver",
        "csidriver",
        False,
        KindStrategy(defaults=defaults.default_csi_driver),
        columns.CSI_DRIVER,
        has_generation=True,
    ),
    Resource("storage.k8s.io", "v1", "csinodes", "CSINode", "csinode", False, KindStrategy(), columns.CSI_NODE),
    Resource(
        "storage.k8s.io",
        "v1",
        "csistoragecapacities",
        "CSIStorageCapacity",
        "csistoragecapacity",
        True,
        KindStrategy(),
        columns.CSI_STORAGE_CAPACITY,
    ),
    Resource(
        "storage.k8s.io",
        "v1",
        "storageclasses",
        "StorageClass",
        "storageclass",
        False,
        KindStrategy(
            defaults=defaults.default_storage_class,
            checks=validation.check_storage_class,
            update_checks=validation.check_storage_class_update,
        ),
        columns.STORAGE_CLASS,
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
        columns.VOLUME_ATTACHMENT,
        status=True,
    ),
)
