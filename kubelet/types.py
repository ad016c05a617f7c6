"""The few interfaces between the rooms of the kubelet, beside that to the container runtime (``cri.py``).

``pods/`` decides what should run, ``volumes/`` and ``network/`` prepare what a pod needs beside containers, ``server/``
serves what the API server asks of a node, ``node/`` tells the API server about the machine. Each can be read alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret


class NetworkError(Exception):
    """A pod's network could not be made; the text is shown in a FailedCreatePodSandBox event."""


class VolumeError(Exception):
    """A volume could not be mounted; the text is shown in a FailedMount event."""

    retry_seconds = 122.0
    """The longest wait before it is tried again (upstream: 2m2s for each volume)."""

    @property
    def messages(self) -> tuple[str, ...]:
        """An event for each."""
        return (str(self),)


class VolumesNotMounted(VolumeError):
    """Not all volumes of a pod are mounted: what there is to tell of it, nothing while it only takes time."""

    def __init__(self, text: str, messages: tuple[str, ...], retry_seconds: float) -> None:
        super().__init__(text)
        self._messages = messages
        self.retry_seconds = retry_seconds

    @property
    def messages(self) -> tuple[str, ...]:
        return self._messages


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the node itself ends a pod (eviction, preemption, shutdown), for its status: the phase becomes Failed."""

    reason: str
    message: str
    grace: int | None = None
    """Seconds; None: the pod's own."""
    disruption: str = ""
    """The message of the DisruptionTarget condition (reason TerminationByKubelet); none when empty."""


@dataclass(frozen=True, slots=True)
class PodNetworkStatus:
    ip: str


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the node that leads to one of a pod's."""

    pod: str
    """Its name and namespace, for whoever reads the rules."""
    protocol: str
    host_port: int
    container_port: int
    host_ip: str = ""


class Network(Protocol):
    """A pod's link to the node's bridge. Idempotent; pods on the host's network never come here."""

    async def setup_pod(self, sandbox_pid: int, pod_uid: str, ports: Sequence[PortMapping] = ()) -> PodNetworkStatus:
        """Raises NetworkError."""

    async def teardown_pod(self, pod_uid: str) -> None: ...
    async def pod_ip(self, pod_uid: str) -> str | None:
        """The address given earlier (also before a restart of the kubelet), if it is still there."""


@dataclass(frozen=True, slots=True)
class SubPath:
    """A part of a volume that a container mounts: its place in the spec, and the path inside the volume."""

    pod_uid: str
    volume: str
    container: str
    index: int
    volume_path: str
    sub_path: str
    """"": all of it."""
    recursive_read_only: bool = False
    """Whatever is mounted within is read-only too."""


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """What files take of a disk (or of memory, when they are on tmpfs)."""

    bytes: int = 0
    inodes: int = 0

    def __add__(self, other: DiskUsage) -> DiskUsage:
        return DiskUsage(self.bytes + other.bytes, self.inodes + other.inodes)


@dataclass(frozen=True, slots=True)
class MountedVolume:
    """Where a volume is on the host."""

    path: str
    """A directory or file, or a block device's node."""
    read_only: bool = False
    """Whatever the container's mount says."""
    group: int | None = None
    """One more group for all of the pod's containers: the files' (the annotation pv.beta.kubernetes.io/gid)."""

    def __fspath__(self) -> str:
        return self.path


class Volumes(Protocol):
    """A pod's volumes on the host, under <root>/pods/<uid>/volumes. Idempotent."""

    async def mount(self, pod: Pod) -> Mapping[str, MountedVolume]:
        """By the volume's name. Raises VolumeError with upstream's text; it comes back soon also when a mount hangs."""

    def bind_sub_path(self, wanted: SubPath) -> str:
        """Gives the host path of a part of a volume, which no link can lead out of, or of a volume as a container may
        see it. Blocking. Raises VolumeError."""

    async def unmount(self, pod_uid: str) -> None:
        """Unmounts and removes the pod's volumes; emptyDir's content is gone."""

    async def usage(self, pod: Pod) -> Mapping[str, DiskUsage]:
        """By name, of the pod's volumes whose files are the kubelet's (emptyDir in both media, configMap, secret,
        downwardAPI, projected). A walk of the files: see volumes/usage.py, which measures any other directory too."""


class ObjectSource(Protocol):
    """ConfigMaps and Secrets that pods refer to. Raises common.api.status.NotFound and its kin."""

    async def config_map(self, namespace: str, name: str) -> ConfigMap: ...
    async def secret(self, namespace: str, name: str) -> Secret: ...


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """What the pods' side needs to know about its node. The flags behind it are in settings.py."""

    node_name: str
    node_ips: tuple[str, ...]
    """When the kubelet starts: the machine's addresses may change."""
    pod_infra_container_image: str = "cox/pause:3.10"
    root_dir: str = "/var/lib/kubelet"
    pod_log_dir: str = "/var/log/pods"
    container_log_dir: str = "/var/log/containers"
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    resolv_conf: str = "/etc/resolv.conf"
    cgroup_parent: str = ""
    """What the runtime is told for a pod's containers; "": it decides."""
    cpu_cfs_quota: bool = True
    recursive_read_only: bool = False
    """Whether a mount can be read-only with all that is mounted within."""
    max_pods: int = 110
    capacity: Mapping[str, int] = field(default_factory=dict)
    """Allocatable: cpu (milli), memory (bytes), as common.api.pods.requests counts them."""
    max_parallel_image_pulls: int = 4
    max_parallel_pod_starts: int = 8
    serialize_image_pulls: bool = False
    seccomp_default: bool = False
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    max_dead_containers_per_container: int = 1
    """Beside the one that runs; -1: all are kept."""
    max_dead_containers: int = -1
    """On the whole node."""
    minimum_container_ttl_seconds: float = 0


class PodSource(Protocol):
    """What server/ and node/ ask the pods' side (implemented by kubelet/manager.py)."""

    def pods(self) -> list[Pod]:
        """The pods of this node with their newest status."""

    def get_pod(self, namespace: str, name: str, uid: str | None = None) -> Pod | None: ...

    def container_status(self, namespace: str, name: str, container: str) -> ContainerStatus | None: ...

    def container_id_for_logs(self, namespace: str, name: str, container: str, previous: bool) -> str:
        """Raises NotFound or BadRequest with upstream's text ("container … is waiting to start: …")."""

    def running_container_id(self, namespace: str, name: str, uid: str | None, container: str) -> str:
        """For exec and attach; an empty container means the pod's first. Raises NotFound or BadRequest."""

    def sandbox_pid(self, namespace: str, name: str) -> int:
        """For port-forward into the pod's network namespace; raises NotFound or BadRequest."""
