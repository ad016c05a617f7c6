"""The Node object as a pure function of the machine, the settings and what runs.

Labels, reasons and messages are upstream's: https://kubernetes.io/docs/reference/node/node-labels/ and
https://kubernetes.io/docs/reference/node/node-status/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from lightkube.models.core_v1 import (
    ContainerImage,
    DaemonEndpoint,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
    Taint,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node

from common.api.quantity import format_quantity
from common.api.taints import UNSCHEDULABLE
from kubelet.cri import ImageStatus, RuntimeVersion
from kubelet.eviction.thresholds import Threshold, reserved_for_eviction
from kubelet.node.machine import FileSystem, Machine

KUBELET_VERSION = "v1.32.0"
"""The version whose behaviour is offered: clients and the scheduler compare it."""
MAX_IMAGES = 50
MAX_NAMES = 5
UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"


@dataclass(frozen=True)
class NodeIdentity:
    """What the flags say about the node."""

    name: str
    addresses: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    max_pods: int = 110
    pods_per_core: int = 0
    max_images: int = MAX_IMAGES
    """Told of in the status; -1: all."""
    provider_id: str = ""
    external_cloud: bool = False
    """A cloud's controller sets the addresses and takes the taint away."""
    schedulable: bool = True
    port: int = 10250
    thresholds: Sequence[Threshold] = ()
    reserved: Mapping[str, int] = field(default_factory=dict)
    """Held back from pods for the system and the kubelet: cpu (milli), memory and ephemeral-storage (bytes)."""


@dataclass(frozen=True)
class Observation:
    """What is true at one moment."""

    machine: Machine
    node_fs: FileSystem
    runtime: RuntimeVersion | None
    """None: the runtime is away."""
    pressure: Sequence[str] = ()
    """MemoryPressure, DiskPressure, PIDPressure: those that hold."""
    images: Sequence[ImageStatus] = ()
    network_problem: str | None = None
    pods_problem: str | None = None
    """Why the pods' containers are not known."""
    shutdown_problem: str | None = None


def default_labels(identity: NodeIdentity, machine: Machine) -> dict[str, str]:
    """The labels that the kubelet owns and puts back when they differ."""
    return {
        "kubernetes.io/hostname": identity.name,
        "kubernetes.io/os": machine.operating_system,
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": machine.operating_system,
        "beta.kubernetes.io/arch": machine.architecture,
    }


def new_node(identity: NodeIdentity, status: NodeStatus, machine: Machine) -> Node:
    """What is created when the node registers for the first time."""
    return Node(
        apiVersion="v1",
        kind="Node",
        metadata=ObjectMeta(
            name=identity.name,
            labels={**default_labels(identity, machine), **identity.labels},
            annotations=default_annotations(identity),
        ),
        spec=NodeSpec(
            taints=first_taints(identity) or None,
            unschedulable=None if identity.schedulable else True,
            providerID=identity.provider_id or None,
        ),
        status=status,
    )


def default_annotations(identity: NodeIdentity) -> dict[str, str]:
    """Those that the kubelet owns; the second tells a cloud's controller which of the addresses it knows is meant."""
    cloud = {"alpha.kubernetes.io/provided-node-ip": ",".join(identity.addresses)} if identity.external_cloud else {}
    return {"volumes.kubernetes.io/controller-managed-attach-detach": "true", **cloud}


def first_taints(identity: NodeIdentity) -> list[Taint]:
    """With which the node registers."""
    found = list(identity.taints)
    if not identity.schedulable and not any(taint.key == UNSCHEDULABLE for taint in found):
        found.append(Taint(effect="NoSchedule", key=UNSCHEDULABLE))
    if identity.external_cloud:
        found.append(Taint(effect="NoSchedule", key=UNINITIALIZED, value="true"))
    return found


def capacity_amounts(identity: NodeIdentity, observed: Observation) -> dict[str, int]:
    """cpu in milli, the rest in bytes or pieces."""
    machine = observed.machine
    most = identity.max_pods
    return {
        "cpu": machine.cpus * 1000,
        "ephemeral-storage": observed.node_fs.capacity,
        **{f"hugepages-{size}": amount for size, amount in machine.hugepages.items()},
        "memory": machine.memory,
        "pods": min(most, machine.cpus * identity.pods_per_core) if identity.pods_per_core else most,
    }


def capacity(identity: NodeIdentity, observed: Observation) -> dict[str, str]:
    return _quantities(capacity_amounts(identity, observed))


def _quantities(amounts: Mapping[str, int]) -> dict[str, str]:
    return {
        **{name: format_quantity(amount, binary=True) for name, amount in amounts.items()},
        "cpu": format_quantity(Decimal(amounts["cpu"]) / 1000),
        "pods": str(amounts["pods"]),
    }


def allocatable_amounts(identity: NodeIdentity, observed: Observation) -> dict[str, int]:
    """Capacity less what is reserved and less the eviction thresholds: cpu in milli, the rest in bytes or pieces.

    https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/#node-allocatable
    """
    whole = capacity_amounts(identity, observed)
    reserved = dict(identity.reserved)
    for name, amount in reserved_for_eviction(identity.thresholds, whole).items():
        reserved[name] = reserved.get(name, 0) + amount
    left = {name: max(0, amount - reserved.get(name, 0)) for name, amount in whole.items()}
    left["memory"] = max(0, left["memory"] - sum(observed.machine.hugepages.values()))
    return left


def allocatable(identity: NodeIdentity, observed: Observation) -> dict[str, str]:
    return _quantities(allocatable_amounts(identity, observed))


def conditions(observed: Observation, held: Iterable[NodeCondition], now: datetime) -> list[NodeCondition]:
    """All conditions of the kubelet; a transition is when the status differs from what ``held`` says."""
    pressure = observed.pressure
    wanted = [
        _condition(
            "MemoryPressure",
            "MemoryPressure" in pressure,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        _condition(
            "DiskPressure",
            "DiskPressure" in pressure,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        _condition(
            "PIDPressure",
            "PIDPressure" in pressure,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
    ]
    if observed.network_problem is None:
        wanted.append(NodeCondition("False", "NetworkUnavailable", None, None, "pod network is set up", "RouteCreated"))
    wanted.append(_ready(observed))
    before = {condition.type: condition for condition in held}
    for condition in wanted:
        old = before.get(condition.type)
        same = old is not None and old.status == condition.status
        condition.lastTransitionTime = old.lastTransitionTime if old is not None and same else now
        condition.lastHeartbeatTime = now
    return wanted


def _ready(observed: Observation) -> NodeCondition:
    down = "container runtime is down" if observed.runtime is None else None
    found = (down, observed.pods_problem, observed.network_problem, observed.shutdown_problem)
    problems = [problem for problem in found if problem is not None]
    if not problems:
        return NodeCondition("True", "Ready", None, None, "kubelet is posting ready status", "KubeletReady")
    message = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    return NodeCondition("False", "Ready", None, None, message, "KubeletNotReady")


def node_status(identity: NodeIdentity, observed: Observation, held: NodeStatus, now: datetime) -> NodeStatus:
    """``held`` is what the API server has: resources that others have added to its capacity stay, and are allocatable
    (https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/)."""
    extended = {name: amount for name, amount in (held.capacity or {}).items() if _is_extended(name)}
    addresses = [
        *(NodeAddress(ip, "InternalIP") for ip in identity.addresses),
        NodeAddress(identity.name, "Hostname"),
    ]
    return NodeStatus(
        addresses=held.addresses if identity.external_cloud and held.addresses else addresses,
        capacity={**extended, **capacity(identity, observed)},
        allocatable={**extended, **allocatable(identity, observed)},
        conditions=conditions(observed, held.conditions or (), now),
        daemonEndpoints=NodeDaemonEndpoints(kubeletEndpoint=DaemonEndpoint(identity.port)),
        nodeInfo=system_info(observed),
        runtimeHandlers=runtime_handlers(observed),
        images=container_images(observed.images, identity.max_images),
    )


def addresses_of(node: Node | None) -> Sequence[NodeAddress]:
    return (node.status.addresses if node is not None and node.status is not None else None) or ()


def status_patch(status: NodeStatus, held: NodeStatus) -> dict[str, Any]:
    """A strategic merge patch. Addresses as a whole: there may be two of a type, which would be merged."""
    body = status.to_dict()
    body["addresses"] = [*body.get("addresses", ()), {"$patch": "replace"}]
    gone = [name for name in held.allocatable or {} if _is_extended(name) and name not in (status.capacity or {})]
    body["allocatable"] = {**body.get("allocatable", {}), **dict.fromkeys(gone)}
    return {"status": body}


def _is_extended(name: str) -> bool:
    """Not one of Kubernetes' own."""
    domain, slash, _ = name.partition("/")
    return bool(slash) and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io")


def system_info(observed: Observation) -> NodeSystemInfo:
    machine, runtime = observed.machine, observed.runtime
    return NodeSystemInfo(
        architecture=machine.architecture,
        bootID=machine.boot_id,
        containerRuntimeVersion=f"{runtime.name}://{runtime.version}" if runtime else "docker://Unknown",
        kernelVersion=machine.kernel_version,
        kubeProxyVersion=KUBELET_VERSION,
        kubeletVersion=KUBELET_VERSION,
        machineID=machine.machine_id,
        operatingSystem=machine.operating_system,
        osImage=machine.os_image,
        systemUUID=machine.system_uuid,
    )


def runtime_handlers(observed: Observation) -> list[NodeRuntimeHandler]:
    """Of the default one, what it can do that not all can."""
    recursive = observed.machine.recursive_read_only
    return [NodeRuntimeHandler(NodeRuntimeHandlerFeatures(recursiveReadOnlyMounts=recursive, userNamespaces=False), "")]


def container_images(images: Iterable[ImageStatus], most: int = MAX_IMAGES) -> list[ContainerImage]:
    """The largest first, at most 50 by default: the scheduler prefers nodes that have a large image already."""
    named = [image for image in images if image.tags or image.digests]
    largest = sorted(named, key=lambda image: (-image.size, image.id))
    largest = largest if most < 0 else largest[:most]
    return [
        ContainerImage([*image.digests, *image.tags][:MAX_NAMES], image.size)
        for image in (largest if most < 0 else largest[:most])
    ]


def differs(new: NodeStatus, old: NodeStatus | None) -> bool:
    """Whether more than heartbeat times changed, in what the kubelet itself reports."""
    return old is None or _comparable(new, new) != _comparable(old, new)


def _comparable(status: NodeStatus, reported: NodeStatus) -> tuple[object, ...]:
    """Without heartbeats, and only the conditions that are reported (others write conditions too)."""
    ours = {condition.type for condition in reported.conditions or []}
    held = {
        condition.type: (condition.status, condition.reason, condition.message)
        for condition in status.conditions or []
        if condition.type in ours
    }
    return (
        held,
        status.addresses,
        status.capacity,
        status.allocatable,
        status.daemonEndpoints,
        status.nodeInfo,
        status.runtimeHandlers,
        status.images or [],
    )


def _condition(kind: str, holds: bool, bad: tuple[str, str], good: tuple[str, str]) -> NodeCondition:
    reason, message = bad if holds else good
    return NodeCondition("True" if holds else "False", kind, None, None, message, reason)
