"""CertificateSigningRequests: what signers recognize, what the CA signs, what is old."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from lightkube.models.certificates_v1 import (
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.certificates_v1 import CertificateSigningRequest

from controller_manager.certificates.authority import Authority, AuthorityError, lifetime
from controller_manager.certificates.controllers import is_old
from controller_manager.certificates.requests import KUBELET_CLIENT, KUBELET_SERVING, Unrecognized, check
from kubelet.certificates.rotation import deadline
from kubelet.certificates.selfsigned import self_signed
from kubelet.certificates.store import CertificateStore, Validity
from kubelet.certificates.x509 import key_and_request

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def asked(*names: str) -> x509.CertificateSigningRequest:
    return x509.load_pem_x509_csr(key_and_request("n1", names)[1])


@pytest.mark.parametrize(
    ("signer", "names", "usages", "problem"),
    [
        (KUBELET_CLIENT, (), ["digital signature", "client auth"], ""),
        (KUBELET_CLIENT, (), ["digital signature", "key encipherment", "client auth"], ""),
        (KUBELET_CLIENT, (), ["client auth"], "usages did not match"),
        (KUBELET_CLIENT, ("n1",), ["digital signature", "client auth"], "DNS subjectAltNames are not allowed"),
        (KUBELET_CLIENT, ("10.0.0.1",), ["digital signature", "client auth"], "IP subjectAltNames are not allowed"),
        (KUBELET_SERVING, ("n1", "10.0.0.1"), ["digital signature", "server auth"], ""),
        (KUBELET_SERVING, (), ["digital signature", "server auth"], "DNS or IP subjectAltName is required"),
        (KUBELET_SERVING, ("n1",), ["digital signature", "client auth"], "usages did not match"),
    ],
)
def test_what_a_signer_recognizes(signer: str, names: tuple[str, ...], usages: list[str], problem: str) -> None:
    if not problem:
        check(signer, asked(*names), usages)
        return
    with pytest.raises(Unrecognized, match=problem):
        check(signer, asked(*names), usages)


def test_a_signed_certificate_is_what_was_asked_for(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "ca", ())
    authority = Authority(certificate, key)
    signed = x509.load_pem_x509_certificate(authority.sign(asked("n1"), ["client auth"], timedelta(hours=1)))
    assert signed.subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"
    assert signed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    with pytest.raises(x509.ExtensionNotFound):
        signed.extensions.get_extension_for_class(x509.KeyUsage)
    signed = x509.load_pem_x509_certificate(
        authority.sign(asked("n1"), ["digital signature", "server auth"], timedelta(days=9000))
    )
    usage = signed.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not usage.key_encipherment
    assert signed.not_valid_after_utc == x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    key.write_text("nonsense")
    with pytest.raises(AuthorityError):
        authority.sign(asked(), ["client auth"], timedelta(hours=1))


def test_how_long_a_certificate_is_good() -> None:
    most = timedelta(days=1)
    assert lifetime(None, most) == lifetime(10**6, most) == most
    assert lifetime(3600, most) == timedelta(hours=1)
    assert lifetime(1, most) == timedelta(minutes=10)


def request(age: timedelta, kind: str = "", certificate: str | None = None) -> CertificateSigningRequest:
    conditions = (
        [CertificateSigningRequestCondition(status="True", type=kind, lastUpdateTime=NOW - age)] if kind else []
    )
    return CertificateSigningRequest(
        metadata=ObjectMeta(name="r", creationTimestamp=NOW - age),
        spec=CertificateSigningRequestSpec(request="", signerName=KUBELET_CLIENT),
        status=CertificateSigningRequestStatus(conditions=conditions, certificate=certificate),
    )


@pytest.mark.parametrize(
    ("age", "kind", "certificate", "old"),
    [
        (23, "", None, False),
        (25, "", None, True),
        (2, "Denied", None, True),
        (0.5, "Denied", None, False),
        (2, "Failed", None, True),
        (2, "Approved", None, False),
        (2, "Approved", base64.b64encode(b"x").decode(), True),
        (0.5, "Approved", base64.b64encode(b"x").decode(), False),
    ],
)
def test_when_a_request_is_old(age: float, kind: str, certificate: str | None, old: bool) -> None:
    assert is_old(request(timedelta(hours=age), kind, certificate), NOW) is old


def test_a_certificate_is_renewed_between_70_and_90_percent_of_its_time() -> None:
    validity = Validity(NOW, NOW + timedelta(days=100))
    assert deadline(validity, lambda: 0.0) == NOW + timedelta(days=70)
    assert deadline(validity, lambda: 1.0) == NOW + timedelta(days=90)


def test_the_store_leads_to_the_newest_pair(tmp_path: Path) -> None:
    store = CertificateStore(tmp_path / "pki", "kubelet-client")
    assert store.validity() is None
    certificate, key = self_signed(tmp_path, "x", ())
    store.update(certificate.read_bytes(), key.read_bytes())
    assert store.current.is_symlink() and store.current.stat().st_mode & 0o777 == 0o600
    found = store.validity()
    assert found is not None and not found.over(datetime.now(UTC)) and found.over(found.end)
    store.current.unlink()
    store.current.write_text("nonsense")
    assert store.validity() is None
