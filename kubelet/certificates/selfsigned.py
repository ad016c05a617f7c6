"""A serving certificate that vouches for itself, for a kubelet that is given none and asks for none (upstream:
``kubelet.crt`` and ``kubelet.key`` in ``--cert-dir``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kubelet.certificates.store import write_private

LIFETIME = timedelta(days=365)


def self_signed(folder: Path, host: str, names: Sequence[str]) -> tuple[Path, Path]:
    """Certificate and key files; those that are there and good stay. Raises OSError. Blocking."""
    from kubelet.certificates import x509

    certificate_file, key_file = folder / "kubelet.crt", folder / "kubelet.key"
    try:
        if key_file.exists() and not x509.validity(certificate_file.read_bytes()).over(datetime.now(UTC)):
            return certificate_file, key_file
    except (OSError, ValueError):
        pass  # there is none that can be read
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    certificate, key = x509.self_signed(host, names, LIFETIME)
    write_private(key_file, key)
    write_private(certificate_file, certificate)
    return certificate_file, key_file
