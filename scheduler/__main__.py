"""cox-scheduler: gives every pod its node."""

from __future__ import annotations

import asyncio
import socket
import uuid

import prometheus_client

from common.client import Client, ClusterConfig
from common.events import EventRecorder
from common.informer import InformerFactory
from common.leader import LeaderElector
from common.process import Process, parse, run
from scheduler.cache import Cache
from scheduler.eventhandlers import EventHandlers
from scheduler.metrics import SchedulerMetrics
from scheduler.plugins import default_profile
from scheduler.queue import SchedulingQueue
from scheduler.scheduler import Scheduler
from scheduler.settings import SchedulerSettings


def main() -> None:
    settings = parse(SchedulerSettings)

    async def start(process: Process) -> None:
        process.spawn(schedule(process, settings), name="scheduler")

    run("kube-scheduler", settings, start, port=settings.secure_port)


async def schedule(process: Process, settings: SchedulerSettings) -> None:
    """Runs until cancelled, or until another scheduler took over the Lease."""
    config = ClusterConfig.from_kubeconfig(settings.kubeconfig) if settings.kubeconfig else ClusterConfig.in_cluster()
    async with Client(config, user_agent="kube-scheduler") as client, asyncio.TaskGroup() as tasks:
        cache, queue = Cache(), SchedulingQueue()
        factory = InformerFactory(client)
        # The informers run before this instance leads: a standby takes over with a full picture.
        handlers = EventHandlers(factory, cache, queue, settings.scheduler_name)
        recorder = EventRecorder(client, settings.scheduler_name)
        scheduler = Scheduler(
            client,
            cache,
            queue,
            default_profile(client, handlers.claims.store.get),
            recorder,
            SchedulerMetrics(prometheus_client.REGISTRY, queue.sizes),
            name=settings.scheduler_name,
        )

        async def lead() -> None:
            await handlers.wait_synced()
            await scheduler.run()

        process.health.add("informer-sync", lambda: _check_synced(handlers))
        tasks.create_task(factory.run())
        tasks.create_task(recorder.run())
        if not settings.leader_elect:
            tasks.create_task(lead())
            return
        elector = LeaderElector(
            client,
            name=settings.leader_elect_resource_name,
            namespace=settings.leader_elect_resource_namespace,
            identity=f"{socket.gethostname()}_{uuid.uuid4()}",
            recorder=recorder,
        )
        tasks.create_task(elector.run(lead))


def _check_synced(handlers: EventHandlers) -> None:
    if not handlers.synced:
        raise RuntimeError("nodes, pods and claims are not listed yet")


if __name__ == "__main__":
    main()
