"""Which authorities the ConfigMap of trusted client certificates names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apiserver.bootstrap.authentication_trust import completed, config_map, union

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def authority(name: str, *, days: int = 30) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    end = NOW + timedelta(days=days)
    certificate = builder.not_valid_before(end - timedelta(days=90)).not_valid_after(end).sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def test_the_authorities_of_all_servers_are_kept_each_once() -> None:
    first, second = authority("a"), authority("b")
    both = union(first, second, at=NOW)
    assert both == first + second
    assert union(both, first, at=NOW) == both
    assert union(both, second + first, at=NOW) == both
    assert union("", first + first, at=NOW) == first


def test_expired_and_unreadable_ones_are_lost_but_not_ones_own() -> None:
    expired, valid = authority("old", days=-1), authority("new")
    junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert union(expired + junk, valid, at=NOW) == valid
    assert union(expired, expired, at=NOW) == expired


def test_a_complete_one_is_left_as_it_is_and_other_keys_stay() -> None:
    wanted = config_map(authority("a", days=100_000))
    assert completed(wanted, wanted) is None
    stored = {"metadata": {"labels": {"x": "y"}}, "data": {"requestheader-allowed-names": "[]"}}
    assert completed(stored, wanted) == {
        "metadata": {"labels": {"x": "y"}},
        "data": {"requestheader-allowed-names": "[]", **wanted["data"]},
    }
    assert (completed({"metadata": {}}, wanted) or {})["data"] == wanted["data"]
