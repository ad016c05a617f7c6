"""How the API server reaches kubelets: the node's address and port, its own client certificate, the cluster's CA.

https://kubernetes.io/docs/concepts/architecture/control-plane-node-communication/
"""

from __future__ import annotations

import ssl
from typing import Protocol

from apiserver.authn.settings import PathLike
from apiserver.subresources.upstream import Target
from apiserver.types import Object, Registry
from common.api.status import InternalError

ADDRESS_TYPES = ("InternalIP", "Hostname", "InternalDNS", "ExternalIP")
DEFAULT_PORT = 10250


class KubeletSettings(Protocol):
    @property
    def kubelet_client_certificate(self) -> PathLike | None: ...
    @property
    def kubelet_client_key(self) -> PathLike | None: ...
    @property
    def kubelet_certificate_authority(self) -> PathLike | None: ...


def kubelet_address(node: Object) -> tuple[str, int]:
    """Address and port of the node's kubelet. Raises InternalError when the node has no address yet."""
    status = node.get("status") or {}
    addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses") or ())}
    for kind in ADDRESS_TYPES:
        if kind in addresses:
            port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or DEFAULT_PORT
            return addresses[kind], port
    raise InternalError(f"Internal error occurred: no preferred addresses found; known addresses: {list(addresses)}")


class KubeletClient:
    """Makes targets for :func:`apiserver.subresources.upstream.request`."""

    def __init__(self, settings: KubeletSettings, registry: Registry) -> None:
        self._nodes = registry.store("", "nodes")
        self._settings = settings

    async def target(self, node_name: str) -> Target:
        """Raises NotFound for a node that is not there."""
        node = await self._nodes.get("", node_name)  # the cache may not know yet where it listens
        host, port = kubelet_address(node)
        return Target(host, port, self._tls())

    def _tls(self) -> ssl.SSLContext:
        """A context per connection, so that a renewed certificate is used at once."""
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.kubelet_certificate_authority or None)
        if settings.kubelet_client_certificate:
            context.load_cert_chain(settings.kubelet_client_certificate, settings.kubelet_client_key)
        return context
