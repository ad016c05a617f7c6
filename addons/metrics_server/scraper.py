"""Asks every kubelet for its figures, all at about the same time and none for longer than it has.

Upstream: metrics-server pkg/scraper. A node whose kubelet does not answer is left out, and its pods with it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from addons.metrics_server.points import Batch, parse
from common.api.status import StatusError
from common.client import ClusterConfig
from common.client.transport import Transport

log = logging.getLogger("metrics-server")

MAX_SPREAD = 4.0
SPREAD_A_NODE = 0.008
"""Seconds over which the questions to many nodes are spread, as upstream."""

REQUESTS = Counter("metrics_server_kubelet_request", "Number of requests sent to Kubelet API", ["success"])
DURATION = Histogram(
    "metrics_server_kubelet_request_duration_seconds", "Duration of requests to Kubelet API in seconds", ["node"]
)
LAST = Gauge(
    "metrics_server_kubelet_last_request_time_seconds",
    "Time of last request performed to Kubelet API since unix epoch in seconds",
    ["node"],
)

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KubeletAccess:
    """How kubelets are reached and what they are shown."""

    address_types: Sequence[str]
    port: int
    status_port: bool
    timeout: float
    config: ClusterConfig
    """Without a server: authority, certificate and token."""

    def url(self, node: Node) -> str | None:
        """None for a node that has no address of these types."""
        status = node.get("status") or {}
        addresses = {each["type"]: each["address"] for each in reversed(status.get("addresses") or ())}
        host = next((addresses[kind] for kind in self.address_types if kind in addresses), None)
        if host is None:
            return None
        told = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        port = told if self.status_port and told else self.port
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


class Scraper:
    """``nodes`` gives those to ask."""

    def __init__(self, access: KubeletAccess, nodes: Callable[[], Sequence[Node]]) -> None:
        self._access = access
        self._nodes = nodes
        self._kubelets: dict[str, Transport] = {}

    async def scrape(self) -> Batch:
        """What those say that answer."""
        nodes = {str(node["metadata"]["name"]): node for node in self._nodes()}
        await self._forget(nodes)
        spread = min(MAX_SPREAD, SPREAD_A_NODE * len(nodes))
        batches = await asyncio.gather(*(self._one(name, node, spread) for name, node in nodes.items()))
        found: dict[str, Any] = {}
        pods: dict[tuple[str, str], Any] = {}
        for batch in batches:
            found.update(batch.nodes)
            pods.update(batch.pods)
        return Batch(found, pods)

    async def _one(self, name: str, node: Node, spread: float) -> Batch:
        await asyncio.sleep(random.uniform(0, spread))
        url, began = self._access.url(node), time.time()
        if url is None:
            log.warning("node %s has no address of the types %s", name, ", ".join(self._access.address_types))
            return Batch()
        try:
            kubelet = await self._kubelet(name, url)
            answer = await kubelet.request("GET", "/metrics/resource", timeout=self._access.timeout)
            batch = parse(answer.text, name, began)
        except (StatusError, OSError) as error:
            log.warning("Failed to scrape node %s: %s", name, error)
            REQUESTS.labels("false").inc()
            return Batch()
        REQUESTS.labels("true").inc()
        DURATION.labels(name).observe(time.time() - began)
        LAST.labels(name).set(began)
        return batch

    async def _kubelet(self, name: str, url: str) -> Transport:
        """A connection is kept for as long as the node keeps its address."""
        known = self._kubelets.get(name)
        if known is None or known.config.server != url:
            if known is not None:
                await known.close()
            config = replace(self._access.config, server=url)
            known = self._kubelets[name] = Transport(config, user_agent="metrics-server", connections=1)
        return known

    async def _forget(self, nodes: Mapping[str, Node]) -> None:
        for name in [name for name in self._kubelets if name not in nodes]:
            await self._kubelets.pop(name).close()
            for figure in (DURATION, LAST):
                figure.remove(name)

    async def close(self) -> None:
        for kubelet in self._kubelets.values():
            await kubelet.close()


def kubelet_config(
    own: ClusterConfig, authority: str | None, certificate: str | None, key: str | None, insecure: bool
) -> ClusterConfig:
    """The credentials for kubelets: those given, or those for the API server. Raises OSError."""
    made = replace(own, server="", insecure=insecure)
    if authority:
        made = replace(made, ca_data=Path(authority).read_bytes())
    if certificate and key:
        made = replace(made, cert_data=Path(certificate).read_bytes(), key_data=Path(key).read_bytes())
    return made
