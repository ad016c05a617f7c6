"""Another kubelet in the machine's network namespace, which joins with a bootstrap token."""

from __future__ import annotations

import ipaddress
import json
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubelet.runtime.naming import LABEL_NODE
from tests.e2e.node.machine import ADDRESS, API, Machine, Process, unmount_below
from tests.e2e.node.support import Kubectl

PORT = 10350
KUBELET_SERVING, API_CLIENT = "kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"


class Joining:
    """A kubelet with nothing but a bootstrap token. ``extra``: flags set otherwise; None: not given."""

    def __init__(self, machine: Machine, root: Path) -> None:
        self.machine, self.root = machine, root
        self.extra: dict[str, object] = {}
        self.name = f"joins-{uuid.uuid4().hex[:8]}"
        self.certificates = root / "pki"
        self.kubeconfig = root / "kubelet.conf"
        self.token_id, self.secret = uuid.uuid4().hex[:6], uuid.uuid4().hex[:16]
        self.process = Process("joining", [], root / "joining.log")

    def flags(self) -> dict[str, object]:
        flags = dict(self.machine._kubelet_flags())
        for flag in ("tls-cert-file", "tls-private-key-file", "pod-manifest-path"):
            del flags[flag]
        flags |= {
            "hostname-override": self.name,
            "port": PORT,
            "root-dir": self.root / "kubelet",
            "pod-log-dir": self.root / "log/pods",
            "kubeconfig": self.kubeconfig,
            "bootstrap-kubeconfig": self.root / "bootstrap.conf",
            "cert-dir": self.certificates,
            "rotate-certificates": "true",
            "rotate-server-certificates": "true",
            "bridge": "cox9",
            "pod-cidr": "10.251.9.0/24",
            **self.extra,
        }
        return {name: value for name, value in flags.items() if value is not None}

    def start(self, secret: str) -> None:
        self.write_bootstrap(secret)
        words = [f"--{name}={value}" for name, value in self.flags().items()]
        self.process.command = self.machine.inside(self.machine.kubelet.command[2], "-m", "kubelet", *words)
        self.process.start()

    def write_bootstrap(self, secret: str) -> None:
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": f"https://{ADDRESS}:{API}",
                        "certificate-authority": str(self.machine.pki / "ca.crt"),
                    },
                }
            ],
            "users": [{"name": "u", "user": {"token": f"{self.token_id}.{secret}"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (self.root / "bootstrap.conf").write_text(yaml.safe_dump(content))

    def log(self) -> str:
        return self.process.log.read_text(errors="replace")

    def shown(self, address: str = ADDRESS) -> x509.Certificate | None:
        """The certificate that its port shows; None when nobody listens."""
        script = "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], int(sys.argv[2]))))"
        text = self.machine.run(sys.executable, "-c", script, address, str(PORT), check=False)
        return x509.load_pem_x509_certificate(text.encode()) if text.strip() else None


@contextmanager
def invited(machine: Machine, kubectl: Kubectl, root: Path) -> Iterator[Joining]:
    """The token, and what kubeadm binds to it."""
    it = Joining(machine, root)
    group = f"system:bootstrappers:{it.name}"
    bindings = {
        "system:node-bootstrapper": group,
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient": group,
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": "system:nodes",
    }
    names = [f"{it.name}-{index}" for index in range(len(bindings))]
    for name, (role, bound) in zip(names, bindings.items(), strict=True):
        kubectl("create", "clusterrolebinding", name, f"--clusterrole={role}", f"--group={bound}")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{it.token_id}", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": it.token_id,
            "token-secret": it.secret,
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": group,
            "expiration": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    }
    kubectl("create", "-n", "kube-system", "-f", "-", stdin=json.dumps(secret))
    try:
        yield it
    finally:
        it.process.stop()
        _clean_up(it, kubectl, names)


def _clean_up(it: Joining, kubectl: Kubectl, names: Sequence[str]) -> None:
    kubectl.attempt("delete", "pods", f"--field-selector=spec.nodeName={it.name}", "--grace-period=0", "--force")
    client = it.machine.docker()
    for container in client.containers(all=True, filters={"label": f"{LABEL_NODE}={it.name}"}):
        client.remove_container(container["Id"], force=True, v=True)
    client.close()
    unmount_below(it.root / "kubelet")
    kubectl("delete", "clusterrolebinding", *names)
    kubectl("delete", "secret", "-n", "kube-system", f"bootstrap-token-{it.token_id}")
    kubectl.attempt("delete", "node", it.name)
    kubectl("delete", "csr", "--all")
    it.machine.run("ip", "link", "del", "cox9", check=False)


def requests_of(kubectl: Kubectl, signer: str, user: str) -> list[dict[str, Any]]:
    items = kubectl.get("csr", f"--field-selector=spec.signerName={signer}")["items"]
    return [each for each in items if each["spec"].get("username") == user]


def alternative_names(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}


def ends_soon(pki: Path, node: str, *addresses: str) -> bytes:
    """A node's good certificate and its key, in its last minutes: a server's when it has addresses."""
    authority = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
    signer: Any = load_pem_private_key((pki / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [(NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, f"system:node:{node}")]
    now = datetime.now(UTC)
    usage = ExtendedKeyUsageOID.SERVER_AUTH if addresses else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(kind, value) for kind, value in names]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=5))
        .not_valid_after(now + timedelta(minutes=10))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if addresses:
        found: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(node), *found]), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + private
