"""The kubelet's flags: upstream's names and defaults (https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/).

``--cluster-cidr`` and ``--bridge`` are the only ones that upstream's kubelet has not: they belong to the pod network,
which upstream leaves to a CNI plugin.
"""

from __future__ import annotations

import ipaddress
import socket
from datetime import timedelta
from pathlib import Path
from typing import Literal

from lightkube.models.core_v1 import Taint
from pydantic import Field, field_validator, model_validator

from common.api import names, node_labels
from common.api.duration import parse_duration
from common.api.quantity import parse_bytes, parse_cpu_milli, parse_quantity
from common.process import Duration, ProcessSettings
from kubelet.eviction.manager import EvictionPolicy
from kubelet.eviction.thresholds import DEFAULT_EVICTION_HARD, parse_thresholds
from kubelet.imagegc import GCPolicy
from kubelet.node.machine import outward_address
from kubelet.pods.sysctls import check_patterns
from kubelet.shutdown.periods import Period, parse_periods, periods_of

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class KubeletSettings(ProcessSettings):
    config: str = ""
    """A file with a KubeletConfiguration; flags go before it."""
    config_dir: str = ""
    """A folder whose ``*.conf`` files change it, in the order of their names."""
    kubeconfig: str | None = None
    hostname_override: str = ""
    """The node's name; default: the machine's host name."""
    node_ip: str = ""
    """The node's address; default: that of the interface with the default route."""
    node_labels: str = ""
    """Labels set when the node registers: ``a=b,c=d``."""
    register_node: bool = True
    """False: the node's object is made by somebody else; its status is kept all the same."""
    register_schedulable: bool = True
    """False: the node registers as unschedulable."""
    register_with_taints: str = ""
    """Taints set when the node registers: ``key=value:effect,…``."""
    bootstrap_kubeconfig: str | None = None
    """Credentials to ask for a client certificate with, when ``--kubeconfig`` is not there or out of date."""
    cert_dir: str = "/var/lib/kubelet/pki"
    """Where certificates are that this kubelet asked for, or made."""
    rotate_certificates: bool = False
    """The client certificate in ``--cert-dir`` is renewed in time."""
    rotate_server_certificates: bool = False
    """The serving certificate is asked of the API server, and renewed in time; somebody has to approve it."""
    provider_id: str = ""
    """What identifies the machine at its cloud."""
    cloud_provider: str = ""
    """``external``: a cloud's controller completes the node before pods come to it."""
    node_status_update_frequency: str = "10s"
    """How often the node's status is computed, and written when it changed."""
    node_status_report_frequency: str = "5m0s"
    """How often it is written at least."""
    node_status_max_images: int = Field(default=50, ge=-1)
    node_lease_duration_seconds: int = Field(default=40, ge=1)
    shutdown_grace_period: str = "0s"
    """How long pods have to end before the machine does; 0: they are not ended."""
    shutdown_grace_period_critical_pods: str = "0s"
    """The last part of it, which belongs to critical pods."""
    shutdown_grace_period_by_pod_priority: str = ""
    """In place of both: seconds by priority, ``0=30,1000=10``."""
    root_dir: str = "/var/lib/kubelet"
    pod_log_dir: str = "/var/log/pods"
    minimum_container_ttl_duration: str = "0s"
    """How old a container that has ended must be to be removed."""
    maximum_dead_containers_per_container: int = 1
    maximum_dead_containers: int = -1
    """Of all pods together; -1: as many as there are."""
    image_gc_high_threshold: int = 85
    """Percent of the images' disk in use from which on unused images are removed; 100: never."""
    image_gc_low_threshold: int = 80
    """Down to which they are."""
    minimum_image_ttl_duration: str = "2m0s"
    """How long an image has been there at least."""
    image_maximum_gc_age: str = "0s"
    """An image that nobody has used for so long is removed whatever the disk; 0: it is not."""
    container_log_max_size: str = "10Mi"
    """A container's log goes on in another file from so many bytes on."""
    container_log_max_files: int = Field(default=5, ge=2)
    pod_manifest_path: str = ""
    """A folder of static pods' manifests, or one manifest; default: none."""
    file_check_frequency: str = "20s"
    """How often it is read again, beside when it changes."""
    manifest_url: str = ""
    """Where static pods' manifests are fetched from: a pod or a list of them."""
    manifest_url_header: str = ""
    """``name:value,name:value``, sent with each request for ``--manifest-url``."""
    http_check_frequency: str = "20s"
    """How often it is fetched."""
    anonymous_auth: bool = False
    """Requests to the kubelet's server without credentials are those of ``system:anonymous``."""
    authentication_token_webhook: bool = True
    """Bearer tokens are asked of the API server."""
    authentication_token_webhook_cache_ttl: Duration = 120.0
    authorization_mode: Literal["Webhook", "AlwaysAllow"] = "Webhook"
    authorization_webhook_cache_authorized_ttl: Duration = 300.0
    authorization_webhook_cache_unauthorized_ttl: Duration = 30.0
    enable_system_log_handler: bool = False
    """/logs/ shows the files beside the pods' logs (``/var/log``)."""
    pod_infra_container_image: str = "cox/pause:3.10"
    container_runtime_endpoint: str = "unix:///var/run/docker.sock"
    cgroup_root: str = "/"
    """The cgroup in which ``kubepods`` is."""
    cgroups_per_qos: bool = True
    """Pods have cgroups of their own, in one for each QoS class."""
    enforce_node_allocatable: str = "pods"
    """``pods``: all pods together are held to what the node offers them; ``none``."""
    pod_max_pids: int = -1
    """Processes of a pod; -1: as many as the node has."""
    cpu_cfs_quota: bool = True
    """CPU limits are enforced."""
    single_process_oom_kill: bool | None = None
    """Of a container without memory only one process is killed; not set: all of it where cgroups are of version 2,
    which alone can."""
    cluster_dns: str = ""
    cluster_domain: str = "cluster.local"
    resolv_conf: str = "/etc/resolv.conf"
    address: str = "0.0.0.0"
    port: int = Field(default=10250, ge=1, le=65535)
    healthz_bind_address: str = "127.0.0.1"
    healthz_port: int = Field(default=10248, ge=0, le=65535)
    """/healthz by plain HTTP, for the machine itself; 0: nowhere."""
    max_pods: int = Field(default=110, ge=1)
    max_parallel_image_pulls: int = Field(default=4, ge=1)
    serialize_image_pulls: bool = False
    seccomp_default: bool = False
    """Containers that name no seccomp profile get the runtime's own instead of none."""
    allowed_unsafe_sysctls: str = ""
    """Kernel parameters that pods may set beside the safe ones: ``kernel.msg*,net.core.somaxconn``."""
    pods_per_core: int = Field(default=0, ge=0)
    """At most so many pods for each CPU; 0: no such bound."""
    eviction_hard: str = DEFAULT_EVICTION_HARD
    """Less than so much left: a pod is evicted at once. ``memory.available<100Mi,nodefs.available<10%``."""
    eviction_soft: str = ""
    """The same, but only when it lasts for the grace period."""
    eviction_soft_grace_period: str = ""
    """``memory.available=1m30s``."""
    eviction_max_pod_grace_period: int = 0
    """Seconds that pods get which are evicted for a soft threshold."""
    eviction_minimum_reclaim: str = ""
    """What is taken back at least: ``nodefs.available=500Mi``."""
    eviction_pressure_transition_period: str = "5m0s"
    """How long the node says that it is under pressure after it was last."""
    kube_reserved: str = ""
    """Held back from pods for the node's own processes: ``cpu=500m,memory=1Gi,ephemeral-storage=1Gi``."""
    system_reserved: str = ""
    """Held back from pods for the system, likewise."""
    pod_cidr: str = ""
    """The pod subnet when no control plane gives one; the Node's spec.podCIDR goes before it."""
    cluster_cidr: str = "10.244.0.0/16"
    """All pod subnets: traffic that leaves it is masqueraded."""
    bridge: str = "cox0"

    @field_validator("container_log_max_size")
    @classmethod
    def _size(cls, value: str) -> str:
        if parse_bytes(value) <= 0:
            raise ValueError("must be more than zero")
        return value

    @model_validator(mode="after")
    def _image_gc(self) -> KubeletSettings:
        self.image_gc()
        return self

    @field_validator(
        "file_check_frequency",
        "http_check_frequency",
        "minimum_image_ttl_duration",
        "eviction_pressure_transition_period",
        "node_status_update_frequency",
        "node_status_report_frequency",
    )
    @classmethod
    def _duration(cls, value: str) -> str:
        if parse_duration(value) <= 0:
            raise ValueError("must be more than zero")
        return value

    @field_validator("manifest_url_header")
    @classmethod
    def _headers(cls, value: str) -> str:
        parse_headers(value)
        return value

    @field_validator("node_labels")
    @classmethod
    def _labels(cls, value: str) -> str:
        if unknown := node_labels.forbidden(parse_labels(value)):
            open_, domains = (", ".join(sorted(n)) for n in (node_labels.OPEN, node_labels.OPEN_DOMAINS))
            raise ValueError(
                f"unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: {unknown}; those in the "
                f"'kubernetes.io' namespace must begin with an allowed prefix ({domains}) or be in the specifically "
                f"allowed set ({open_})"
            )
        return value

    @field_validator("register_with_taints")
    @classmethod
    def _taints(cls, value: str) -> str:
        parse_taints(value)
        return value

    @field_validator("enforce_node_allocatable")
    @classmethod
    def _enforced(cls, value: str) -> str:
        unknown = [each for each in split(value) if each not in ("pods", "none")]
        if unknown:
            raise ValueError(f"option {unknown[0]!r} is not supported: only pods, or none")
        return value

    @field_validator("allowed_unsafe_sysctls")
    @classmethod
    def _sysctls(cls, value: str) -> str:
        check_patterns(split(value))
        return value

    @field_validator("cloud_provider")
    @classmethod
    def _cloud(cls, value: str) -> str:
        if value not in ("", "external"):
            raise ValueError(f'the cloud provider "{value}" is not supported: the one choice is external')
        return value

    @model_validator(mode="after")
    def _shutdown(self) -> KubeletSettings:
        self.shutdown()
        return self

    @model_validator(mode="after")
    def _eviction(self) -> KubeletSettings:
        self.eviction()
        return self

    @field_validator("kube_reserved", "system_reserved")
    @classmethod
    def _reserved(cls, value: str) -> str:
        parse_reserved(value)
        return value

    @field_validator("node_ip", "cluster_dns", "healthz_bind_address")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for address in split(value):
            ipaddress.ip_address(address)
        return value

    @field_validator("pod_cidr", "cluster_cidr")
    @classmethod
    def _subnet(cls, value: str) -> str:
        if value:
            ipaddress.IPv4Network(value)
        return value

    @field_validator("hostname_override")
    @classmethod
    def _name(cls, value: str) -> str:
        problems = names.is_dns1123_subdomain(value) if value else []
        if problems:
            raise ValueError("; ".join(problems))
        return value

    @property
    def node_name(self) -> str:
        return self.hostname_override or socket.gethostname().strip().lower()

    @property
    def root(self) -> Path:
        return Path(self.root_dir)

    def image_gc(self) -> GCPolicy:
        """Raises ValueError."""
        age = timedelta(seconds=parse_duration(self.minimum_image_ttl_duration))
        oldest = timedelta(seconds=parse_duration(self.image_maximum_gc_age))
        return GCPolicy(self.image_gc_high_threshold, self.image_gc_low_threshold, age, oldest)

    def eviction(self) -> EvictionPolicy:
        """Raises ValueError."""
        thresholds = parse_thresholds(
            self.eviction_hard, self.eviction_soft, self.eviction_soft_grace_period, self.eviction_minimum_reclaim
        )
        transition = parse_duration(self.eviction_pressure_transition_period)
        return EvictionPolicy(thresholds, transition, self.eviction_max_pod_grace_period)

    def shutdown(self) -> tuple[Period, ...]:
        """Raises ValueError."""
        total, critical = map(parse_duration, (self.shutdown_grace_period, self.shutdown_grace_period_critical_pods))
        by_priority = parse_periods(self.shutdown_grace_period_by_pod_priority)
        if by_priority and (total or critical):
            raise ValueError(
                "Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time"
            )
        return by_priority or periods_of(total, critical)

    def reserved(self) -> dict[str, int]:
        """cpu in milli, the rest in bytes or pieces."""
        kube, system = parse_reserved(self.kube_reserved), parse_reserved(self.system_reserved)
        return {name: kube.get(name, 0) + system.get(name, 0) for name in (*kube, *system)}

    def node_addresses(self) -> tuple[str, ...]:
        """Raises ValueError when the machine has no address to be reached at."""
        found = self.machine_addresses()
        if not found:
            raise ValueError("--node-ip is required: the machine has no default route to tell its address by")
        return found

    def machine_addresses(self) -> tuple[str, ...]:
        """Those that are given, or the one that the default route leads from now; none when there is no such route."""
        given = tuple(split(self.node_ip))
        return given or tuple(address for address in (outward_address(),) if address)


def parse_headers(text: str) -> list[tuple[str, str]]:
    """``name:value,name:value``. Raises ValueError, which does not show the values."""
    headers = []
    for part in split(text):
        name, colon, value = part.partition(":")
        if not colon or not name.strip():
            raise ValueError("malformed header: each must be name:value")
        headers.append((name.strip(), value.strip()))
    return headers


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_labels(text: str) -> dict[str, str]:
    """``a=b,c=d``. Raises ValueError."""
    labels = {}
    for part in split(text):
        key, _, value = part.partition("=")
        problems = names.is_qualified_name(key) + names.is_label_value(value)
        if problems:
            raise ValueError(f"{part}: {'; '.join(problems)}")
        labels[key] = value
    return labels


def parse_taints(text: str) -> list[Taint]:
    """``key=value:effect`` or ``key:effect``. Raises ValueError."""
    taints = []
    for part in split(text):
        spec, _, effect = part.rpartition(":")
        key, _, value = spec.partition("=")
        if effect not in _EFFECTS:
            raise ValueError(f"invalid taint spec: {part}, the effect must be one of {', '.join(_EFFECTS)}")
        problems = names.is_qualified_name(key) + names.is_label_value(value)
        if problems:
            raise ValueError(f"invalid taint spec: {part}, {'; '.join(problems)}")
        taints.append(Taint(effect=effect, key=key, value=value or None))
    return taints


def parse_reserved(text: str) -> dict[str, int]:
    """``cpu=500m,memory=1Gi``: cpu in milli, the rest in bytes. Raises ValueError."""
    reserved = {}
    for part in split(text):
        name, _, amount = part.partition("=")
        if name not in ("cpu", "memory", "ephemeral-storage", "pid"):
            raise ValueError(f'cannot reserve "{name}" resource')
        if parse_quantity(amount).amount < 0:
            raise ValueError(f'resource quantity for "{name}" cannot be negative: {amount}')
        reserved[name] = parse_cpu_milli(amount) if name == "cpu" else parse_bytes(amount)
    return reserved
