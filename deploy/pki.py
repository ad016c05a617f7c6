"""The cluster's certificates, keys and kubeconfigs, made once and renewed before they expire.

Every process speaks TLS and proves who it is by a client certificate: the common name is its user, the organizations
are its groups (https://kubernetes.io/docs/setup/best-practices/certificates/ is the page this follows, names of files
included). The module is declarative: `plan()` says which certificates there should be, `create()` compares that with
what is in the folder and writes only what is missing, nears expiry, or no longer says what the plan says (another
address, another node). So running it again changes nothing, and running it after a node was added adds that node.

There are three authorities, so that a credential opens one door only: the cluster's, etcd's (only the API server holds
a client certificate for it) and the image registry's.
"""

from __future__ import annotations

import argparse
import base64
import ipaddress
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVICE_IP = "10.96.0.1"
CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=90)
_CLOCK_SKEW = timedelta(minutes=5)
_LOCAL = ("localhost", "127.0.0.1")

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Node:
    """A machine that runs a kubelet and a proxy; written `name` or `name=address`."""

    name: str
    address: str | None = None

    @classmethod
    def parse(cls, text: str) -> Node:
        name, _, address = text.partition("=")
        return cls(name, address or None)

    @property
    def sans(self) -> tuple[str, ...]:
        return (self.name, *((self.address,) if self.address else ()), *_LOCAL)


@dataclass(frozen=True)
class Authority:
    """A certificate authority: `<path>.crt` and `<path>.key`."""

    path: str
    common_name: str


@dataclass(frozen=True)
class Leaf:
    """A certificate to be issued: where, by whom, for whom; server certificates have alternative names."""

    path: str
    authority: Authority
    common_name: str
    organization: str | None = None
    sans: tuple[str, ...] = ()
    client: bool = False

    @property
    def subject(self) -> x509.Name:
        organization = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.organization)] if self.organization else []
        return x509.Name([*organization, x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)])

    @property
    def usages(self) -> list[x509.ObjectIdentifier]:
        server = [ExtendedKeyUsageOID.SERVER_AUTH] if self.sans else []
        return server + ([ExtendedKeyUsageOID.CLIENT_AUTH] if self.client else [])


@dataclass(frozen=True)
class Identity:
    """A user of the API server, who gets a kubeconfig with the certificate embedded."""

    kubeconfig: str
    user: str
    group: str | None = None


CLUSTER = Authority("ca", "kubernetes")
ETCD = Authority("etcd/ca", "etcd-ca")
REGISTRY = Authority("registry/ca", "registry-ca")
FRONT_PROXY = Authority("front-proxy-ca", "front-proxy-ca")
"""Whoever has a certificate of this one speaks to aggregated API servers for the users that its headers name."""


def plan(nodes: Sequence[Node], sans: Sequence[str]) -> list[Leaf]:
    """The certificates that a cluster with these nodes has; `sans` are the control plane's further names."""
    apiserver = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    control_plane = _unique(*_LOCAL, *sans)
    leaves = [
        Leaf("apiserver", CLUSTER, "kube-apiserver", sans=_unique(*apiserver, SERVICE_IP, *control_plane)),
        Leaf("apiserver-kubelet-client", CLUSTER, "kube-apiserver-kubelet-client", "system:masters", client=True),
        Leaf("front-proxy-client", FRONT_PROXY, "front-proxy-client", client=True),
        Leaf("controller-manager", CLUSTER, "kube-controller-manager", sans=_unique(*control_plane)),
        Leaf("scheduler", CLUSTER, "kube-scheduler", sans=_unique(*control_plane)),
        Leaf("etcd/server", ETCD, "etcd", sans=_unique("etcd", *control_plane), client=True),
        Leaf("etcd/healthcheck-client", ETCD, "kube-etcd-healthcheck-client", client=True),
        Leaf("apiserver-etcd-client", ETCD, "kube-apiserver-etcd-client", client=True),
        Leaf("registry/server", REGISTRY, "registry", sans=_unique("registry", *control_plane)),
        Leaf("registry/client", REGISTRY, "registry-client", client=True),
    ]
    for node in nodes:
        leaves.append(Leaf(f"kubelet-{node.name}", CLUSTER, f"system:node:{node.name}", "system:nodes", node.sans))
        leaves.append(Leaf(f"proxy-{node.name}", CLUSTER, "kube-proxy", sans=node.sans))
    return leaves


def identities(nodes: Sequence[Node]) -> list[Identity]:
    """Who uses the API server: the users and groups that upstream's bootstrap RBAC policy knows."""
    return [
        Identity("admin", "kubernetes-admin", "system:masters"),
        Identity("controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("proxy", "system:kube-proxy"),
        *(Identity(f"kubelet-{node.name}", f"system:node:{node.name}", "system:nodes") for node in nodes),
    ]


def create(
    out: Path,
    *,
    nodes: list[str],
    sans: list[str],
    server: str = "https://127.0.0.1:6443",
    internal_server: str | None = None,
    now: datetime | None = None,
) -> list[str]:
    """Make `out` hold what the plan says; the paths that were written, relative to `out`, are returned.

    `nodes` are `name` or `name=address`. `server` is where the admin's kubeconfig points to, `internal_server` where
    those of the components do (the same, unless said otherwise).
    """
    now = now or datetime.now(UTC)
    members = [Node.parse(text) for text in nodes]
    written: list[str] = []
    authorities = {a: _ensure_authority(out, a, now, written) for a in (CLUSTER, ETCD, REGISTRY, FRONT_PROXY)}
    for leaf in plan(members, sans):
        _ensure_leaf(out, leaf, authorities[leaf.authority], now, written)
    _ensure_service_account_keys(out, written)
    for identity in identities(members):
        address = server if identity.kubeconfig == "admin" else internal_server or server
        _ensure_kubeconfig(out, identity, authorities[CLUSTER], address, now, written)
    return written


@dataclass(frozen=True)
class _Pair:
    certificate: x509.Certificate
    key: PrivateKey


def _ensure_authority(out: Path, authority: Authority, now: datetime, written: list[str]) -> _Pair:
    key = _load_key(out / f"{authority.path}.key")
    certificate = _load_certificate(out / f"{authority.path}.crt")
    if key is not None and certificate is not None and not _nears_expiry(certificate, now):
        return _Pair(certificate, key)
    if key is None:
        key = ec.generate_private_key(ec.SECP256R1())
        _write(out, f"{authority.path}.key", _pem_key(key), written, secret=True)
    # A renewal keeps the key and the subject, so that everything issued before stays valid.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority.common_name)])
    certificate = (
        _builder(name, name, key, now, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(out, f"{authority.path}.crt", _pem(certificate), written)
    return _Pair(certificate, key)


def _ensure_leaf(out: Path, leaf: Leaf, issuer: _Pair, now: datetime, written: list[str]) -> None:
    key = _load_key(out / f"{leaf.path}.key")
    certificate = _load_certificate(out / f"{leaf.path}.crt")
    if key is not None and certificate is not None and _is_current(certificate, key, leaf, issuer, now):
        return
    pair = _issue(leaf, issuer, now)
    _write(out, f"{leaf.path}.key", _pem_key(pair.key), written, secret=True)
    _write(out, f"{leaf.path}.crt", _pem(pair.certificate), written)


def _ensure_service_account_keys(out: Path, written: list[str]) -> None:
    """RSA, since tokens signed with it are what every client and verifier of service-account JWTs accepts."""
    key = _load_key(out / "sa.key")
    if key is None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        _write(out, "sa.key", _pem_key(key), written, secret=True)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if _read(out / "sa.pub") != public:
        _write(out, "sa.pub", public, written)


def _ensure_kubeconfig(
    out: Path, identity: Identity, issuer: _Pair, server: str, now: datetime, written: list[str]
) -> None:
    path = f"{identity.kubeconfig}.conf"
    leaf = Leaf(path, CLUSTER, identity.user, identity.group, client=True)
    pair = _embedded_pair(out / path)
    if pair is None or not _is_current(pair.certificate, pair.key, leaf, issuer, now):
        pair = _issue(leaf, issuer, now)
    content = _kubeconfig(identity.user, server, issuer.certificate, pair)
    if _read(out / path) != content:
        _write(out, path, content, written, secret=True)


def _kubeconfig(user: str, server: str, ca: x509.Certificate, pair: _Pair) -> bytes:
    """A kubeconfig as JSON, which is YAML too: every client reads it and this needs no YAML library."""
    cluster = {"server": server, "certificate-authority-data": _b64(_pem(ca))}
    credentials = {
        "client-certificate-data": _b64(_pem(pair.certificate)),
        "client-key-data": _b64(_pem_key(pair.key)),
    }
    context = f"{user}@coxswain"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "coxswain", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": context, "context": {"cluster": "coxswain", "user": user}}],
        "current-context": context,
    }
    return json.dumps(config, indent=2).encode() + b"\n"


def _embedded_pair(path: Path) -> _Pair | None:
    try:
        user = json.loads(path.read_text())["users"][0]["user"]
        certificate = x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"]))
        key = _parse_key(base64.b64decode(user["client-key-data"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return _Pair(certificate, key)


def _issue(leaf: Leaf, issuer: _Pair, now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(leaf.subject, issuer.certificate.subject, key, now, LEAF_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(leaf.usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    if leaf.sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(_general_names(leaf.sans)), critical=False)
    return _Pair(builder.sign(issuer.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _is_current(certificate: x509.Certificate, key: PrivateKey, leaf: Leaf, issuer: _Pair, now: datetime) -> bool:
    """Whether a certificate still says what the plan says, is the issuer's, and is far from its end."""
    try:
        certificate.verify_directly_issued_by(issuer.certificate)
    except Exception:  # any failed verification (signature, name, type of key) means: issue it anew
        return False
    return (
        certificate.subject == leaf.subject
        and _sans_of(certificate) == set(leaf.sans)
        and certificate.public_key() == key.public_key()
        and not _nears_expiry(certificate, now)
    )


def _nears_expiry(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc - now < RENEW_BEFORE


def _sans_of(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def _general_names(sans: Iterable[str]) -> Iterator[x509.GeneralName]:
    for san in sans:
        try:
            yield x509.IPAddress(ipaddress.ip_address(san))
        except ValueError:
            yield x509.DNSName(san)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _unique(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _parse_key(pem: bytes) -> PrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("not an EC or RSA key")
    return key


def _load_key(path: Path) -> PrivateKey | None:
    pem = _read(path)
    return _parse_key(pem) if pem else None


def _load_certificate(path: Path) -> x509.Certificate | None:
    pem = _read(path)
    return x509.load_pem_x509_certificate(pem) if pem else None


def _write(out: Path, path: str, content: bytes, written: list[str], *, secret: bool = False) -> None:
    """Replace a file at once (a reader never sees half of it); secrets are readable by their owner only."""
    target = out / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    temporary = target.with_name(f".{target.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(target)
    written.append(path)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.pki", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to hold the certificates")
    parser.add_argument("--node", action="append", default=[], metavar="NAME[=ADDRESS]", help="a node (repeatable)")
    parser.add_argument(
        "--san", action="append", default=[], help="a name or address of the control plane (repeatable)"
    )
    parser.add_argument("--server", default="https://127.0.0.1:6443", help="API server's address for the admin")
    parser.add_argument("--internal-server", help="API server's address for the components")
    options = parser.parse_args(argv)
    written = create(
        options.out,
        nodes=options.node,
        sans=options.san,
        server=options.server,
        internal_server=options.internal_server,
    )
    print(f"{len(written)} files written to {options.out}" if written else f"{options.out} is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
