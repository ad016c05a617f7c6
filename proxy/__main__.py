"""cox-proxy: programs this node's iptables so that Services reach their pods."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import prometheus_client
from lightkube.resources.core_v1 import Node

from common.api.status import StatusError
from common.client import Client, ClusterConfig
from common.informer import InformerFactory
from common.process import Process, parse, run, setup_logging
from common.serving import serve
from proxy.health import SyncHealth, application
from proxy.iptables import Iptables, IptablesError
from proxy.metrics import SyncMetrics
from proxy.restore import cleanup_change
from proxy.rules import RuleConfig, assemble
from proxy.settings import ProxySettings
from proxy.sync import ServiceTracker, Syncer

log = logging.getLogger(__name__)


def main() -> None:
    settings = parse(ProxySettings)
    if settings.cleanup:
        setup_logging(settings.v)
        sys.exit(asyncio.run(cleanup(Iptables())))

    async def start(process: Process) -> None:
        process.spawn(proxy(process, settings), name="proxy")

    run("kube-proxy", settings, start)


async def proxy(process: Process, settings: ProxySettings) -> None:
    """Runs until cancelled. The rules stay when it ends."""
    if settings.iptables_localhost_nodeports:
        allow_localhost_node_ports()
    config = ClusterConfig.from_kubeconfig(settings.kubeconfig) if settings.kubeconfig else ClusterConfig.in_cluster()
    async with Client(config, user_agent="kube-proxy") as client, asyncio.TaskGroup() as tasks:
        factory = InformerFactory(client)
        tracker = ServiceTracker(factory, settings.node_name)
        tasks.create_task(factory.run())
        syncer = Syncer(
            tracker,
            Iptables(),
            settings.rule_config(await node_ip(client, settings.node_name)),
            SyncMetrics(prometheus_client.REGISTRY),
            min_sync_period=settings.iptables_min_sync_period,
            sync_period=settings.iptables_sync_period,
        )
        health = SyncHealth(syncer, settings.iptables_sync_period)
        process.health.add("sync", health.check)
        app = application(process, health)
        tasks.create_task(serve(app, host=settings.bind_address, port=settings.secure_port, tls=settings.tls()))
        tasks.create_task(syncer.run())


async def node_ip(client: Client, name: str) -> str | None:
    """This node's address; None while it is not registered: only load balancers' source ranges use it."""
    try:
        node = await client.get(Node, name)
    except StatusError as error:
        log.info("this node's address is not known yet: %s", error)
        return None
    addresses = (node.status.addresses if node.status else None) or ()
    return next((a.address for a in addresses if a.type == "InternalIP" and ":" not in a.address), None)


def allow_localhost_node_ports() -> None:
    """Lets the kernel route packets with source 127.0.0.1; the rules keep others from using that."""
    setting = Path("/proc/sys/net/ipv4/conf/all/route_localnet")
    try:
        if setting.read_text().strip() != "1":
            setting.write_text("1\n")
    except OSError as error:
        log.warning("node ports will not answer on 127.0.0.1: %s: %s", setting, error)


async def cleanup(iptables: Iptables) -> int:
    """Takes back all that the proxy ever wrote. Returns an exit code."""
    try:
        await iptables.remove_jumps()
        change = cleanup_change(await iptables.existing(), assemble((), RuleConfig()))
        if change:
            await iptables.restore(change.text())
    except IptablesError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    main()
