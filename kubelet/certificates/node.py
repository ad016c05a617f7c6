"""Which certificates a kubelet has, from its flags: a client's from a bootstrap token or a kubeconfig, a server's from
files, from a request, or its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightkube.models.core_v1 import NodeAddress

from common.client import Client, ClusterConfig
from common.serving import TLSOptions
from kubelet.certificates.bootstrap import bootstrap, needs_bootstrap
from kubelet.certificates.requests import client_certificate, obtain, serving_certificate
from kubelet.certificates.rotation import Rotation, Template
from kubelet.certificates.selfsigned import self_signed
from kubelet.certificates.store import CertificateStore

log = logging.getLogger("kubelet.certificates")


Serve = Callable[[TLSOptions, asyncio.Event], Coroutine[Any, Any, None]]
"""Serves until cancelled; the event is set when the certificate's files have changed."""


@dataclass(frozen=True)
class NodeCertificates:
    folder: Path
    node_name: str
    template: Template
    """Of its serving certificate: follows the node's addresses."""
    own_names: tuple[str, ...]
    """Of a serving certificate that the kubelet makes for itself, beside the node's name."""
    client_ca_file: str
    given: TLSOptions | None
    """The serving certificate of ``--tls-cert-file``."""
    rotate_client: bool
    rotate_server: bool

    @property
    def client_store(self) -> CertificateStore:
        return CertificateStore(self.folder, "kubelet-client")

    @property
    def server_store(self) -> CertificateStore:
        return CertificateStore(self.folder, "kubelet-server")

    def credentials(self, kubeconfig: str | None, bootstrap_kubeconfig: str | None) -> ClusterConfig:
        """Who this node is to the API server. Before there are other tasks: waits until there is a certificate.
        Raises ConfigError, OSError."""
        if kubeconfig is None:
            return ClusterConfig.in_cluster()
        path = Path(kubeconfig)
        if bootstrap_kubeconfig is not None and needs_bootstrap(path):
            asyncio.run(bootstrap(path, Path(bootstrap_kubeconfig), self.client_store, self.node_name))
        return ClusterConfig.from_kubeconfig(path)

    def client_rotation(self, client: Client) -> Rotation | None:
        """None when the client certificate is not the kubelet's to renew."""
        store = self.client_store
        if not self.rotate_client or store.validity() is None:
            return None

        async def use() -> None:
            await client.transport.use_certificate(str(store.current))

        return Rotation(store, Template(client_certificate(self.node_name)), partial(obtain, client), use)

    def addresses(self, addresses: Iterable[NodeAddress]) -> None:
        """What the node's status says now."""
        self.template.set(serving_certificate(self.node_name, addresses))

    async def serve(self, client: Client, serve: Serve) -> None:
        """Serves with the certificate that there is, as soon as there is one. Until cancelled."""
        renewed = asyncio.Event()
        if self.given is not None:
            await serve(self.given, renewed)
            return
        if not self.rotate_server:
            certificate, key = await asyncio.to_thread(self_signed, self.folder, self.node_name, self.own_names)
            await serve(TLSOptions(str(certificate), str(key), self.client_ca_file), renewed)
            return

        async def use() -> None:
            renewed.set()

        store = self.server_store
        rotation = Rotation(store, self.template, partial(obtain, client), use)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rotation.run())
            await rotation.available.wait()
            pair = str(store.current)
            await serve(TLSOptions(pair, pair, self.client_ca_file), renewed)
