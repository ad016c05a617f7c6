"""Certificates: who they are for, that a second run changes nothing, and what makes one be issued anew."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy import pki

NODES = ["node-1=10.88.0.11", "node-2"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pki.create(tmp_path, nodes=NODES, sans=["apiserver", "10.88.0.10"])
    return tmp_path


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def user_of(path: Path) -> x509.Certificate:
    user = json.loads(path.read_text())["users"][0]["user"]
    return x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"]))


def subject(cert: x509.Certificate) -> tuple[str, list[str]]:
    organizations = cert.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    common_name = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return str(common_name), [str(one.value) for one in organizations]


def sans(cert: x509.Certificate) -> set[str]:
    extension = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


@pytest.mark.parametrize(
    ("kubeconfig", "user", "groups"),
    [
        ("admin", "kubernetes-admin", ["system:masters"]),
        ("controller-manager", "system:kube-controller-manager", []),
        ("scheduler", "system:kube-scheduler", []),
        ("proxy", "system:kube-proxy", []),
        ("kubelet-node-2", "system:node:node-2", ["system:nodes"]),
    ],
)
def test_kubeconfig_carries_upstreams_user_and_groups(
    folder: Path, kubeconfig: str, user: str, groups: list[str]
) -> None:
    cert = user_of(folder / f"{kubeconfig}.conf")
    assert subject(cert) == (user, groups)
    usages = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    cert.verify_directly_issued_by(certificate(folder / "ca.crt"))


def test_apiserver_answers_under_all_its_names(folder: Path) -> None:
    assert sans(certificate(folder / "apiserver.crt")) >= {
        "kubernetes",
        "kubernetes.default.svc.cluster.local",
        "10.96.0.1",
        "localhost",
        "127.0.0.1",
        "apiserver",
        "10.88.0.10",
    }


def test_a_kubelets_certificate_names_its_node_and_address(folder: Path) -> None:
    assert sans(certificate(folder / "kubelet-node-1.crt")) == {"node-1", "10.88.0.11", "localhost", "127.0.0.1"}


def test_etcds_and_the_registrys_certificates_are_of_other_authorities(folder: Path) -> None:
    for leaf, authority in (
        ("apiserver-etcd-client", "etcd/ca"),
        ("etcd/server", "etcd/ca"),
        ("registry/client", "registry/ca"),
    ):
        certificate(folder / f"{leaf}.crt").verify_directly_issued_by(certificate(folder / f"{authority}.crt"))


def test_secrets_are_readable_by_their_owner_only(folder: Path) -> None:
    secrets = [path for path in folder.rglob("*") if path.suffix in (".key", ".conf")]
    assert len(secrets) > 15
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}


def test_a_second_run_changes_nothing(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert pki.create(folder, nodes=NODES, sans=["apiserver", "10.88.0.10"]) == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_new_node_gets_its_own_and_nothing_else_changes(folder: Path) -> None:
    written = pki.create(folder, nodes=[*NODES, "node-3"], sans=["apiserver", "10.88.0.10"])
    assert sorted(written) == [
        "kubelet-node-3.conf",
        "kubelet-node-3.crt",
        "kubelet-node-3.key",
        "proxy-node-3.crt",
        "proxy-node-3.key",
    ]


def test_another_address_issues_the_certificate_anew(folder: Path) -> None:
    written = pki.create(folder, nodes=["node-1=10.88.0.99", "node-2"], sans=["apiserver", "10.88.0.10"])
    assert "kubelet-node-1.crt" in written
    assert "kubelet-node-1.conf" not in written
    assert "10.88.0.99" in sans(certificate(folder / "kubelet-node-1.crt"))


def test_what_nears_its_end_is_renewed_under_the_same_authority(folder: Path) -> None:
    authority = (folder / "ca.crt").read_bytes()
    later = datetime.now(UTC) + pki.LEAF_LIFETIME - pki.RENEW_BEFORE + timedelta(days=1)
    written = pki.create(folder, nodes=NODES, sans=["apiserver", "10.88.0.10"], now=later)
    assert {"apiserver.crt", "admin.conf", "etcd/server.crt", "kubelet-node-1.crt"} <= set(written)
    assert "sa.key" not in written
    assert (folder / "ca.crt").read_bytes() == authority
    assert certificate(folder / "apiserver.crt").not_valid_after_utc > later + timedelta(days=300)


def test_a_renewed_authority_keeps_its_key_and_what_it_issued(folder: Path) -> None:
    old_key = (folder / "ca.key").read_bytes()
    leaf = certificate(folder / "scheduler.crt")
    later = datetime.now(UTC) + pki.CA_LIFETIME - timedelta(days=1)
    pki.create(folder, nodes=NODES, sans=["apiserver", "10.88.0.10"], now=later)
    assert (folder / "ca.key").read_bytes() == old_key
    leaf.verify_directly_issued_by(certificate(folder / "ca.crt"))


def test_another_authority_invalidates_everything_it_issued(folder: Path) -> None:
    (folder / "ca.key").unlink()
    written = pki.create(folder, nodes=NODES, sans=["apiserver", "10.88.0.10"])
    assert {"apiserver.crt", "admin.conf"} <= set(written)
    assert "etcd/server.crt" not in written


def test_the_admin_and_the_components_may_use_different_addresses(tmp_path: Path) -> None:
    pki.create(
        tmp_path, nodes=NODES, sans=[], server="https://127.0.0.1:6443", internal_server="https://10.88.0.10:6443"
    )
    servers = {
        name: json.loads((tmp_path / f"{name}.conf").read_text())["clusters"][0]["cluster"]["server"]
        for name in ("admin", "scheduler", "kubelet-node-1")
    }
    assert servers == {
        "admin": "https://127.0.0.1:6443",
        "scheduler": "https://10.88.0.10:6443",
        "kubelet-node-1": "https://10.88.0.10:6443",
    }
