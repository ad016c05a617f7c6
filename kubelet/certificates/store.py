"""Pairs of certificate and key as files: ``<name>-<time>.pem`` holds both, ``<name>-current.pem`` leads to the newest.

Upstream: k8s.io/client-go/util/certificate/certificate_store.go. Blocking.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is good, and for whom."""

    begin: datetime
    end: datetime
    common_name: str = ""
    names: frozenset[str] = frozenset()
    """Host names and addresses, as ``canonical`` gives them."""

    def over(self, time: datetime) -> bool:
        return time >= self.end


def canonical(name: str) -> str:
    """A host name or an address in the one way to write it."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


class CertificateStore:
    def __init__(self, folder: Path, name: str) -> None:
        """``name``: kubelet-client or kubelet-server."""
        self._folder = folder
        self._name = name

    @property
    def current(self) -> Path:
        return self._folder / f"{self._name}-current.pem"

    def validity(self) -> Validity | None:
        """Of the pair that is there; None when there is none that can be read."""
        from kubelet.certificates import x509

        try:
            return x509.validity(self.current.read_bytes())
        except (OSError, ValueError):
            return None

    def update(self, certificate: bytes, key: bytes) -> None:
        """The link moves when the pair is written whole. Raises OSError."""
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        path = self._folder / f"{self._name}-{datetime.now(UTC):%Y-%m-%d-%H-%M-%S}.pem"
        write_private(path, certificate.rstrip() + b"\n" + key)
        scratch = self._folder / f".{self._name}-updated.pem"
        with contextlib.suppress(FileNotFoundError):
            scratch.unlink()
        scratch.symlink_to(path)
        scratch.replace(self.current)


def write_private(path: Path, data: bytes) -> None:
    """For nobody else to read, and whole or not at all. Raises OSError."""
    scratch = path.with_name(f".{path.name}.new")
    file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(path)
