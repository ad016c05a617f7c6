"""What is sent to Docker to create a container: pure functions from the kubelet's configurations to Docker's JSON.

https://docs.docker.com/reference/api/engine/version/v1.41/#operation/ContainerCreate
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubelet.cri import SANDBOX_NAME, ContainerConfig, Device, Mount, PodSandboxConfig, Resources, SecurityContext
from kubelet.runtime.naming import (
    LABEL_IMAGE_REF,
    LABEL_SANDBOX_ID,
    MAX_HOSTNAME,
    annotation_labels,
    container_name,
    identity_labels,
)


@dataclass(frozen=True, slots=True)
class LogLimits:
    """A chatty container must not fill the disk: another file is begun at ``max_size`` bytes, and so many are kept."""

    max_size: int = 10 << 20
    max_files: int = 5

    def config(self) -> dict[str, Any]:
        """Docker's part: kubelet/logs copies what its driver ``local`` keeps (kubelet/runtime/logfiles.py reads it)."""
        options = {"max-size": str(self.max_size), "max-file": str(self.max_files), "compress": "false"}
        return {"Type": "local", "Config": options}


DEFAULT_LIMITS = LogLimits()


def sandbox_name(config: PodSandboxConfig) -> str:
    return container_name(SANDBOX_NAME, config.pod_name, config.namespace, config.uid, config.attempt)


def app_name(config: ContainerConfig) -> str:
    return container_name(config.name, config.pod_name, config.namespace, config.uid, config.attempt)


def sandbox_body(config: PodSandboxConfig, node_labels: Mapping[str, str]) -> dict[str, Any]:
    identity = identity_labels(SANDBOX_NAME, config.pod_name, config.namespace, config.uid, config.attempt)
    host: dict[str, Any] = {
        "NetworkMode": "host" if config.host_network else "none",
        "IpcMode": "host" if config.host_ipc else "shareable",
        "LogConfig": {"Type": "none"},
        "Sysctls": dict(config.sysctls),
        "CgroupParent": config.cgroup_parent,
        "Runtime": config.runtime_handler,
        **_resources(config.resources),
        **_security(config.security),
    }
    if config.host_pid:
        host["PidMode"] = "host"
    if config.host_network:
        host["UTSMode"] = "host"
    return {
        "Image": config.image,
        # network/ fills the empty namespace. Docker's own "none" network would run a hook of Docker's for it at each
        # start, which takes as long as the rest of it.
        "NetworkDisabled": not config.host_network,
        # On the host's network the host's name is the pod's; Docker refuses another one.
        "Hostname": "" if config.host_network else config.hostname[:MAX_HOSTNAME],
        "Labels": {**annotation_labels(config.annotations), **config.labels, **identity, **node_labels},
        "User": _user(config.security),
        "HostConfig": host,
    }


def container_body(
    sandbox_id: str,
    config: ContainerConfig,
    node_labels: Mapping[str, str],
    logs: LogLimits = DEFAULT_LIMITS,
    seccomp_text: str = "",
) -> dict[str, Any]:
    """``seccomp_text``: what is in the file of a seccomp profile that lies on the node."""
    identity = identity_labels(config.name, config.pod_name, config.namespace, config.uid, config.attempt)
    shared = f"container:{sandbox_id}"
    host: dict[str, Any] = {
        "NetworkMode": shared,
        "IpcMode": shared,
        "Binds": [_bind(mount) for mount in config.mounts],
        "Devices": [_device(device) for device in config.devices],
        "LogConfig": logs.config(),
        "CgroupParent": config.cgroup_parent,
        "Runtime": config.runtime_handler,
        **_resources(config.resources),
        **_security(config.security, seccomp_text),
    }
    if config.host_pid:
        host["PidMode"] = "host"
    elif config.shared_pid:
        host["PidMode"] = shared
    elif config.pid_target:
        host["PidMode"] = f"container:{config.pid_target}"
    body: dict[str, Any] = {
        "Image": config.image,
        "Env": [f"{name}={value}" for name, value in config.env],
        "Labels": {
            **annotation_labels(config.annotations),
            **config.labels,
            **identity,
            **node_labels,
            LABEL_SANDBOX_ID: sandbox_id,
            **({LABEL_IMAGE_REF: config.image_ref} if config.image_ref else {}),
        },
        "OpenStdin": config.stdin,
        "StdinOnce": config.stdin_once,
        "Tty": config.tty,
        "User": _user(config.security),
        # Docker's own health checks would run beside the probes.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }
    if config.command:
        body["Entrypoint"] = list(config.command)
    if config.args:
        body["Cmd"] = list(config.args)
    if config.working_dir:
        body["WorkingDir"] = config.working_dir
    return body


def _resources(resources: Resources) -> dict[str, Any]:
    return {
        "CpuShares": resources.cpu_shares,
        "CpuPeriod": resources.cpu_period,
        "CpuQuota": resources.cpu_quota,
        "Memory": resources.memory_bytes,
        # No swap beyond the memory limit, as upstream.
        "MemorySwap": resources.memory_bytes,
        "OomScoreAdj": resources.oom_score_adj,
    }


def _security(security: SecurityContext, seccomp_text: str = "") -> dict[str, Any]:
    options = []
    if security.no_new_privileges:
        options.append("no-new-privileges")
    if seccomp_text:
        options.append(f"seccomp={seccomp_text}")
    elif security.seccomp == "unconfined":
        options.append("seccomp=unconfined")
    if security.apparmor:
        options.append(f"apparmor={security.apparmor}")
    if security.selinux is not None:
        label = security.selinux
        parts = (("user", label.user), ("role", label.role), ("type", label.type), ("level", label.level))
        options += [f"label={name}:{value}" for name, value in parts if value]
    found: dict[str, Any] = {
        "Privileged": security.privileged,
        "ReadonlyRootfs": security.read_only_root_filesystem,
        "CapAdd": list(security.add_capabilities),
        "CapDrop": list(security.drop_capabilities),
        "GroupAdd": [str(group) for group in security.supplemental_groups],
        "SecurityOpt": options,
    }
    if security.unmasked_proc:
        found |= {"MaskedPaths": [], "ReadonlyPaths": []}
    return found


def _user(security: SecurityContext) -> str:
    """Docker's ``user[:group]``; a group alone goes with the image's user."""
    if security.run_as_user is None and security.run_as_group is None:
        return ""
    user = str(security.run_as_user) if security.run_as_user is not None else security.run_as_username or "0"
    return user if security.run_as_group is None else f"{user}:{security.run_as_group}"


def _device(device: Device) -> dict[str, str]:
    return {
        "PathOnHost": device.host_path,
        "PathInContainer": device.container_path,
        "CgroupPermissions": device.permissions,
    }


def _bind(mount: Mount) -> str:
    options = [option for option in ("ro" if mount.read_only else "", mount.propagation) if option]
    bind = f"{mount.host_path}:{mount.container_path}"
    return f"{bind}:{','.join(options)}" if options else bind
