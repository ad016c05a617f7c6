"""What a container runtime does for the kubelet: the seam, shaped like the Container Runtime Interface, so that another
runtime can take Docker's place (https://kubernetes.io/docs/concepts/containers/cri/).

``runtime/`` is Docker's side of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Literal, Protocol

Stream = Literal["stdout", "stderr"]

# Labels on every container that the kubelet makes (upstream: pkg/kubelet/types/labels.go). The sandbox has no container
# name but SANDBOX_NAME.
LABEL_POD_NAME = "io.kubernetes.pod.name"
LABEL_POD_NAMESPACE = "io.kubernetes.pod.namespace"
LABEL_POD_UID = "io.kubernetes.pod.uid"
LABEL_CONTAINER_NAME = "io.kubernetes.container.name"
SANDBOX_NAME = "POD"


class RuntimeFailure(Exception):
    """The runtime refused, or failed at, what was asked. The text is shown to users in events and statuses."""


class RuntimeUnavailable(RuntimeFailure):
    """The runtime does not answer at all: try again later, nothing is known about the request."""


class RuntimeNotFound(RuntimeFailure):
    """No such container or image."""


class ContainerState(Enum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RuntimeVersion:
    name: str
    version: str
    api_version: str


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What the runtime says about the machine."""

    cpus: int
    memory_bytes: int
    storage_driver: str
    cgroup_driver: str
    cgroup_version: str
    kernel_version: str
    operating_system: str
    os_type: str
    architecture: str
    root_dir: str


@dataclass(frozen=True, slots=True)
class Mount:
    host_path: str
    container_path: str
    read_only: bool = False
    propagation: str = ""
    """"" or one of Docker's words: rprivate, rslave, rshared."""


@dataclass(frozen=True, slots=True)
class Device:
    host_path: str
    container_path: str
    permissions: str = "mrw"


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits in the kernel's terms; 0 means none."""

    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    memory_bytes: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True)
class SELinuxLabel:
    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


@dataclass(frozen=True, slots=True)
class SecurityContext:
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_username: str = ""
    """Beside a group without a user: the image's own user."""
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    read_only_root_filesystem: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = False
    seccomp: str = "runtime/default"
    """"runtime/default", "unconfined", or "localhost/" and the path of a file under the node's folder of profiles."""
    apparmor: str = ""
    """"" (the runtime's default where the kernel has AppArmor), "unconfined", or a profile's name."""
    selinux: SELinuxLabel | None = None
    unmasked_proc: bool = False
    """All of /proc and /sys can be seen and written to."""


@dataclass(frozen=True, slots=True)
class PodSandboxConfig:
    pod_name: str
    namespace: str
    uid: str
    attempt: int
    image: str
    hostname: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    host_network: bool = False
    """False: the sandbox starts with an empty network namespace that network/ fills."""
    host_ipc: bool = False
    host_pid: bool = False
    shared_pid: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    resources: Resources = field(default_factory=Resources)
    security: SecurityContext = field(default_factory=SecurityContext)
    runtime_handler: str = ""
    """Of the pod's RuntimeClass; "": the runtime's own."""


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    pod_name: str
    namespace: str
    uid: str
    name: str
    attempt: int
    image: str
    """What the runtime knows the image by (its id, so that a tag that moves meanwhile does not matter)."""
    command: Sequence[str] = ()
    """Replaces the image's entry point when not empty."""
    args: Sequence[str] = ()
    env: Sequence[tuple[str, str]] = ()
    working_dir: str = ""
    mounts: Sequence[Mount] = ()
    devices: Sequence[Device] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: Resources = field(default_factory=Resources)
    security: SecurityContext = field(default_factory=SecurityContext)
    shared_pid: bool = False
    host_pid: bool = False
    pid_target: str = ""
    """The id of a container whose processes this one sees and is seen by."""
    cgroup_parent: str = ""
    stop_signal: str = ""
    runtime_handler: str = ""
    image_ref: str = ""
    """What a status shows as the image's id: by digest where it came from a registry."""


@dataclass(frozen=True, slots=True)
class RuntimeContainer:
    """A container that the kubelet made, sandbox or not, as the runtime reports it."""

    id: str
    name: str
    """The container's name in the pod; SANDBOX_NAME for the sandbox."""
    pod_name: str
    namespace: str
    pod_uid: str
    attempt: int
    state: ContainerState
    image: str
    image_id: str
    labels: Mapping[str, str]
    created: datetime
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    """A process of it was killed for want of memory, whatever ended the container then."""
    started: datetime | None = None
    finished: datetime | None = None
    log_path: str = ""
    """The folder of what the runtime keeps of its output; empty: nothing that could be read."""
    image_ref: str = ""
    """As its ContainerConfig said; "" when it said nothing."""
    resources: Resources = field(default_factory=Resources)
    """What the runtime holds it to now."""
    writable_layer: str = ""
    """The folder of what it changed of its image's files, if the runtime tells."""

    @property
    def is_sandbox(self) -> bool:
        return self.name == SANDBOX_NAME

    @property
    def running(self) -> bool:
        return self.state is ContainerState.RUNNING


@dataclass(frozen=True, slots=True)
class ImageStatus:
    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    user: str = ""
    """The image's USER: needed for runAsNonRoot."""


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    username: str = ""
    password: str = ""
    identity_token: str = ""
    server_address: str = ""

    def __repr__(self) -> str:
        return f"RegistryAuth({self.server_address!r})"


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """Something happened to a container of ours; what exactly is found by looking."""

    kind: str
    """create, start, die, oom, destroy, …; "reconnected" when events may have been missed (then pod_uid is empty)."""
    container_id: str = ""
    pod_uid: str = ""


@dataclass(frozen=True, slots=True)
class CgroupDetails:
    """What monitors want to know of a cgroup beside its use of CPU and memory. 0 for no limit, and for what this kernel
    does not tell."""

    cpu_user_nanoseconds: int = 0
    cpu_system_nanoseconds: int = 0
    cfs_periods: int = 0
    cfs_throttled_periods: int = 0
    cfs_throttled_nanoseconds: int = 0
    cpu_shares: int = 0
    cpu_quota: int = 0
    """Microseconds of a period."""
    cpu_period: int = 0
    memory_cache_bytes: int = 0
    memory_mapped_file_bytes: int = 0
    memory_max_usage_bytes: int = 0
    memory_failures: int = 0
    """How often the limit was hit."""
    memory_soft_limit_bytes: int = 0
    own_page_faults: int = 0
    """Without those of cgroups below."""
    own_major_page_faults: int = 0
    oom_events: int = 0
    threads_max: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """Cumulative CPU time and what memory is in use now."""

    container_id: str
    timestamp: datetime
    cpu_nanoseconds: int
    memory_usage_bytes: int
    memory_working_set_bytes: int
    memory_rss_bytes: int
    pids: int
    cgroup: str = ""
    """Its path; "" when the figures are the runtime's and nothing is known of it."""
    page_faults: int = 0
    major_page_faults: int = 0
    swap_bytes: int = 0
    memory_limit_bytes: int = 0
    """0 for none."""
    swap_limit_bytes: int | None = None
    """Of swap alone; None where swap is not accounted for, 0 for no limit."""
    details: CgroupDetails | None = None


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def output(self) -> bytes:
        return self.stdout + self.stderr


class ExecSession(Protocol):
    """A running exec or attach. With a tty everything arrives as stdout."""

    def frames(self) -> AsyncIterator[tuple[Stream, bytes]]:
        """What the process writes, until it closes its output."""

    async def write(self, data: bytes) -> None:
        """To its stdin; waits while the process does not read."""

    async def close_stdin(self) -> None: ...

    async def resize(self, width: int, height: int) -> None: ...

    async def exit_code(self) -> int:
        """Waits, boundedly, for the end of the process after its frames have ended. 0 for an attach."""

    async def close(self) -> None: ...


class Runtime(Protocol):
    """All methods raise RuntimeUnavailable when the runtime is away, RuntimeNotFound for what does not exist.

    A runtime that speaks CRI v1 (``runtime.v1.RuntimeService`` and ``ImageService``) can stand here; each method is one
    of its calls, or made of few:

    - ``version``, ``info``: Version, Status (verbose), RuntimeConfig for the cgroup driver. That ``version`` answers is
      the condition RuntimeReady; NetworkReady is ``network/``'s to say, no runtime here knows of the pods' network.
    - ``run_sandbox``, ``stop_sandbox``, ``remove_sandbox``, ``list_sandboxes``: RunPodSandbox (without its network:
      that is made afterwards in its namespace), StopPodSandbox, RemovePodSandbox, ListPodSandbox.
    - ``create_container``, ``start_container``, ``stop_container``, ``remove_container``: CreateContainer (there the
      cgroup's parent, the handler and the namespaces are the sandbox's), StartContainer, StopContainer,
      RemoveContainer.
    - ``list_containers``: ListContainers and ListPodSandbox, filtered by the label with the pod's uid; ContainerStatus
      and PodSandboxStatus of those that changed. ``events``: GetContainerEvents.
    - ``update_container_resources``: UpdateContainerResources.
    - ``container_pid``, ``writable_layer``: ``info`` in the verbose statuses.
    - ``image_status``, ``pull_image``, ``list_images``, ``remove_image``: ImageStatus, PullImage, ListImages,
      RemoveImage.
    - ``exec_sync``, ``exec``, ``attach``: ExecSync; Exec and Attach, whose URL is dialled.
    - ``logs``: none. CRI's runtimes write files themselves, and ReopenContainerLog follows a rotation.
    - ``stats``, ``stats_of``, ``cgroup_stats``: ContainerStats, ListContainerStats, ListPodSandboxStats.

    Not needed of it: PortForward (the kubelet enters the sandbox's network namespace), ImageFsInfo (``info`` names the
    folder, the file system tells the rest), UpdateRuntimeConfig (pod subnets are not the runtime's), checkpoints.
    """

    async def version(self) -> RuntimeVersion: ...
    async def info(self) -> RuntimeInfo: ...

    async def run_sandbox(self, config: PodSandboxConfig) -> str:
        """Creates and starts; gives the id."""

    async def stop_sandbox(self, sandbox_id: str) -> None: ...
    async def remove_sandbox(self, sandbox_id: str) -> None: ...
    async def list_sandboxes(self, pod_uid: str | None = None) -> list[RuntimeContainer]: ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str: ...
    async def start_container(self, container_id: str) -> None: ...
    async def stop_container(self, container_id: str, timeout: int, *, hurry: bool = False) -> None:
        """SIGTERM (or the image's stop signal), SIGKILL after timeout seconds. Already stopped or gone: no error.
        ``hurry``: SIGKILL at once when it is certain that the other signal would do nothing."""

    async def remove_container(self, container_id: str) -> None:
        """Gone already: no error."""

    async def list_containers(self, pod_uid: str | None = None) -> list[RuntimeContainer]:
        """App containers and sandboxes of one pod or of all, whatever their state."""

    async def update_container_resources(self, container_id: str, resources: Resources) -> None:
        """While it runs. The oom_score_adj stays."""

    async def container_pid(self, container_id: str) -> int:
        """0 when it does not run."""

    async def writable_layer(self, container_id: str) -> str:
        """The host's directory with what the container has written over its image; "" when the runtime does not tell.
        It stays the same as long as the container is there."""

    async def image_status(self, ref: str) -> ImageStatus | None: ...
    async def pull_image(self, ref: str, auth: RegistryAuth | None) -> str:
        """Gives the image's id."""

    async def list_images(self) -> list[ImageStatus]: ...
    async def remove_image(self, ref: str) -> None: ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """For ever; reconnects by itself."""

    def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[tuple[Stream, bytes]]: ...

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool = False, stdin: bool = False
    ) -> ExecSession: ...
    async def exec_sync(
        self, container_id: str, command: Sequence[str], timeout: float, *, limit: int = 16 << 20
    ) -> ExecResult:
        """Keeps ``limit`` bytes of each stream and reads on. Raises TimeoutError; the process is killed then."""

    async def attach(self, container_id: str, *, tty: bool = False, stdin: bool = False) -> ExecSession: ...
    async def stats(self, container_id: str) -> ContainerStats: ...
    async def stats_of(
        self, containers: Sequence[RuntimeContainer], *, full: bool = False
    ) -> Mapping[str, ContainerStats]:
        """Of running containers, by id; those that end meanwhile are left out. ``full``: with details."""

    async def cgroup_stats(self, paths: Sequence[str], *, full: bool = False) -> Mapping[str, ContainerStats]:
        """Of cgroups that hold containers (a pod's, all pods'), by path; those that are not there are left out."""
