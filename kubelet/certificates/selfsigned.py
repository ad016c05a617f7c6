"""A serving certificate that vouches for itself, for a kubelet that is given none and asks for none (upstream:
``kubelet.crt`` and ``kubelet.key`` in ``--cert-dir``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubelet.certificates.store import write_private

LIFETIME = timedelta(days=365)


def self_signed(folder: Path, host: str, names: Sequence[str]) -> tuple[Path, Path]:
    """Certificate and key files; those that are there and good stay. Raises OSError. Blocking."""
    certificate_file, key_file = folder / "kubelet.crt", folder / "kubelet.key"
    if key_file.exists() and _good(certificate_file):
        return certificate_file, key_file
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{host}@{int(begin.timestamp())}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - timedelta(hours=1))
        .not_valid_after(begin + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(each) for each in (host, *names)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(key_file, key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    write_private(certificate_file, certificate.public_bytes(Encoding.PEM))
    return certificate_file, key_file


def _good(path: Path) -> bool:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc > datetime.now(UTC)
    except (OSError, ValueError):
        return False


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
