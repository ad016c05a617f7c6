"""A serving certificate of its own making, when none is given (upstream: MaybeDefaultWithSelfSignedCerts).

``python -m addons.metrics_server.certificate FOLDER NAME…`` makes it in a process of its own: the library for it takes
24 MB, and is needed once.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

NAMES = ("metrics-server.kube-system.svc", "metrics-server", "localhost")
LIFETIME = timedelta(days=365)
CLOCK_SKEW = timedelta(hours=1)


async def ensure(folder: Path, names: Sequence[str] = NAMES) -> tuple[str, str]:
    """Certificate and key. A pod that starts anew makes another one. Raises OSError when it cannot be made."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, str(folder), *names)
    if await process.wait() != 0:
        raise OSError(f"no serving certificate could be made in {folder}")
    return str(folder / "apiserver.crt"), str(folder / "apiserver.key")


def make(folder: Path, names: Sequence[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{names[0]}@{os.getpid()}")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, content in (
        ("apiserver.crt", certificate.public_bytes(serialization.Encoding.PEM)),
        ("apiserver.key", private),
    ):
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2:])
