"""Brings the figures together for whoever asks: the server's routes, and whoever decides by them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightkube.resources.core_v1 import Pod

from kubelet.cri import Runtime, RuntimeFailure
from kubelet.node.machine import FileSystem, file_system
from kubelet.stats import summary
from kubelet.stats.disk import Disks, Usage, Wanted
from kubelet.stats.network import default_of, interfaces
from kubelet.stats.node import NodeFigures, ProcessFigures, peer_of, read_node, read_process
from kubelet.stats.places import COUNTED, VolumePlace, layer_of, logs_of, source_of, volume_places
from kubelet.stats.samples import PodSamples, Rates, Reading, Sampler
from kubelet.stats.summary import NodePlaces, PodPlaces

log = logging.getLogger("kubelet.stats")

IMAGES_AGE = 60.0
"""Seconds between two questions for what images take."""


@dataclass(frozen=True, slots=True)
class Measured:
    """All figures of one moment."""

    node: NodeFigures
    node_rate: int | None
    reading: Reading
    disk: FileSystem
    places: Mapping[str, PodPlaces] | None


class StatsCollector:
    """``pods`` gives this node's pods, ``mounted`` where the volumes of one are (by its uid); ``socket_path`` is the
    runtime's, to find its process."""

    def __init__(
        self,
        runtime: Runtime,
        node_name: str,
        root_dir: Path,
        *,
        pods: Callable[[], Sequence[Pod]] = lambda: (),
        mounted: Callable[[str], Mapping[str, str]] = lambda uid: {},
        pod_log_dir: Path = Path("/var/log/pods"),
        socket_path: str = "",
    ) -> None:
        self._runtime = runtime
        self._node_name = node_name
        self._root_dir = root_dir
        self._pods = pods
        self._mounted = mounted
        self._pod_log_dir = pod_log_dir
        self._socket_path = socket_path
        self._started = datetime.now(UTC)
        self._sampler = Sampler(runtime)
        self._rates = Rates()
        self._disks = Disks()
        self._images: tuple[float, int, str] | None = None

    async def summary(self, *, only_cpu_and_memory: bool = False) -> dict[str, Any]:
        """Raises RuntimeFailure when the runtime does not say what runs."""
        measured = await self.measure(places=not only_cpu_and_memory)
        systems = await asyncio.to_thread(self._systems, measured)
        node_places = None if only_cpu_and_memory else await self._node_places(measured.disk)
        node = summary.node_stats(
            self._node_name, self._started, measured.node, measured.node_rate, systems, node_places
        )
        return summary.summary(node, measured.reading, measured.places, measured.disk)

    def volume_counts(self) -> dict[tuple[str, str], int]:
        """How many volumes the pods here have, by plugin and state (upstream's volume manager has them in two worlds:
        as they should be and as they are)."""
        counts: dict[tuple[str, str], int] = {}
        for pod in self._pods():
            for volume in (pod.spec.volumes if pod.spec is not None else None) or ():
                plugin = (COUNTED.get(source_of(volume)) or "kubernetes.io~unknown").replace("~", "/", 1)
                for state in ("actual_state_of_world", "desired_state_of_world"):
                    counts[plugin, state] = counts.get((plugin, state), 0) + 1
        return counts

    async def measure(self, *, places: bool, full: bool = False) -> Measured:
        """Samples, with what is on disk and network when ``places``; with the cgroups' details when ``full``."""
        reading = await self._sampler.read(full=full)
        figures, disk = await asyncio.to_thread(self._node)
        rate = self._rates.rate("node", figures.at, figures.cpu_nanoseconds)
        found = await self._places(reading) if places else None
        return Measured(figures, rate, reading, disk, found)

    def _node(self) -> tuple[NodeFigures, FileSystem]:
        return read_node(), file_system(self._root_dir)

    # -- disk and network -------------------------------------------------------------------------------------------

    async def _places(self, reading: Reading) -> Mapping[str, PodPlaces]:
        pods = {pod.metadata.uid: pod for pod in self._pods() if pod.metadata is not None}
        looked = await asyncio.to_thread(
            lambda: {held.first.pod_uid: self._look(held, pods.get(held.first.pod_uid)) for held in reading.pods}
        )
        wanted = [each for found in looked.values() for each in found.wanted()]
        usage = await self._disks.of(wanted)
        return await asyncio.to_thread(lambda: {uid: found.places(usage) for uid, found in looked.items()})

    def _look(self, held: PodSamples, pod: Pod | None) -> _Looked:
        on_host = pod is not None and pod.spec is not None and bool(pod.spec.hostNetwork)
        pid = held.sandbox.pid if held.sandbox is not None and not on_host else 0
        layers, logs = {}, {}
        for container in held.containers:
            if (layer := layer_of(container)) is not None:
                layers[container.id] = layer
            if not container.is_sandbox and (files := logs_of(container, self._pod_log_dir)) is not None:
                logs[container.id] = files
        mounted = self._mounted(held.first.pod_uid)
        volumes = volume_places(pod, self._root_dir, mounted) if pod is not None else []
        return _Looked(pid, volumes, layers, logs)

    async def _node_places(self, disk: FileSystem) -> NodePlaces:
        image_bytes, root = await self._image_bytes()

        def look() -> NodePlaces:
            found = interfaces()
            image_fs = file_system(Path(root)) if root else disk
            return NodePlaces(disk, image_fs, image_bytes, found, default_of(found))

        return await asyncio.to_thread(look)

    async def _image_bytes(self) -> tuple[int, str]:
        """What images take (layers that they share count for each), and where the runtime keeps them."""
        if self._images is None or time.monotonic() - self._images[0] > IMAGES_AGE:
            try:
                images, info = await self._runtime.list_images(), await self._runtime.info()
            except RuntimeFailure as error:
                log.debug("no figures of images: %s", error)
                return (self._images[1], self._images[2]) if self._images else (0, "")
            self._images = time.monotonic(), sum(image.size for image in images), info.root_dir
        return self._images[1], self._images[2]

    # -- the system's own processes ---------------------------------------------------------------------------------

    def _systems(self, measured: Measured) -> list[dict[str, Any]]:
        found = []
        for name, pid in (("kubelet", os.getpid()), ("runtime", self._runtime_pid())):
            figures = read_process(pid) if pid else None
            if figures is not None:
                found.append(summary.system_stats(name, figures, self._system_rate(name, figures)))
        available = measured.node.memory_capacity
        return [*found, summary.all_pods_stats(measured.reading, self._started, available)]

    def _system_rate(self, name: str, figures: ProcessFigures) -> int | None:
        return self._rates.rate(name, figures.at, figures.cpu_nanoseconds)

    def _runtime_pid(self) -> int:
        return peer_of(self._socket_path) if self._socket_path else 0


@dataclass(frozen=True, slots=True)
class _Looked:
    """Where a pod's figures are to be found."""

    pid: int
    volumes: Sequence[VolumePlace]
    layers: Mapping[str, Wanted]
    logs: Mapping[str, Wanted]

    def wanted(self) -> list[Wanted]:
        return [*(each.wanted for each in self.volumes), *self.layers.values(), *self.logs.values()]

    def places(self, usage: Mapping[Wanted, Usage]) -> PodPlaces:
        found = interfaces(self.pid) if self.pid else []
        return PodPlaces(
            interfaces=found,
            default=default_of(found, self.pid) if found else None,
            volumes=self.volumes,
            layers={key: usage[wanted] for key, wanted in self.layers.items() if wanted in usage},
            logs={key: usage[wanted] for key, wanted in self.logs.items() if wanted in usage},
            usage={each.name: usage[each.wanted] for each in self.volumes if each.wanted in usage},
        )
