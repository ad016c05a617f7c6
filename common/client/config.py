"""Where the API server is and who we are to it: kubeconfig files and the service account of a pod.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(ValueError):
    """A kubeconfig that cannot be used; the message names file and field."""


@dataclass(frozen=True)
class ClusterConfig:
    """One cluster and one user. Certificates are PEM."""

    server: str
    ca_data: bytes | None = None
    cert_data: bytes | None = None
    key_data: bytes | None = None
    token: str | None = None
    token_file: str | None = None
    """Read again for every connection attempt's request: tokens of pods are rotated."""
    insecure: bool = False
    namespace: str = "default"

    @classmethod
    def from_kubeconfig(cls, path: str | Path, context: str | None = None) -> ClusterConfig:
        """The current (or named) context of a kubeconfig file. Raises ConfigError."""
        path = Path(path)
        try:
            config = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"kubeconfig {path}: {error}") from None
        if not isinstance(config, dict):
            raise ConfigError(f"kubeconfig {path}: not a mapping")
        chosen = _entry(path, config, "contexts", context or config.get("current-context"))["context"]
        cluster = _entry(path, config, "clusters", chosen.get("cluster"))["cluster"]
        user = _entry(path, config, "users", chosen.get("user"))["user"] or {}
        return cls(
            server=cluster["server"].rstrip("/"),
            ca_data=_pem(path, cluster, "certificate-authority"),
            cert_data=_pem(path, user, "client-certificate"),
            key_data=_pem(path, user, "client-key"),
            token=user.get("token"),
            token_file=user.get("tokenFile"),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
            namespace=chosen.get("namespace") or "default",
        )

    @classmethod
    def in_cluster(cls) -> ClusterConfig:
        """The service account of the pod that this process runs in. Raises ConfigError."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise ConfigError("not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
        try:
            ca = (SERVICE_ACCOUNT / "ca.crt").read_bytes()
            namespace = (SERVICE_ACCOUNT / "namespace").read_text().strip()
        except OSError as error:
            raise ConfigError(str(error)) from None
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", ca, token_file=str(SERVICE_ACCOUNT / "token"), namespace=namespace)

    def bearer(self) -> str | None:
        if self.token_file:
            return Path(self.token_file).read_text().strip()
        return self.token

    def ssl_context(self) -> ssl.SSLContext | None:
        """None for a plain http server."""
        if not self.server.startswith("https:"):
            return None
        context = ssl.create_default_context(cadata=self.ca_data.decode() if self.ca_data else None)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_data and self.key_data:
            # The ssl module loads a key from files only; this one is readable by us alone and gone at once.
            with tempfile.NamedTemporaryFile() as file:
                file.write(self.cert_data + b"\n" + self.key_data)
                file.flush()
                context.load_cert_chain(file.name)
        return context


def _entry(path: Path, config: dict[str, Any], section: str, name: str | None) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            return entry  # type: ignore[no-any-return]
    raise ConfigError(f'kubeconfig {path}: {section}: no entry named "{name}"')


def _pem(path: Path, section: dict[str, Any], field: str) -> bytes | None:
    if data := section.get(f"{field}-data"):
        return bytes(base64.b64decode(data))
    if file := section.get(field):
        try:
            return Path(path.parent, str(file)).read_bytes()
        except OSError as error:
            raise ConfigError(f"kubeconfig {path}: {field}: {error}") from None
    return None
