"""Gives back addresses whose pods are gone in a way that nobody saw: removed by hand while the kubelet was away."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from common.api.meta import meta_of
from kubelet.cri import Runtime, RuntimeFailure
from kubelet.types import NetworkError, PodSource

log = logging.getLogger("kubelet.network")

INTERVAL_SECONDS = 60.0


class AddressBook(Protocol):
    """The part of kubelet.network.plugin.PodNetwork that is used here."""

    def holders(self) -> frozenset[str]: ...
    async def teardown_pod(self, pod_uid: str) -> None: ...


class AddressKeeper:
    """Compares who holds an address with who lives."""

    def __init__(self, network: AddressBook, runtime: Runtime, pods: PodSource) -> None:
        self._network = network
        self._runtime = runtime
        self._pods = pods

    async def run(self) -> None:
        """Until cancelled. The first look comes after a while: the pods must be known by then."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self.release_lost()
            except (RuntimeFailure, NetworkError) as error:
                log.warning("addresses of lost pods are not released yet: %s", error)

    async def release_lost(self) -> None:
        """Holders are read first: a pod that comes meanwhile is not among them."""
        holders = self._network.holders()
        living = {container.pod_uid for container in await self._runtime.list_containers()}
        living |= {meta_of(pod).uid or "" for pod in self._pods.pods()}
        for pod_uid in holders - living:
            log.info("pod %s is gone: releasing its address", pod_uid)
            await self._network.teardown_pod(pod_uid)
