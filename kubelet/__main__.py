"""cox-kubelet: runs the pods of one node on its Docker.

It starts whether or not the API server and Docker answer, keeps what runs, and tries again until they do. When it stops
its pods stay: the next kubelet adopts them.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightkube.models.core_v1 import ObjectReference
from lightkube.resources.core_v1 import Node, Pod

from common.api.duration import parse_duration
from common.api.meta import meta_of
from common.api.quantity import parse_bytes
from common.client import Client, ClusterConfig
from common.client.config import ConfigError
from common.events import EventRecorder
from common.informer import InformerFactory
from common.process import Process, parse, run, setup_logging
from common.serving import TLSOptions, serve
from common.tunnel import SpdyTunnelProtocol
from kubelet import configuration, configz, metrics
from kubelet.certificates.node import NodeCertificates
from kubelet.certificates.rotation import Template
from kubelet.cgroups.tree import PodCgroups, Tell, find_hierarchy
from kubelet.cgroups.values import node_values
from kubelet.eviction.manager import EvictionManager
from kubelet.eviction.reclaim import Reclaimer
from kubelet.eviction.usage import Measure
from kubelet.housekeeping import AddressKeeper
from kubelet.imagegc import ImageGC
from kubelet.logs.keeper import LogKeeper
from kubelet.logs.paths import LogPaths
from kubelet.logs.reader import read as read_log
from kubelet.manager import PodManager
from kubelet.network.plugin import NetworkConfig, PodNetwork
from kubelet.network.watcher import NetworkWatcher
from kubelet.node.agent import Cadence, NodeAgent, Watched
from kubelet.node.lease import NodeLease
from kubelet.node.machine import file_system, read_machine
from kubelet.node.status import NodeIdentity, Observation, addresses_of, allocatable_amounts, capacity_amounts
from kubelet.oom import OOMWatcher
from kubelet.runtime.docker import DockerRuntime
from kubelet.runtime.measured import measure
from kubelet.runtime.spec import LogLimits
from kubelet.server.app import KubeletServer
from kubelet.server.auth import Access
from kubelet.server.diagnostics import Diagnostics
from kubelet.server.healthz import serve_healthz
from kubelet.server.reviews import ApiReviews
from kubelet.settings import KubeletSettings, parse_headers, parse_labels, parse_taints, split
from kubelet.shutdown.manager import ShutdownManager
from kubelet.staticpods.files import ManifestFolder
from kubelet.staticpods.sources import StaticSources
from kubelet.staticpods.url import ManifestURL
from kubelet.stats.collector import StatsCollector
from kubelet.types import KubeletConfig, VolumeError
from kubelet.volumes.manager import VolumeManager
from kubelet.volumes.mounts import make_shared
from kubelet.volumes.objects import CachedObjects
from kubelet.volumes.token import TokenManager

log = logging.getLogger("kubelet")

_UNIX = "unix://"


def main() -> None:
    settings = parse(KubeletSettings)
    file, folder = (Path(each) if each else None for each in (settings.config, settings.config_dir))
    if file or folder:
        try:
            values = configuration.load(file, folder, KubeletSettings.model_fields)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        settings = parse(KubeletSettings, None, values)
    try:
        identity = _identity(settings)
        certificates = _certificates(settings, identity)
        setup_logging(settings.v)
        config = certificates.credentials(settings.kubeconfig, settings.bootstrap_kubeconfig)
    except (ValueError, ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

    async def start(process: Process) -> None:
        process.spawn(kubelet(settings, config, identity, certificates, process.stop), name="kubelet")

    run("kubelet", settings, start)


async def kubelet(
    settings: KubeletSettings,
    cluster: ClusterConfig,
    identity: NodeIdentity,
    certificates: NodeCertificates,
    stop: asyncio.Event,
) -> None:
    """Until cancelled. Every part runs for ever: one that fails ends the process, and pods do not notice.

    SIGUSR1 says that the machine is about to shut down: the pods end in their order, and then ``stop`` is set. That is
    for machines without systemd, where the kubelet hears of it by itself.
    """
    name, root = identity.name, settings.root
    try:
        await asyncio.to_thread(make_shared, root)
    except (VolumeError, OSError) as error:
        log.warning("mountPropagation of volumes will not work: %s", error)
    network_state = root / "network"
    limits = LogLimits(parse_bytes(settings.container_log_max_size), settings.container_log_max_files)
    socket, oom = settings.container_runtime_endpoint.removeprefix(_UNIX), OOMWatcher()
    runtime = measure(DockerRuntime(name, socket, logs=limits, seccomp_root=root / "seccomp", oom=oom))
    network = PodNetwork(NetworkConfig(name, network_state, settings.cluster_cidr, settings.bridge))
    pods_config = _pods_config(settings, identity)
    try:
        async with Client(cluster, user_agent="kubelet") as client, asyncio.TaskGroup() as tasks:
            informers = InformerFactory(client)
            nodes = informers.informer(Node)
            recorder = EventRecorder(client, "kubelet", name)
            objects = CachedObjects(client)

            def this_node() -> Node | None:
                return nodes.store.get(name)

            # The uid is the node's name: that is by what "kubectl describe node" looks for events, as with upstream's.
            node_ref = ObjectReference(kind="Node", name=name, uid=name)
            volumes = VolumeManager(root, objects, TokenManager(client), pods_config.capacity, client, this_node)
            shown = informers.informer(Pod, field_selector=f"spec.nodeName={name}")
            shown.add_handler(volumes.notice, lambda _, new: volumes.notice(new))

            def tell(type_: Literal["Normal", "Warning"], reason: str, text: str) -> None:
                recorder.event(node_ref, type_, reason, text)

            def warn(reason: str, text: str) -> None:
                log.error("%s", text)
                tell("Warning", reason, text)

            cgroups = _cgroups(settings, identity, runtime, tell)
            log_paths = LogPaths(pods_config.pod_log_dir, pods_config.container_log_dir)
            logs = LogKeeper(log_paths, root / "logs", limits)
            manager = PodManager(
                pods_config,
                client,
                runtime=runtime,
                network=network,
                volumes=volumes,
                objects=objects,
                recorder=recorder,
                logs=logs,
                informers=informers,
                node=this_node,
                cgroups=cgroups,
                runtime_back=lambda: agent.wake(),
                pressure=lambda: eviction.conditions,
                shutting_down=lambda: shutdown.shutting_down,
            )
            image_gc = ImageGC(runtime, settings.image_gc(), settings.pod_infra_container_image, warn)
            reclaimer = Reclaimer(runtime, manager, image_gc, root, lambda: cgroups.all_pods)
            eviction = EvictionManager(
                node_ref,
                settings.eviction(),
                read_machine(),
                look=reclaimer.look,
                pods=manager,
                measure=Measure(runtime, volumes, log_paths.path),
                reclaim=reclaimer.reclaim,
                recorder=recorder,
                changed=lambda: agent.wake(),
            )
            shutdown = ShutdownManager(
                node_ref, settings.shutdown(), manager, recorder, lambda: agent.wake(), settings.root
            )
            watched = Watched(
                network.problem,
                manager.problem,
                shutdown.problem,
                pressure=lambda: eviction.conditions,
                node=this_node,
                addresses=settings.machine_addresses,
                reported=certificates.addresses,
            )
            cadence = Cadence(
                parse_duration(settings.node_status_update_frequency),
                parse_duration(settings.node_status_report_frequency),
            )
            agent = NodeAgent(
                client, runtime, recorder, identity, root, watched, cadence, register=settings.register_node
            )
            await eviction.first_look()
            watcher = NetworkWatcher(network, nodes, name, network_state / "subnet", agent.wake, settings.pod_cidr)

            def moved(before: Node, after: Node) -> None:
                if meta_of(after).name == name and addresses_of(before) != addresses_of(after):
                    manager.wake_all()

            nodes.add_handler(on_update=moved)

            async def healthy() -> None:
                await runtime.version()

            _end_with_machine(shutdown, stop, tasks)
            for reading in _static_pods(settings, name, manager, partial(warn, "InvalidStaticPod")):
                tasks.create_task(reading)

            metrics.NODE_NAME.labels(name).set(1)
            stats = StatsCollector(
                runtime,
                name,
                root,
                pods=manager.pods,
                mounted=volumes.places,
                pod_log_dir=Path(settings.pod_log_dir),
                socket_path=socket,
            )
            app = KubeletServer(
                manager,
                runtime,
                stats,
                healthy,
                partial(read_log, logs),
                _access(settings, client, name),
                _diagnostics(settings, manager),
            ).app()

            async def listen(tls: TLSOptions, renewed: asyncio.Event) -> None:
                await serve(
                    app,
                    host=settings.address,
                    port=settings.port,
                    tls=tls,
                    protocol=SpdyTunnelProtocol,
                    renewed=renewed,
                )

            if settings.healthz_port:
                tasks.create_task(serve_healthz(settings.healthz_bind_address, settings.healthz_port))
            if (rotation := certificates.client_rotation(client)) is not None:
                tasks.create_task(rotation.run())
            for part in (
                informers.run(),
                recorder.run(),
                manager.run(),
                logs.run(),
                volumes.run(manager.pod_by_uid, manager.wake),
                watcher.run(),
                image_gc.run(),
                eviction.run(),
                agent.run(),
                NodeLease(client, name, settings.node_lease_duration_seconds).run(),
                AddressKeeper(network, runtime, manager).run(),
                oom.run(partial(warn, "SystemOOM")),
                certificates.serve(client, listen),
            ):
                tasks.create_task(part)
    finally:
        await network.close()
        await runtime.close()


def _end_with_machine(shutdown: ShutdownManager, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
    """The machine's end is told by SIGUSR1 or by logind: pods end in their order first."""

    async def end_node() -> None:
        await shutdown.shut_down()
        stop.set()

    def told_to_end() -> None:
        log.warning("SIGUSR1: the machine is about to shut down")
        tasks.create_task(end_node())

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told_to_end)
    if shutdown.enabled:
        from kubelet.shutdown.logind import Logind  # with the D-Bus library, which others need not load

        tasks.create_task(Logind(shutdown.seconds, shutdown.shut_down, shutdown.cancel).run())


def _static_pods(
    settings: KubeletSettings, node_name: str, manager: PodManager, complain: Callable[[str], None]
) -> Iterator[Coroutine[Any, Any, None]]:
    """What reads the manifests of this node's own. Without any the manager is told that there are none."""
    given = {"file": settings.pod_manifest_path, "http": settings.manifest_url}
    sources = StaticSources([source for source, place in given.items() if place], manager.set_static)
    if settings.pod_manifest_path:
        folder = ManifestFolder(Path(settings.pod_manifest_path), node_name, complain)
        yield folder.run(sources.reader("file"), parse_duration(settings.file_check_frequency))
    if settings.manifest_url:
        headers = parse_headers(settings.manifest_url_header)
        url = ManifestURL(settings.manifest_url, headers, node_name, complain)
        yield url.run(sources.reader("http"), parse_duration(settings.http_check_frequency))


def _identity(settings: KubeletSettings) -> NodeIdentity:
    return NodeIdentity(
        name=settings.node_name,
        addresses=settings.node_addresses(),
        labels=parse_labels(settings.node_labels),
        taints=parse_taints(settings.register_with_taints),
        max_pods=settings.max_pods,
        port=settings.port,
        pods_per_core=settings.pods_per_core,
        max_images=settings.node_status_max_images,
        provider_id=settings.provider_id,
        external_cloud=settings.cloud_provider == "external",
        schedulable=settings.register_schedulable,
        thresholds=settings.eviction().thresholds,
        reserved=settings.reserved(),
    )


def _access(settings: KubeletSettings, client: Client, node_name: str) -> Access:
    reviews = ApiReviews(
        client,
        node_name,
        settings.authentication_token_webhook_cache_ttl,
        settings.authorization_webhook_cache_authorized_ttl,
        settings.authorization_webhook_cache_unauthorized_ttl,
    )
    return Access(
        reviews,
        tokens=settings.authentication_token_webhook,
        anonymous=settings.anonymous_auth,
        webhook=settings.authorization_mode == "Webhook",
    )


def _diagnostics(settings: KubeletSettings, manager: PodManager) -> Diagnostics:
    log_dir = Path(settings.pod_log_dir).parent if settings.enable_system_log_handler else None
    return Diagnostics(configz.configuration(settings), manager.problem, log_dir)


def _certificates(settings: KubeletSettings, identity: NodeIdentity) -> NodeCertificates:
    """Without a CA for clients the API server could not come in: say so at the start."""
    if settings.client_ca_file is None:
        raise ValueError("--client-ca-file is required")
    return NodeCertificates(
        Path(settings.cert_dir),
        identity.name,
        Template(),
        tuple(identity.addresses),
        settings.client_ca_file,
        settings.tls(),
        rotate_client=settings.rotate_certificates,
        rotate_server=settings.rotate_server_certificates,
    )


def _cgroups(settings: KubeletSettings, identity: NodeIdentity, runtime: DockerRuntime, tell: Tell) -> PodCgroups:
    machine, reserved = read_machine(), identity.reserved
    offered = node_values(machine.cpus * 1000 - reserved.get("cpu", 0), machine.memory - reserved.get("memory", 0))

    async def driver() -> str:
        return (await runtime.info()).cgroup_driver

    return PodCgroups(
        settings.cgroup_root,
        find_hierarchy() if settings.cgroups_per_qos else None,
        driver,
        node=offered if "pods" in split(settings.enforce_node_allocatable) else None,
        pod_pids=settings.pod_max_pids,
        cfs_quota=settings.cpu_cfs_quota,
        single_process_oom_kill=bool(settings.single_process_oom_kill),
        tell=tell,
    )


def _pods_config(settings: KubeletSettings, identity: NodeIdentity) -> KubeletConfig:
    machine = read_machine()
    observed = Observation(machine, file_system(settings.root), None)
    return KubeletConfig(
        node_name=identity.name,
        node_ips=tuple(identity.addresses),
        pod_infra_container_image=settings.pod_infra_container_image,
        root_dir=settings.root_dir,
        pod_log_dir=settings.pod_log_dir,
        container_log_dir=str(Path(settings.pod_log_dir).with_name("containers")),
        cluster_dns=tuple(split(settings.cluster_dns)),
        cluster_domain=settings.cluster_domain,
        resolv_conf=settings.resolv_conf,
        cpu_cfs_quota=settings.cpu_cfs_quota,
        recursive_read_only=machine.recursive_read_only,
        max_pods=capacity_amounts(identity, observed)["pods"],
        capacity=allocatable_amounts(identity, observed),
        max_parallel_image_pulls=settings.max_parallel_image_pulls,
        serialize_image_pulls=settings.serialize_image_pulls,
        max_dead_containers_per_container=settings.maximum_dead_containers_per_container,
        max_dead_containers=settings.maximum_dead_containers,
        minimum_container_ttl_seconds=parse_duration(settings.minimum_container_ttl_duration),
        seccomp_default=settings.seccomp_default,
        allowed_unsafe_sysctls=tuple(split(settings.allowed_unsafe_sysctls)),
    )


if __name__ == "__main__":
    main()
