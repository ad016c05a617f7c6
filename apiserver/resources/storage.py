"""The storage.k8s.io group."""

from __future__ import annotations

from apiserver.resources import group_columns as columns
from apiserver.resources import group_defaults as defaults
from apiserver.resources import warnings
from apiserver.resources.strategy import KindStrategy, keep_metadata
from apiserver.resources.validation import storage as validation
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "storage.k8s.io",
        "v1",
        "csidrivers",
        "CSIDriver",
        "csidriver",
        False,
        KindStrategy(
            defaults=defaults.default_csi_driver,
            on_update=defaults.raise_driver_generation,
            checks=validation.check_csi_driver,
            update=validation.check_csi_driver_update,
        ),
        columns.CSI_DRIVER,
        unconditional_update=False,
    ),
    Resource(
        "storage.k8s.io",
        "v1",
        "csinodes",
        "CSINode",
        "csinode",
        False,
        KindStrategy(checks=validation.check_csi_node, update=validation.check_csi_node_update),
        columns.CSI_NODE,
        unconditional_update=False,
    ),
    Resource(
        "storage.k8s.io",
        "v1",
        "csistoragecapacities",
        "CSIStorageCapacity",
        "csistoragecapacity",
        True,
        KindStrategy(checks=validation.check_storage_capacity, update=validation.check_storage_capacity_update),
        columns.CSI_STORAGE_CAPACITY,
        unconditional_update=False,
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
            warn=warnings.warn_storage_class,
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
        KindStrategy(
            status=True,
            zero_status={"attached": False},
            on_update=keep_metadata,
            checks=validation.check_volume_attachment,
            update=validation.check_volume_attachment_update,
            status_update=validation.check_volume_attachment_update,
        ),
        columns.VOLUME_ATTACHMENT,
        status=True,
        unconditional_update=False,
    ),
)
