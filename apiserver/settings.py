"""The API server's flags, with upstream's names.

https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from apiserver.storage.etcd import EtcdTLS
from common.process import Duration, ProcessSettings
from common.serving import TLSOptions

FileList = Annotated[list[str], NoDecode]


class Settings(ProcessSettings):
    secure_port: int = Field(6443, ge=1, le=65535)
    workers: int = Field(1, ge=1, le=64)
    """How many processes serve the port. Each has the whole cache: memory grows with them."""
    advertise_address: str | None = None
    """The address that the ``kubernetes`` service leads to; found out when it is not given."""

    etcd_servers: FileList = Field(min_length=1)
    etcd_cafile: str | None = None
    etcd_certfile: str | None = None
    etcd_keyfile: str | None = None

    token_auth_file: str | None = None
    enable_bootstrap_token_auth: bool = False
    """Secrets of type bootstrap.kubernetes.io/token in kube-system are credentials."""
    service_account_key_file: FileList = Field(default_factory=list)
    service_account_signing_key_file: str | None = None
    service_account_issuer: str = "https://kubernetes.default.svc.cluster.local"
    api_audiences: FileList = Field(default_factory=list)

    kubelet_client_certificate: str | None = None
    kubelet_client_key: str | None = None
    kubelet_certificate_authority: str | None = None

    proxy_client_cert_file: str | None = None
    proxy_client_key_file: str | None = None
    """Who this server is to aggregated API servers."""
    requestheader_client_ca_file: str | None = None
    requestheader_allowed_names: FileList = Field(default_factory=list)
    requestheader_username_headers: FileList = Field(default_factory=lambda: ["X-Remote-User"])
    requestheader_group_headers: FileList = Field(default_factory=lambda: ["X-Remote-Group"])
    requestheader_extra_headers_prefix: FileList = Field(default_factory=lambda: ["X-Remote-Extra-"])
    """Which proxies may say in their headers who asks."""

    max_requests_inflight: int = Field(400, ge=0)
    max_mutating_requests_inflight: int = Field(200, ge=0)
    """How many requests that read, and that change, are worked on at a time; 0 for no limit."""
    request_timeout: Duration = Field(60.0, gt=0)
    min_request_timeout: int = Field(1800, ge=0)
    """Seconds after which a watch that names no timeout may be ended, at the earliest."""
    shutdown_delay_duration: Duration = Field(0.0, ge=0)
    """For how long a server that was told to stop serves on as before, while /readyz says that it will not."""

    pod_routes: bool = False
    """Whether this server makes routes to the nodes' pod subnets (see pod_routes.py)."""

    service_cluster_ip_range: str = "10.96.0.0/16"
    service_node_port_range: str = "30000-32767"

    @field_validator(
        "etcd_servers",
        "service_account_key_file",
        "api_audiences",
        "requestheader_allowed_names",
        "requestheader_username_headers",
        "requestheader_group_headers",
        "requestheader_extra_headers_prefix",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        """``a,b`` and repeated flags alike."""
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list):
            return value
        return [part.strip() for text in texts for part in str(text).split(",") if part.strip()]

    @field_validator("service_cluster_ip_range")
    @classmethod
    def _network(cls, value: str) -> str:
        ipaddress.ip_network(value)
        return value

    @field_validator("service_node_port_range")
    @classmethod
    def _ports(cls, value: str) -> str:
        first, dash, last = value.partition("-")
        if not dash or not (first.isdigit() and last.isdigit()) or not 0 < int(first) <= int(last) <= 65535:
            raise ValueError(f'invalid port range "{value}": must be like 30000-32767')
        return value

    def credentials(self) -> list[str]:
        own = [self.etcd_certfile, self.etcd_keyfile, self.kubelet_client_certificate, self.kubelet_client_key]
        own += [self.proxy_client_cert_file, self.proxy_client_key_file]
        return [file for file in own if file]

    def tls(self) -> TLSOptions | None:
        options = super().tls()
        return options and replace(options, request_header_ca_file=self.requestheader_client_ca_file)

    def etcd_tls(self) -> EtcdTLS | None:
        """None when no certificate is given."""
        if self.etcd_cafile is None or self.etcd_certfile is None or self.etcd_keyfile is None:
            return None
        return EtcdTLS(self.etcd_cafile, self.etcd_certfile, self.etcd_keyfile)
