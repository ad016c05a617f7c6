"""``python -m apiserver``: puts the rooms together and serves."""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from contextlib import suppress

from starlette.routing import Mount

from apiserver import admission, authn, authz, bootstrap, subresources
from apiserver.allocation import RepairLoop
from apiserver.app import ApiServer
from apiserver.authn import issuer_discovery
from apiserver.bootstrap import kubernetes_service
from apiserver.endpoints.api import Api
from apiserver.endpoints.discovery import paths as discovery_paths
from apiserver.extensions import Aggregator
from apiserver.limits import Limits
from apiserver.metrics import Metrics
from apiserver.patch import apply_patch
from apiserver.resources.table import RESOURCES
from apiserver.schema import conform, decode
from apiserver.schema.openapi import OpenAPI
from apiserver.settings import Settings
from apiserver.storage import compaction
from apiserver.storage.etcd import Etcd
from apiserver.storage.registry import Stores
from apiserver.web import Gate, Shared, build
from common.api.status import StatusError
from common.process import Process, parse, run, setup_logging
from common.serving import serve
from common.tunnel import TunnelProtocol
from common.workers import check_free, shared_socket, supervise

log = logging.getLogger(__name__)
LEAVE_SECONDS = 2.0
END_WATCHES_EVERY = 0.1


async def serve_api(process: Process, settings: Settings) -> None:
    """Until the process stops. Requests are taken at once; those that need the caches wait for them a little."""
    process.linger = settings.shutdown_delay_duration
    metrics = Metrics()
    limits = Limits(
        reading=settings.max_requests_inflight,
        mutating=settings.max_mutating_requests_inflight,
        seconds=settings.request_timeout,
        watch_seconds=settings.min_request_timeout,
    )
    etcd = Etcd(settings.etcd_servers, settings.etcd_tls(), observe=metrics.observe_etcd)
    stores = Stores([r for r in RESOURCES if "watch" in r.verbs], etcd)
    authenticator = authn.build(settings, stores)
    authorizer = authz.build(stores)
    chain = admission.build_chain(stores, settings, authorizer)
    api = Api(stores, chain, decode, conform, apply_patch, authorizer)
    context = subresources.build_context(settings, api, authenticator=authenticator, authorizer=authorizer)
    aggregator = Aggregator(stores, settings)
    cluster = bootstrap.Bootstrap(stores, settings, bootstrap.Members(etcd))
    roles, synced = Gate("bootstrap of roles"), Gate("the first list of etcd")
    synced.done = stores.feed.synced
    etcd_answers = Shared(etcd.check_version)
    process.health.add("etcd", etcd_answers.check, live=True)
    process.health.add("poststarthook/rbac/bootstrap-roles", roles.check, live=True)
    process.health.add("etcd-readiness", etcd_answers.check)
    process.health.add("informer-sync", synced.check)
    process.health.add("shutdown", lambda: _check_running(process))

    async def after_sync() -> None:
        await stores.feed.synced.wait()
        await bootstrap.run(cluster, ready=roles.done)

    async def repair() -> None:
        await stores.feed.synced.wait()
        await RepairLoop(stores, settings, etcd).run()

    async def aggregate() -> None:
        await stores.feed.synced.wait()
        await aggregator.run()

    about_tokens = issuer_discovery.routes(settings, _own_address(settings))
    app = ApiServer(
        api,
        resources=RESOURCES,
        authenticator=authenticator,
        authorizer=authorizer,
        specs=subresources.HANDLERS,
        handlers=subresources.mount(context),
        web=build(
            process.health,
            [Mount("/openapi", OpenAPI(RESOURCES, subresources.HANDLERS, aggregator.openapi)), *about_tokens],
            [*discovery_paths(RESOURCES), *issuer_discovery.paths(about_tokens)],
        ),
        metrics=metrics,
        limits=limits,
        aggregator=aggregator,
    )
    process.spawn(stores.feed.run(), "feed")
    process.spawn(compaction.run(etcd), "compaction")
    process.spawn(after_sync(), "bootstrap")
    process.spawn(repair(), "allocation-repair")
    process.spawn(aggregate(), "aggregation")
    if settings.pod_routes:
        from apiserver.pod_routes import PodRoutes  # netlink is for those alone that use it

        process.spawn(PodRoutes(stores.store("", "nodes")).run(stores.feed.synced), "pod-routes")
    bound = shared_socket(settings.bind_address, settings.secure_port) if settings.workers > 1 else None
    ending = asyncio.create_task(_end_watches(process, stores))
    try:
        await serve(
            app,
            host=settings.bind_address,
            port=settings.secure_port,
            tls=settings.tls(),
            protocol=TunnelProtocol,
            bound=bound,
        )
    finally:
        ending.cancel()
        if stores.feed.synced.is_set():
            await _leave(cluster)
        await etcd.close()


def _check_running(process: Process) -> None:
    if process.stop.is_set():
        raise RuntimeError("process is shutting down")


async def _leave(cluster: bootstrap.Bootstrap) -> None:
    """The last word of a server that stops; etcd may be gone before it."""
    try:
        async with asyncio.timeout(LEAVE_SECONDS):
            await cluster.leave()
    except (OSError, StatusError, TimeoutError) as error:
        log.warning("the kubernetes service may lead here for some seconds more: %s", error)


async def _end_watches(process: Process, stores: Stores) -> None:
    """Watches never end by themselves: a graceful stop ends them, and those that their clients then begin at once."""
    await process.stop.wait()
    await asyncio.sleep(process.linger)
    while True:
        stores.end_watches()
        await asyncio.sleep(END_WATCHES_EVERY)


def _own_address(settings: Settings) -> str:
    """Where others find this server, as far as it knows."""
    try:
        address = kubernetes_service.advertised(settings)
    except OSError:  # no network yet
        address = settings.bind_address
    return f"[{address}]:{settings.secure_port}" if ":" in address else f"{address}:{settings.secure_port}"


def _allow_files() -> None:
    """As many connections as the machine's owner allows: what a shell or a container begins with (1,024) is a default
    that Go's programs raise too."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a limit above the kernel's own
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    settings = parse(Settings)
    _allow_files()

    async def start(process: Process) -> None:
        await serve_api(process, settings)

    if settings.workers == 1:
        run("apiserver", settings, start)
    setup_logging(settings.v)
    try:
        check_free(settings.bind_address, settings.secure_port)
    except OSError as error:
        sys.exit(f"error: cannot listen on {settings.bind_address}:{settings.secure_port}: {error}")
    supervise(settings.workers, lambda: run("apiserver", settings, start), settings.shutdown_delay_duration)


if __name__ == "__main__":
    main()
