"""cox-metrics-server: puts the rooms together, scrapes and serves."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Histogram

from addons.metrics_server import certificate
from addons.metrics_server.access import Access, Trust
from addons.metrics_server.api import App, Known
from addons.metrics_server.scraper import KubeletAccess, Node, Scraper, kubelet_config
from addons.metrics_server.settings import Settings
from addons.metrics_server.storage import Storage
from common.api.selectors import parse_label_selector
from common.api.status import StatusError
from common.client import Client, ClusterConfig, ResourceInfo
from common.client.config import ConfigError
from common.informer import Informer
from common.process import Process, parse, run
from common.serving import TLSOptions, serve

log = logging.getLogger("metrics-server")

NODES = ResourceInfo("", "v1", "nodes", "Node", False)
PODS = ResourceInfo("", "v1", "pods", "Pod", True)
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
RETRY_SECONDS = 2.0
FIRST_PAUSE = 5.0
"""Seconds between the first two scrapes: nothing can be told before the second."""
LATE = 1.5
"""Of the resolution: a scrape that is later means that this process hangs."""

TICK = Histogram(
    "metrics_server_manager_tick_duration_seconds",
    "The total time spent collecting and storing metrics in seconds.",
)


class Ticker:
    """Scrapes again and again, and says how that goes."""

    def __init__(self, scraper: Scraper, storage: Storage, resolution: float) -> None:
        self._scraper = scraper
        self._storage = storage
        self._resolution = resolution
        self._began: float | None = None
        self._well = True

    async def run(self) -> None:
        while True:
            began = self._began = time.monotonic()
            await self._tick()
            pause = self._resolution if self._storage.ready else min(FIRST_PAUSE, self._resolution)
            await asyncio.sleep(max(0.0, began + pause - time.monotonic()))

    async def _tick(self) -> None:
        with TICK.time():
            try:
                async with asyncio.timeout(self._resolution):
                    batch = await self._scraper.scrape()
            except TimeoutError:
                log.warning("the kubelets were not all asked within %.0f s", self._resolution)
                self._well = False
                return
            self._storage.store(batch)
            self._well = bool(batch.nodes)

    def timely(self) -> None:
        """A health check. A process that has not begun yet, since it waits for the first list of nodes, is not late."""
        if self._began is None:
            return
        age = time.monotonic() - self._began
        if age > LATE * self._resolution:
            raise RuntimeError(f"time since last tick ({age:.1f}s) was greater than expected metrics resolution")

    def ready(self) -> None:
        """A health check."""
        if not self._well:
            raise RuntimeError("last tick wasn't healthy")
        if not self._storage.ready:
            raise RuntimeError("metrics-server needs at least 2 scrapes to serve metrics")


async def metrics_server(process: Process, settings: Settings, cluster: ClusterConfig) -> None:
    """Until cancelled."""
    folder = Path(settings.cert_dir)
    selector = parse_label_selector(settings.node_selector)
    access = KubeletAccess(
        settings.kubelet_preferred_address_types,
        settings.kubelet_port,
        settings.kubelet_use_node_status_port,
        min(settings.kubelet_request_timeout, settings.metric_resolution * 0.9),
        kubelet_config(
            cluster,
            settings.kubelet_certificate_authority,
            settings.kubelet_client_certificate,
            settings.kubelet_client_key,
            settings.kubelet_insecure_tls,
        ),
    )
    async with Client(cluster, user_agent="metrics-server") as client, asyncio.TaskGroup() as tasks:
        nodes: Informer[Node] = Informer(client, NODES)
        pods: Informer[Node] = Informer(client, PODS, accept=METADATA)
        tasks.create_task(nodes.run())
        tasks.create_task(pods.run())
        trust = Trust(client, folder)
        tls = settings.tls()
        if tls is None:
            tls = TLSOptions(*await certificate.ensure(folder))
        await _read(trust)
        tls = TLSOptions(
            tls.cert_file,
            tls.key_file,
            settings.client_ca_file or (str(trust.client_ca_file) if trust.client_ca_file.exists() else None),
            request_header_ca_file=str(trust.proxy_ca_file) if trust.headers is not None else None,
        )
        tasks.create_task(trust.follow())
        storage = Storage(settings.metric_resolution)

        def asked() -> list[Node]:
            return [node for node in nodes.store.list() if selector.matches(node["metadata"].get("labels"))]

        scraper = Scraper(access, asked)
        ticker = Ticker(scraper, storage, settings.metric_resolution)

        def synced() -> None:
            if not (nodes.synced and pods.synced):
                raise RuntimeError("the first lists of nodes and pods are not there")

        process.health.add("metric-collection-timely", ticker.timely, live=True)
        process.health.add("metadata-informer-sync", synced)
        process.health.add("metric-storage-ready", ticker.ready)

        def pods_of(namespace: str) -> Iterable[Known]:
            held = pods.store.by_index("namespace", namespace) if namespace else pods.store.list()
            return map(known, held)

        async def ticking() -> None:
            await nodes.wait_synced()
            await ticker.run()

        app = App(storage, Access(client, trust), process.health, lambda: map(known, asked()), pods_of)
        tasks.create_task(ticking())
        try:
            await serve(app, host=settings.bind_address, port=settings.secure_port, tls=tls)
        finally:
            await scraper.close()


async def _read(trust: Trust) -> None:
    """The API server may come later than its add-ons."""
    while True:
        try:
            await trust.read()
            return
        except StatusError as error:
            log.warning("whom to trust is not known yet: %s", error)
            await asyncio.sleep(RETRY_SECONDS)


def known(obj: Node) -> Known:
    metadata = obj["metadata"]
    return Known(metadata.get("namespace") or "", metadata["name"], metadata.get("labels") or {})


def main() -> None:
    settings = parse(Settings)
    try:
        cluster = (
            ClusterConfig.from_kubeconfig(settings.kubeconfig) if settings.kubeconfig else ClusterConfig.in_cluster()
        )
        parse_label_selector(settings.node_selector)
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

    async def start(process: Process) -> None:
        await metrics_server(process, settings, cluster)

    run("metrics-server", settings, start)


if __name__ == "__main__":
    main()
