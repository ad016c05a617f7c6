"""The proxy's flags, under kube-proxy's names:
https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Literal

from pydantic import field_validator

from common.process import Duration, ProcessSettings
from proxy.rules import RuleConfig


class ProxySettings(ProcessSettings):
    secure_port: int = 10256
    """Health and metrics; over TLS when a certificate is given."""
    hostname_override: str = ""
    """This node's name, if it is not the host's."""
    cluster_cidr: str = ""
    """The pods' addresses: what comes from elsewhere to a cluster IP is masqueraded."""
    masquerade_all: bool = False
    proxy_mode: Literal["", "iptables"] = "iptables"
    iptables_min_sync_period: Duration = 0.1
    """At least this long between two syncs. A partial sync costs 10 ms here, so it is less than upstream's second."""
    iptables_sync_period: Duration = 30.0
    """At least this often it is checked that nobody removed the rules."""
    iptables_localhost_nodeports: bool = True
    """Node ports answer on 127.0.0.1 too."""
    cleanup: bool = False
    """Remove everything that the proxy made, and end."""

    @field_validator("cluster_cidr")
    @classmethod
    def _valid_cidrs(cls, value: str) -> str:
        for cidr in filter(None, value.split(",")):
            ipaddress.ip_network(cidr, strict=False)
        return value

    @property
    def node_name(self) -> str:
        return (self.hostname_override or socket.gethostname()).strip().lower()

    def rule_config(self, node_ip: str | None) -> RuleConfig:
        ipv4 = tuple(cidr for cidr in self.cluster_cidr.split(",") if cidr and ":" not in cidr)
        return RuleConfig(
            cluster_cidrs=ipv4,
            masquerade_all=self.masquerade_all,
            node_ip=node_ip,
            localhost_node_ports=self.iptables_localhost_nodeports,
        )
