"""From a container in a pod's spec to what the runtime is told: pure functions.

https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lightkube.models.core_v1 import Container, PodSpec, VolumeMount
from lightkube.resources.core_v1 import Pod

from common.api.pods import amounts, qos_class
from kubelet.cgroups import values as cgroups
from kubelet.cri import ContainerConfig, Device, ImageStatus, Mount, PodSandboxConfig, Resources
from kubelet.pods.actions import LABEL_HASH, container_hash, is_sidecar
from kubelet.pods.environment import ConfigError
from kubelet.pods.expansion import expand, expand_all, undefined
from kubelet.pods.identity import grace_period, identity_of, spec_of, wants_recursive_read_only
from kubelet.pods.security import must_run_as_non_root, sandbox_security, security_context, verify_non_root
from kubelet.pods.sysctls import dotted
from kubelet.types import KubeletConfig, MountedVolume, PortMapping, SubPath, VolumeError

LABEL_GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
SANDBOX_OOM_SCORE = -998
GUARANTEED_OOM_SCORE = -997
DEFAULT_TERMINATION_PATH = "/dev/termination-log"
MAX_HOSTNAME = 64
"""Characters that the kernel keeps."""
NODE_CRITICAL = 2_000_001_000
_PROPAGATION = {None: "", "None": "", "HostToContainer": "rslave", "Bidirectional": "rshared"}


@dataclass(frozen=True, slots=True)
class PodFiles:
    """Host paths of the files that the kubelet writes for a pod; empty: not given."""

    hosts: str = ""
    resolv_conf: str = ""
    termination_log: str = ""


def _joined(wanted: SubPath) -> str:
    return posixpath.join(wanted.volume_path, wanted.sub_path)


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a container's configuration is computed from, beside its pod."""

    image: ImageStatus
    attempt: int
    env: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, MountedVolume] = field(default_factory=dict)
    files: PodFiles = field(default_factory=PodFiles)
    bind_sub_path: Callable[[SubPath], str] = _joined
    """Gives the host path of a part of a volume, which no link can lead out of. Raises VolumeError."""
    target_id: str = ""
    """Of an ephemeral container: the id of the container that it looks at."""
    runtime_handler: str = ""


def sandbox_config(pod: Pod, config: KubeletConfig, attempt: int, runtime_handler: str = "") -> PodSandboxConfig:
    """Raises ConfigError."""
    identity, spec = identity_of(pod), spec_of(pod)
    sysctls = spec.securityContext.sysctls if spec.securityContext else None
    return PodSandboxConfig(
        pod_name=identity.name,
        namespace=identity.namespace,
        uid=identity.uid,
        attempt=attempt,
        image=config.pod_infra_container_image,
        hostname=kernel_hostname(pod, config.cluster_domain),
        labels={LABEL_GRACE_PERIOD: str(grace_period(pod))},
        host_network=bool(spec.hostNetwork),
        host_ipc=bool(spec.hostIPC),
        host_pid=bool(spec.hostPID),
        shared_pid=bool(spec.shareProcessNamespace),
        sysctls={dotted(sysctl.name): sysctl.value for sysctl in sysctls or ()},
        security=sandbox_security(spec),
        runtime_handler=runtime_handler,
        cgroup_parent=config.cgroup_parent,
        resources=Resources(cpu_shares=cgroups.MIN_SHARES, oom_score_adj=SANDBOX_OOM_SCORE),
    )


def port_mappings(pod: Pod) -> tuple[PortMapping, ...]:
    """The host ports of containers that run side by side."""
    spec, identity = spec_of(pod), identity_of(pod)
    sidecars = [container for container in spec.initContainers or () if is_sidecar(container)]
    return tuple(
        PortMapping(
            f"{identity.name}_{identity.namespace}",
            port.protocol or "TCP",
            port.hostPort,
            port.containerPort,
            port.hostIP or "",
        )
        for container in (*sidecars, *spec.containers)
        for port in container.ports or ()
        if port.hostPort
    )


def hostname(pod: Pod) -> str:
    """spec.hostname or the pod's name, cut to what a host name may be."""
    return (spec_of(pod).hostname or identity_of(pod).name)[:63].rstrip("-.")


def fully_qualified(pod: Pod, domain: str) -> str:
    """The pod's name in the DNS; "" when it has no subdomain."""
    spec = spec_of(pod)
    return f"{hostname(pod)}.{spec.subdomain}.{identity_of(pod).namespace}.svc.{domain}" if spec.subdomain else ""


def kernel_hostname(pod: Pod, domain: str) -> str:
    """What ``hostname`` prints in the pod's containers. Raises ConfigError."""
    full = fully_qualified(pod, domain)
    if not spec_of(pod).setHostnameAsFQDN or not full:
        return hostname(pod)
    if len(full) > MAX_HOSTNAME:
        raise ConfigError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"({MAX_HOSTNAME} characters is the max, {len(full)} characters requested)"
        )
    return full


def container_config(pod: Pod, container: Container, config: KubeletConfig, inputs: Inputs) -> ContainerConfig:
    """Raises ConfigError."""
    identity, spec = identity_of(pod), spec_of(pod)
    security = security_context(pod, container, inputs.image.user, config.seccomp_default)
    if must_run_as_non_root(spec, container):
        verify_non_root(pod, container, security, inputs.image)
    groups = [volume.group for volume in inputs.volumes.values() if volume.group is not None]
    if groups:
        security = replace(security, supplemental_groups=tuple(dict.fromkeys((*security.supplemental_groups, *groups))))
    return ContainerConfig(
        pod_name=identity.name,
        namespace=identity.namespace,
        uid=identity.uid,
        name=container.name,
        attempt=inputs.attempt,
        image=inputs.image.id,
        command=expand_all(container.command, inputs.env),
        args=expand_all(container.args, inputs.env),
        env=tuple(inputs.env.items()),
        working_dir=container.workingDir or "",
        mounts=mounts(identity.uid, container, inputs, config.recursive_read_only),
        devices=devices(container, inputs),
        labels={LABEL_HASH: container_hash(container), LABEL_GRACE_PERIOD: str(grace_period(pod))},
        stdin=bool(container.stdin),
        stdin_once=bool(container.stdinOnce),
        tty=bool(container.tty),
        resources=resources(spec, container, config.capacity.get("memory", 0), config.cpu_cfs_quota),
        security=security,
        image_ref=image_ref(inputs.image),
        shared_pid=bool(spec.shareProcessNamespace),
        host_pid=bool(spec.hostPID),
        pid_target=inputs.target_id,
        runtime_handler=inputs.runtime_handler,
        cgroup_parent=config.cgroup_parent,
    )


def image_ref(image: ImageStatus) -> str:
    """What a status shows as imageID; the words are those of upstream's Docker shim."""
    return f"docker-pullable://{image.digests[0]}" if image.digests else f"docker://{image.id}"


def resources(spec: PodSpec, container: Container, node_memory: int, cfs_quota: bool = True) -> Resources:
    own = container.resources
    limits = amounts(own.limits) if own else {}
    requests = limits | (amounts(own.requests) if own else {})
    quota = cgroups.quota(limits.get("cpu", 0)) if cfs_quota else 0
    return Resources(
        cpu_shares=cgroups.shares(requests.get("cpu", 0)),
        cpu_period=cgroups.CFS_PERIOD if quota else 0,
        cpu_quota=quota,
        memory_bytes=limits.get("memory", 0),
        oom_score_adj=oom_score(spec, requests.get("memory", 0), node_memory),
    )


def oom_score(spec: PodSpec, memory_request: int, node_memory: int) -> int:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#node-out-of-memory-behavior"""
    quality = qos_class(spec)
    if quality == "Guaranteed" or (spec.priority or 0) >= NODE_CRITICAL:
        return GUARANTEED_OOM_SCORE
    if quality == "BestEffort":
        return 1000
    score = 1000 - (1000 * memory_request // node_memory if node_memory else 0)
    return min(999, max(1000 + GUARANTEED_OOM_SCORE, score))


def mounts(uid: str, container: Container, inputs: Inputs, recursive: bool) -> tuple[Mount, ...]:
    """Volumes, and the files that the kubelet keeps for the pod where no volume is mounted over them. ``recursive``:
    mounts can be read-only with all that is mounted within."""
    wanted = enumerate(container.volumeMounts or ())
    result = [_volume_mount(uid, container.name, index, mount, inputs, recursive) for index, mount in wanted]
    taken = {mount.container_path for mount in result}
    managed = (
        (inputs.files.hosts, "/etc/hosts"),
        (inputs.files.resolv_conf, "/etc/resolv.conf"),
        (inputs.files.termination_log, container.terminationMessagePath or DEFAULT_TERMINATION_PATH),
    )
    result += [Mount(host, path) for host, path in managed if host and path not in taken]
    return tuple(result)


def _volume_mount(
    uid: str, container: str, index: int, mount: VolumeMount, inputs: Inputs, can_be_recursive: bool
) -> Mount:
    volume = _mounted(mount.name, container, inputs)
    check_recursive_read_only(mount, can_be_recursive)
    recursive = can_be_recursive and wants_recursive_read_only(mount)
    host_path, sub_path = volume.path, _sub_path(mount, inputs.env)
    if sub_path or recursive:
        wanted = SubPath(uid, mount.name, container, index, host_path, sub_path, recursive)
        try:
            host_path = inputs.bind_sub_path(wanted)
        except VolumeError as error:
            raise ConfigError(str(error)) from error
    container_path = mount.mountPath if mount.mountPath.startswith("/") else f"/{mount.mountPath}"
    read_only = bool(mount.readOnly) or volume.read_only
    return Mount(host_path, container_path, read_only, _PROPAGATION.get(mount.mountPropagation, ""))


def _mounted(name: str, container: str, inputs: Inputs) -> MountedVolume:
    volume = inputs.volumes.get(name)
    if volume is None:
        raise ConfigError(f'cannot find volume "{name}" to mount into container "{container}"')
    return volume


def _sub_path(mount: VolumeMount, env: Mapping[str, str]) -> str:
    """The path inside the volume, "" for all of it. Raises ConfigError when it could lead out."""
    path = mount.subPath or ""
    if mount.subPathExpr:
        missing = undefined(mount.subPathExpr, env)
        if missing:
            raise ConfigError(f'missing value for "{missing}"')
        path = expand(mount.subPathExpr, env)
    if path.startswith("/"):
        raise ConfigError(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise ConfigError(f"unable to provision SubPath `{path}`: must not contain '..'")
    return path


def check_recursive_read_only(mount: VolumeMount, possible: bool) -> None:
    """Docker makes only the mount itself read-only, so the kubelet does the rest, where the kernel knows how (the
    node's status.runtimeHandlers tell). Elsewhere what may do without is given that, what insists is refused in
    upstream's words. https://kep.k8s.io/3857"""
    if not wants_recursive_read_only(mount):
        return
    wants = f'volume "{mount.name}" requested recursive read-only mode, but it is not'
    if not mount.readOnly:
        raise ConfigError(f"{wants} read-only")
    if (mount.mountPropagation or "None") != "None":
        raise ConfigError(f'{wants} compatible with propagation "{mount.mountPropagation}"')
    if mount.recursiveReadOnly == "Enabled" and not possible:
        raise ConfigError(f"{wants} supported by the runtime")


def devices(container: Container, inputs: Inputs) -> tuple[Device, ...]:
    """Block volumes as devices of the container's. Raises ConfigError."""
    found = [(each, _mounted(each.name, container.name, inputs)) for each in container.volumeDevices or ()]
    return tuple(Device(volume.path, each.devicePath, "r" if volume.read_only else "mrw") for each, volume in found)
