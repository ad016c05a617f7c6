"""kube-controller-manager: every control loop of the control plane, run by whichever instance holds the Lease."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import sys

from common.client import Client, ClusterConfig
from common.events import EventRecorder
from common.informer import InformerFactory
from common.leader import LeaderElector
from common.process import Process, parse, run
from controller_manager.context import Context
from controller_manager.registry import build, unknown_names
from controller_manager.settings import Settings

NAME = "kube-controller-manager"
CONNECTIONS = 256
"""The garbage collector watches every resource, at a connection each (HTTP/1.1)."""

log = logging.getLogger(__name__)


async def lead(client: Client, settings: Settings) -> None:
    """Runs the controllers until cancelled. All caches are filled before the first decision is made."""
    informers = InformerFactory(client)
    context = Context(client, informers, settings)
    controllers = build(context)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(informers.run())
        for recorder in context.recorders.values():
            tasks.create_task(recorder.run())
        await informers.wait_synced()
        log.info("running %s", ", ".join(controllers))
        for name, controller in controllers.items():
            tasks.create_task(controller.run(), name=name)


async def serve(process: Process, settings: Settings) -> None:
    """Leads when elected, or at once without --leader-elect."""
    config = ClusterConfig.from_kubeconfig(settings.kubeconfig) if settings.kubeconfig else ClusterConfig.in_cluster()

    async def work() -> None:
        async with Client(config, user_agent=NAME, connections=CONNECTIONS) as client:
            await (_elect(client, settings) if settings.leader_elect else lead(client, settings))

    process.spawn(work(), NAME)


async def _elect(client: Client, settings: Settings) -> None:
    recorder = EventRecorder(client, NAME)
    elector = LeaderElector(
        client,
        name=settings.leader_elect_resource_name,
        namespace=settings.leader_elect_resource_namespace,
        identity=f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(8)}",
        lease_duration=settings.leader_elect_lease_duration,
        renew_deadline=settings.leader_elect_renew_deadline,
        retry_period=settings.leader_elect_retry_period,
        recorder=recorder,
    )
    async with asyncio.TaskGroup() as tasks:
        recording = tasks.create_task(recorder.run())
        try:
            await elector.run(lambda: lead(client, settings))
        finally:
            recording.cancel()


def main() -> None:
    """The console entry point."""
    settings = parse(Settings)
    if unknown := unknown_names(settings):
        sys.exit(f"error: --controllers: {', '.join(unknown)} is not in the list of known controllers")
    sys.exit(run(NAME, settings, lambda process: serve(process, settings), port=settings.secure_port or None))


if __name__ == "__main__":
    main()
