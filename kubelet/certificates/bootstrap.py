"""How a machine becomes a node: with a bootstrap token it asks for a client certificate, and keeps it in a kubeconfig.

What is asked for and written is upstream's (pkg/kubelet/certificate/bootstrap): a kubeconfig that names the files of
the certificate store, so that a rotation does not touch it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from datetime import UTC, datetime
from pathlib import Path

import httpx
import yaml

from common.api.status import StatusError
from common.client import Client, ClusterConfig
from common.client.config import ConfigError
from kubelet.certificates.requests import RequestError, client_certificate, obtain
from kubelet.certificates.store import CertificateStore, write_private

log = logging.getLogger("kubelet.certificates")

RETRY = 5.0


def needs_bootstrap(kubeconfig: Path) -> bool:
    """Whether there are no credentials, or such as are no good any more."""
    if not kubeconfig.exists():
        return True
    try:
        config = ClusterConfig.from_kubeconfig(kubeconfig)
    except ConfigError as error:
        log.warning("%s", error)
        return True
    if config.cert_data is None:
        return not (config.token or config.token_file)
    return _over(config.cert_data)


def _over(certificate: bytes) -> bool:
    from kubelet.certificates import x509

    try:
        return x509.validity(certificate).over(datetime.now(UTC))
    except ValueError:
        return True


async def bootstrap(kubeconfig: Path, bootstrap_kubeconfig: Path, store: CertificateStore, node_name: str) -> None:
    """Tries until there is a kubeconfig. Raises ConfigError, OSError."""
    config = ClusterConfig.from_kubeconfig(bootstrap_kubeconfig)
    validity = store.validity()
    if validity is None or validity.over(datetime.now(UTC)):
        async with Client(config, user_agent="kubelet") as client:
            certificate, key = await _obtain(client, node_name)
        store.update(certificate, key)
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    write_private(kubeconfig, kubeconfig_for(config, store.current).encode())
    log.info("this node's credentials are in %s", kubeconfig)


async def _obtain(client: Client, node_name: str) -> tuple[bytes, bytes]:
    while True:
        try:
            return await obtain(client, client_certificate(node_name), prefix="node-csr-")
        except (RequestError, StatusError, httpx.HTTPError, OSError) as error:
            log.warning("no client certificate for this node yet: %s", error)
        await asyncio.sleep(RETRY)


def kubeconfig_for(config: ClusterConfig, pair: Path) -> str:
    cluster: dict[str, object] = {"server": config.server}
    if config.ca_data:
        cluster["certificate-authority-data"] = base64.b64encode(config.ca_data).decode()
    if config.insecure:
        cluster["insecure-skip-tls-verify"] = True
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default-cluster", "cluster": cluster}],
        "users": [{"name": "default-auth", "user": {"client-certificate": str(pair), "client-key": str(pair)}}],
        "contexts": [
            {
                "name": "default-context",
                "context": {"cluster": "default-cluster", "user": "default-auth", "namespace": "default"},
            }
        ],
        "current-context": "default-context",
    }
    return yaml.safe_dump(content, sort_keys=False)
