"""Routes of figures: ``/stats/summary``, ``/metrics`` and what is below it; and what requests are counted by."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import cached_property

import prometheus_client
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kubelet import metrics
from kubelet.cri import Runtime, RuntimeFailure
from kubelet.node.machine import Machine, read_machine
from kubelet.server.logs import truth
from kubelet.stats.cadvisor import cadvisor_metrics
from kubelet.stats.collector import Measured, StatsCollector
from kubelet.stats.exposition import CONTENT_TYPE, Family, counter, gauge, labels, render
from kubelet.stats.resource import resource_metrics

log = logging.getLogger("kubelet.server")

LONG_RUNNING = frozenset(("exec", "attach", "portforward", "debug", "run"))
PATHS = frozenset(
    ("attach", "checkpoint", "configz", "containerLogs", "debug", "exec", "healthz", "logs", "metrics",
     "metrics/cadvisor", "metrics/probes", "metrics/resource", "pods", "portForward", "run", "runningpods", "stats",
     "stats/summary")
)  # fmt: skip
"""What requests are counted by: anything else is "other", since each value makes a row for good."""
_VOLUME_SERIES = (
    ("capacity_bytes", "capacityBytes", "Capacity in bytes of the volume"),
    ("available_bytes", "availableBytes", "Number of available bytes in the volume"),
    ("used_bytes", "usedBytes", "Number of used bytes in the volume"),
    ("inodes", "inodes", "Maximum number of inodes in the volume"),
    ("inodes_free", "inodesFree", "Number of free inodes in the volume"),
    ("inodes_used", "inodesUsed", "Number of used inodes in the volume"),
)


class Figures:
    """The routes, over the collector."""

    def __init__(self, stats: StatsCollector, runtime: Runtime) -> None:
        self._stats = stats
        self._runtime = runtime

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/stats/summary", self.summary),
            Route("/metrics", self.metrics),
            Route("/metrics/resource", self.resource),
            Route("/metrics/cadvisor", self.cadvisor),
            Route("/metrics/probes", self.probes),
        ]

    async def summary(self, request: Request) -> Response:
        brief = truth(request.query_params.get("only_cpu_and_memory"))
        return JSONResponse(await self._stats.summary(only_cpu_and_memory=brief))

    async def metrics(self, request: Request) -> Response:
        families = [*_ended_pods(), *await self._volumes()]
        await self._count_running()
        text = prometheus_client.generate_latest() + render(families).encode()
        return Response(text, media_type=CONTENT_TYPE)

    async def resource(self, request: Request) -> Response:
        return _exposed(resource_metrics(await self._measured(places=False)))

    async def cadvisor(self, request: Request) -> Response:
        measured = await self._measured(places=True)
        swap = measured.node.swap_total if measured is not None else 0
        made = await asyncio.to_thread(lambda: cadvisor_metrics(measured, self._machine, swap))
        return _exposed(made)

    async def probes(self, request: Request) -> Response:
        return Response(prometheus_client.generate_latest(metrics.PROBES), media_type=CONTENT_TYPE)

    @cached_property
    def _machine(self) -> Machine:
        return read_machine()

    async def _measured(self, *, places: bool) -> Measured | None:
        """None when the runtime is away: the series of errors say so."""
        try:
            return await self._stats.measure(places=places, full=places)
        except RuntimeFailure as error:
            log.warning("no figures of containers: %s", error)
            return None

    async def _count_running(self) -> None:
        try:
            containers = await self._runtime.list_containers()
        except RuntimeFailure:
            return
        states: dict[str, int] = {"created": 0, "exited": 0, "running": 0, "unknown": 0}
        for each in containers:
            if not each.is_sandbox:
                states[each.state.value] = states.get(each.state.value, 0) + 1
        for state, number in states.items():
            metrics.RUNNING_CONTAINERS.labels(state).set(number)
        metrics.RUNNING_PODS.set(sum(each.is_sandbox and each.running for each in containers))

    async def _volumes(self) -> Sequence[Family]:
        """kubelet_volume_stats_*: of claims, as upstream; and how many volumes there are."""
        try:
            summary = await self._stats.summary()
        except RuntimeFailure:
            return ()
        made = [(gauge(f"kubelet_volume_stats_{name}", f"[ALPHA] {text}"), key) for name, key, text in _VOLUME_SERIES]
        seen = set()
        for pod in summary["pods"]:
            for volume in pod.get("volume", ()):
                claim = volume.get("pvcRef")
                if claim is not None and (claim["namespace"], claim["name"]) not in seen:
                    seen.add((claim["namespace"], claim["name"]))
                    text = labels(namespace=claim["namespace"], persistentvolumeclaim=claim["name"])
                    for family, key in made:
                        family.add(text, volume[key])
        total = gauge("volume_manager_total_volumes", "[ALPHA] Number of volumes in Volume Manager")
        for (plugin, state), number in self._stats.volume_counts().items():
            total.add(labels(plugin_name=plugin, state=state), number)
        return [*(family for family, _ in made), total]


def _ended_pods() -> Sequence[Family]:
    evicted = counter("kubelet_evictions", "[ALPHA] Cumulative number of pod evictions by eviction signal")
    for signal, number in metrics.EVICTIONS.items():
        evicted.add(labels(eviction_signal=signal), number)
    preempted = counter("kubelet_preemptions", "[ALPHA] Cumulative number of pod preemptions by preemption resource")
    for resource, number in metrics.PREEMPTIONS.items():
        preempted.add(labels(preemption_signal=resource), number)
    return evicted, preempted


def _exposed(families: Sequence[Family]) -> Response:
    return Response(render(families), media_type=CONTENT_TYPE)


class Counted:
    """ASGI middleware: kubelet_http_requests_total and its kin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = counted_path(scope["path"])
        long_running = str(path.lower() in LONG_RUNNING).lower()
        values = (scope.get("method", "GET"), path, "readwrite", long_running)
        metrics.HTTP_REQUESTS.labels(*values).inc()
        inflight, began = metrics.HTTP_INFLIGHT.labels(*values), time.monotonic()
        inflight.inc()
        try:
            await self._app(scope, receive, send)
        finally:
            inflight.dec()
            metrics.HTTP_DURATION.labels(*values).observe(time.monotonic() - began)


def counted_path(path: str) -> str:
    """``/exec/ns/pod/c`` -> ``exec``."""
    parts = path.strip("/").split("/")
    two = "/".join(parts[:2])
    if two in PATHS:
        return two
    return parts[0] if parts[0] in PATHS else "other"
