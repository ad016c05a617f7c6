"""Which controllers there are, by the names that --controllers takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from controller_manager.certificates.controllers import ApprovingController, CleanerController, signing
from controller_manager.context import Context
from controller_manager.deployment.controller import DeploymentController
from controller_manager.endpoints.controllers import EndpointsController, EndpointSliceController
from controller_manager.garbage_collector.collector import GarbageCollector
from controller_manager.namespace import NamespaceController
from controller_manager.node_ipam import NodeIPAMController
from controller_manager.node_lifecycle.controller import NodeLifecycleController
from controller_manager.node_lifecycle.eviction import TaintEvictionController
from controller_manager.pod_gc import PodGCController
from controller_manager.replicaset.controller import replica_set_controller, replication_controller_controller
from controller_manager.root_ca import RootCAPublisher
from controller_manager.service_accounts import ServiceAccountController
from controller_manager.settings import Settings
from controller_manager.storage_protection import ClaimProtectionController, VolumeProtectionController


class RunsForever(Protocol):
    """A controller."""

    async def run(self) -> None:
        """Until cancelled."""


Factory = Callable[[Context], RunsForever | None]


def _node_ipam(context: Context) -> RunsForever | None:
    return NodeIPAMController(context) if context.settings.allocate_node_cidrs else None


def _root_ca(context: Context) -> RunsForever | None:
    path = context.settings.root_ca_file
    return RootCAPublisher(context, Path(path)) if path else None


CONTROLLERS: dict[str, Factory] = {
    "deployment-controller": DeploymentController,
    "replicaset-controller": replica_set_controller,
    "replicationcontroller-controller": replication_controller_controller,
    "endpoints-controller": EndpointsController,
    "endpointslice-controller": EndpointSliceController,
    "namespace-controller": NamespaceController,
    "serviceaccount-controller": ServiceAccountController,
    "root-ca-certificate-publisher-controller": _root_ca,
    "certificatesigningrequest-signing-controller": signing,
    "certificatesigningrequest-approving-controller": ApprovingController,
    "certificatesigningrequest-cleaner-controller": CleanerController,
    "node-ipam-controller": _node_ipam,
    "node-lifecycle-controller": NodeLifecycleController,
    "taint-eviction-controller": TaintEvictionController,
    "pod-garbage-collector-controller": PodGCController,
    "garbage-collector-controller": GarbageCollector,
    "persistentvolumeclaim-protection-controller": ClaimProtectionController,
    "persistentvolume-protection-controller": VolumeProtectionController,
}


def build(context: Context) -> dict[str, RunsForever]:
    """The enabled controllers. Those whose flags are not given (node IPAM, root CA) are left out."""
    return {
        name: controller
        for name, factory in CONTROLLERS.items()
        if context.settings.enabled(name) and (controller := factory(context)) is not None
    }


def unknown_names(settings: Settings) -> list[str]:
    """Names in --controllers that mean nothing."""
    names = (each.strip().removeprefix("-") for each in settings.controllers.split(","))
    return [name for name in names if name != "*" and name not in CONTROLLERS]
