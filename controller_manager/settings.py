"""The flags of kube-controller-manager that this one has, with upstream's names and defaults.

https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from common.process import Duration, ProcessSettings

Seconds = Annotated[Duration, Field(gt=0)]
Workers = Annotated[int, Field(gt=0, le=100)]


class Settings(ProcessSettings):
    """See the page above for what each means. `--secure-port=0` serves no health and no metrics."""

    secure_port: int = 10257
    controllers: str = "*"
    cluster_cidr: str | None = None
    node_cidr_mask_size: int = 24
    allocate_node_cidrs: bool = False
    root_ca_file: str | None = None
    cluster_signing_cert_file: str | None = None
    """The CA that signs CertificateSigningRequests; without it and its key nothing is signed."""
    cluster_signing_key_file: str | None = None
    cluster_signing_duration: Seconds = 8760 * 3600.0
    """How long a signed certificate is good for at most."""
    leader_elect: bool = True
    leader_elect_lease_duration: Seconds = 15.0
    leader_elect_renew_deadline: Seconds = 10.0
    leader_elect_retry_period: Seconds = 2.0
    leader_elect_resource_name: str = "kube-controller-manager"
    leader_elect_resource_namespace: str = "kube-system"
    concurrent_deployment_syncs: Workers = 5
    concurrent_replicaset_syncs: Workers = 5
    concurrent_endpoint_syncs: Workers = 5
    concurrent_service_endpoint_syncs: Workers = 5
    concurrent_namespace_syncs: Workers = 10
    concurrent_gc_syncs: Workers = 20
    node_monitor_period: Seconds = 5.0
    node_monitor_grace_period: Seconds = 40.0
    node_startup_grace_period: Seconds = 60.0
    node_eviction_rate: Annotated[float, Field(ge=0)] = 0.1
    secondary_node_eviction_rate: Annotated[float, Field(ge=0)] = 0.01
    unhealthy_zone_threshold: Annotated[float, Field(ge=0, le=1)] = 0.55
    large_cluster_size_threshold: int = 50
    terminated_pod_gc_threshold: int = 12500

    @field_validator("cluster_cidr")
    @classmethod
    def _cidr(cls, value: str | None) -> str | None:
        if value is not None:
            ipaddress.ip_network(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.allocate_node_cidrs:
            if self.cluster_cidr is None:
                raise ValueError("--allocate-node-cidrs needs --cluster-cidr")
            if ipaddress.ip_network(self.cluster_cidr).prefixlen > self.node_cidr_mask_size:
                raise ValueError("--node-cidr-mask-size must not be shorter than the mask of --cluster-cidr")
        return self

    def enabled(self, name: str) -> bool:
        """Whether --controllers selects the controller: `*` is all, `-name` is all but that."""
        chosen = [each.strip() for each in self.controllers.split(",")]
        return f"-{name}" not in chosen and (name in chosen or "*" in chosen)
