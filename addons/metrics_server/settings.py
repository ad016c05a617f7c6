"""metrics-server's flags, with upstream's names:
https://github.com/kubernetes-sigs/metrics-server/blob/master/docs/command-line-flags.txt
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from common.process import Duration, ProcessSettings

ADDRESS_TYPES = ("Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP")


class Settings(ProcessSettings):
    secure_port: int = Field(443, ge=1, le=65535)
    cert_dir: str = "/tmp"
    """Where a certificate of its own making is put when none is given, and the authorities of clients."""
    metric_resolution: Duration = Field(60.0, ge=10.0)
    kubelet_certificate_authority: str | None = None
    kubelet_client_certificate: str | None = None
    kubelet_client_key: str | None = None
    kubelet_insecure_tls: bool = False
    kubelet_port: int = Field(10250, ge=1, le=65535)
    kubelet_use_node_status_port: bool = False
    kubelet_preferred_address_types: Annotated[list[str], NoDecode] = Field(default_factory=lambda: [*ADDRESS_TYPES])
    kubelet_request_timeout: Duration = Field(10.0, gt=0)
    node_selector: str = ""

    @field_validator("kubelet_preferred_address_types", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list):
            return value
        return [part.strip() for text in texts for part in str(text).split(",") if part.strip()]

    @field_validator("kubelet_preferred_address_types")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        if unknown := [each for each in value if each not in ADDRESS_TYPES]:
            raise ValueError(f"unknown address type {unknown[0]}: must be among {', '.join(ADDRESS_TYPES)}")
        return value
