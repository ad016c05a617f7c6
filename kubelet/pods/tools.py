"""What every pod's worker works with; one value for the whole kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from lightkube.resources.core_v1 import Node, Pod, Service

from common.client import Client
from kubelet.cgroups.tree import PodCgroups, no_cgroups
from kubelet.cri import Runtime
from kubelet.images import ImageManager, Recorder
from kubelet.logs.keeper import LogKeeper
from kubelet.node.status import addresses_of
from kubelet.pods.backoff import Backoff
from kubelet.pods.handlers import Handlers
from kubelet.pods.identity import field_path, spec_of
from kubelet.types import KubeletConfig, Network, ObjectSource, SubPath, Volumes


@dataclass(frozen=True)
class Tools:
    config: KubeletConfig
    client: Client
    runtime: Runtime
    network: Network
    volumes: Volumes
    objects: ObjectSource
    images: ImageManager
    recorder: Recorder
    handlers: Handlers
    services: Callable[[str], Iterable[Service]]
    """The services of a namespace, as far as they are known."""
    services_read: Callable[[], Awaitable[object]]
    """Waits until the services have been read once."""
    bind_sub_path: Callable[[SubPath], str]
    logs: LogKeeper
    restarts: Backoff
    starts: asyncio.Semaphore
    """How many pods may be starting at once."""
    cgroups: PodCgroups = field(default_factory=no_cgroups)
    node: Callable[[], Node | None] = lambda: None

    def host_ips(self) -> tuple[str, ...]:
        """The node's addresses as its object has them; those that the kubelet started with as long as there is none."""
        known = addresses_of(self.node())
        return tuple(each.address for each in known if each.type == "InternalIP") or self.config.node_ips

    def event(
        self, pod: Pod, type_: Literal["Normal", "Warning"], reason: str, message: str, container: str | None = None
    ) -> None:
        path = field_path(spec_of(pod), container) if container is not None else None
        self.recorder.event(pod, type_, reason, message, field_path=path)
