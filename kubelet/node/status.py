"""The Node object as a pure function of the machine, the settings and what runs.

Labels, reasons and messages are upstream's: https://kubernetes.io/docs/reference/node/node-labels/ and
https://kubernetes.io/docs/reference/node/node-status/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lightkube.models.core_v1 import (
    ContainerImage,
    DaemonEndpoint,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
    Taint,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node

from kubelet.node.machine import FileSystem, Machine
from kubelet.node.thresholds import Pressure, Threshold
from kubelet.types import ImageStatus, RuntimeVersion

KUBELET_VERSION = "v1.32.0"
"""The version whose behaviour is offered: clients and the scheduler compare it."""
MAX_IMAGES = 50
MAX_NAMES = 5


@dataclass(frozen=True)
class NodeIdentity:
    """What the flags say about the node."""

    name: str
    addresses: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    max_pods: int = 110
    port: int = 10250
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    reserved: Mapping[str, int] = field(default_factory=dict)
    """Held back from pods for the system: cpu (milli), memory and ephemeral-storage (bytes)."""


@dataclass(frozen=True)
class Observation:
    """What is true at one moment."""

    machine: Machine
    node_fs: FileSystem
    pressure: Pressure
    runtime: RuntimeVersion | None
    """None: the runtime is away."""
    images: Sequence[ImageStatus] = ()
    network_problem: str | None = None
    pods_problem: str | None = None
    """Why the pods' containers are not known."""


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
            annotations={"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        ),
        spec=NodeSpec(taints=list(identity.taints) or None),
        status=status,
    )


def capacity(identity: NodeIdentity, observed: Observation) -> dict[str, str]:
    machine = observed.machine
    return {
        "cpu": str(machine.cpus),
        "memory": _kibibytes(machine.memory),
        "ephemeral-storage": _kibibytes(observed.node_fs.capacity),
        "pods": str(identity.max_pods),
        **{f"hugepages-{size}": _kibibytes(reserved) for size, reserved in machine.hugepages.items()},
    }


def allocatable_amounts(identity: NodeIdentity, observed: Observation) -> dict[str, int]:
    """Capacity less what is reserved and less the eviction thresholds: cpu in milli, the rest in bytes or pieces.

    https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/#node-allocatable
    """
    machine, reserved = observed.machine, identity.reserved
    nothing = Threshold()
    memory = machine.memory - identity.thresholds.get("memory.available", nothing).of(machine.memory)
    disk = observed.node_fs.capacity
    disk -= identity.thresholds.get("nodefs.available", nothing).of(disk)
    return {
        "cpu": max(0, machine.cpus * 1000 - reserved.get("cpu", 0)),
        "memory": max(0, memory - reserved.get("memory", 0) - sum(machine.hugepages.values())),
        "ephemeral-storage": max(0, disk - reserved.get("ephemeral-storage", 0)),
        "pods": identity.max_pods,
        **{f"hugepages-{size}": amount for size, amount in machine.hugepages.items()},
    }


def allocatable(identity: NodeIdentity, observed: Observation) -> dict[str, str]:
    amounts = allocatable_amounts(identity, observed)
    milli = amounts["cpu"]
    return {
        **{name: _kibibytes(amount) for name, amount in amounts.items()},
        "cpu": str(milli // 1000) if milli % 1000 == 0 else f"{milli}m",
        "ephemeral-storage": str(amounts["ephemeral-storage"]),
        "pods": str(amounts["pods"]),
    }


def conditions(observed: Observation, held: Iterable[NodeCondition], now: datetime) -> list[NodeCondition]:
    """All conditions of the kubelet; a transition is when the status differs from what ``held`` says."""
    pressure = observed.pressure
    wanted = [
        _condition(
            "MemoryPressure",
            pressure.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        _condition(
            "DiskPressure",
            pressure.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        _condition(
            "PIDPressure",
            pressure.pid,
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
    found = (down, observed.network_problem, observed.pods_problem)
    problems = [problem for problem in found if problem is not None]
    if not problems:
        return NodeCondition("True", "Ready", None, None, "kubelet is posting ready status", "KubeletReady")
    message = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    return NodeCondition("False", "Ready", None, None, message, "KubeletNotReady")


def node_status(
    identity: NodeIdentity, observed: Observation, held: Iterable[NodeCondition], now: datetime
) -> NodeStatus:
    return NodeStatus(
        addresses=[
            *(NodeAddress(ip, "InternalIP") for ip in identity.addresses),
            NodeAddress(identity.name, "Hostname"),
        ],
        capacity=capacity(identity, observed),
        allocatable=allocatable(identity, observed),
        conditions=conditions(observed, held, now),
        daemonEndpoints=NodeDaemonEndpoints(kubeletEndpoint=DaemonEndpoint(identity.port)),
        nodeInfo=system_info(observed),
        images=container_images(observed.images),
    )


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


def container_images(images: Iterable[ImageStatus]) -> list[ContainerImage]:
    """The largest first, at most 50: the scheduler prefers nodes that have a large image already."""
    named = [image for image in images if image.tags or image.digests]
    largest = sorted(named, key=lambda image: (-image.size, image.id))[:MAX_IMAGES]
    return [ContainerImage([*image.digests, *image.tags][:MAX_NAMES], image.size) for image in largest]


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
        status.images or [],
    )


def _condition(kind: str, holds: bool, bad: tuple[str, str], good: tuple[str, str]) -> NodeCondition:
    reason, message = bad if holds else good
    return NodeCondition("True" if holds else "False", kind, None, None, message, reason)


def _kibibytes(amount: int) -> str:
    return f"{amount >> 10}Ki" if amount else "0"
