"""The cluster's CA: signs what was approved, with the subject, names and usages that were asked for (upstream:
pkg/controller/certificates/authority)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from controller_manager.certificates.requests import alternative_names

BACKDATE = timedelta(minutes=5)
"""Clocks differ."""
SHORT = timedelta(hours=8)
"""A certificate for less than this is not backdated out of what was asked."""
SHORTEST = timedelta(minutes=10)
_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED_USAGES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}


class AuthorityError(Exception):
    """The CA cannot sign now; it may be able to later."""


def lifetime(asked_seconds: int | None, most: timedelta) -> timedelta:
    """What is asked for, no longer than ``most``, no shorter than ten minutes."""
    if asked_seconds is None:
        return most
    return min(most, max(SHORTEST, timedelta(seconds=asked_seconds)))


class Authority:
    """Its files are read for every signature: a renewed CA is used at once."""

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._cert_file = cert_file
        self._key_file = key_file

    def sign(
        self,
        asked: x509.CertificateSigningRequest,
        usages: Collection[str],
        span: timedelta,
        now: datetime | None = None,
    ) -> bytes:
        """A certificate in PEM. Blocking. Raises AuthorityError; ValueError for a request that cannot be signed."""
        authority, key = self._read()
        if not asked.is_signature_valid:
            raise ValueError("unable to verify certificate request signature")
        begin = now or datetime.now(UTC)
        end = begin + span
        not_before = begin - BACKDATE
        if span >= SHORT:
            end -= BACKDATE
        if begin >= authority.not_valid_after_utc:
            raise AuthorityError("the signer has expired")
        builder = (
            x509.CertificateBuilder()
            .subject_name(asked.subject)
            .issuer_name(authority.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(min(end, authority.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
        )
        if (bits := _key_usage(usages)) is not None:
            builder = builder.add_extension(bits, critical=True)
        extended = [_EXTENDED_USAGES[usage] for usage in usages if usage in _EXTENDED_USAGES]
        if extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        if (names := alternative_names(asked)) is not None:
            builder = builder.add_extension(names, critical=False)
        algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
        return builder.sign(key, algorithm).public_bytes(Encoding.PEM)

    def _read(self) -> tuple[x509.Certificate, CertificateIssuerPrivateKeyTypes]:
        try:
            authority = x509.load_pem_x509_certificate(self._cert_file.read_bytes())
            key = load_pem_private_key(self._key_file.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise AuthorityError(f"error reading CA cert file {self._cert_file}: {error}") from error
        return authority, key  # type: ignore[return-value]


def _key_usage(usages: Collection[str]) -> x509.KeyUsage | None:
    """None for none: OpenSSL takes no empty one. An agreement's two further bits mean nothing without it."""
    chosen = {_KEY_USAGES[usage] for usage in usages if usage in _KEY_USAGES}
    if chosen & {"encipher_only", "decipher_only"}:
        chosen.add("key_agreement")
    if not chosen:
        return None
    return x509.KeyUsage(**{name: name in chosen for name in set(_KEY_USAGES.values())})
