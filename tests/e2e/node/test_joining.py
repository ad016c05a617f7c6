"""A machine becomes a node with a bootstrap token, and its certificates are asked for, approved, signed and renewed."""

from __future__ import annotations

import base64
import json
import signal
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubelet.certificates.x509 import key_and_request
from tests.e2e.node.machine import ADDRESS, API, Machine, Process, unmount_below
from tests.e2e.node.support import Kubectl, eventually

PORT = 10350
KUBELET_SERVING, API_CLIENT = "kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"


class Joining:
    """Another kubelet in the machine's network namespace, with nothing but a bootstrap token."""

    def __init__(self, machine: Machine, root: Path) -> None:
        self.machine, self.root = machine, root
        self.name = f"joins-{uuid.uuid4().hex[:8]}"
        self.certificates = root / "pki"
        self.kubeconfig = root / "kubelet.conf"
        self.token_id, self.secret = uuid.uuid4().hex[:6], uuid.uuid4().hex[:16]
        self.process = Process("joining", [], root / "joining.log")

    def flags(self) -> dict[str, object]:
        flags = dict(self.machine._kubelet_flags())
        for flag in ("tls-cert-file", "tls-private-key-file", "pod-manifest-path"):
            del flags[flag]
        return flags | {
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
        }

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


@pytest.fixture
def joining(machine: Machine, kubectl: Kubectl, tmp_path: Path) -> Iterator[Joining]:
    """The token, and what kubeadm binds to it."""
    it = Joining(machine, tmp_path)
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
    yield it
    it.process.stop()
    unmount_below(it.root / "kubelet")
    kubectl("delete", "clusterrolebinding", *names)
    kubectl("delete", "secret", "-n", "kube-system", f"bootstrap-token-{it.token_id}")
    kubectl.attempt("delete", "node", it.name)
    kubectl("delete", "csr", "--all")
    machine.run("ip", "link", "del", "cox9", check=False)


def requests_of(kubectl: Kubectl, signer: str, user: str) -> list[dict[str, Any]]:
    items = kubectl.get("csr", f"--field-selector=spec.signerName={signer}")["items"]
    return [each for each in items if each["spec"].get("username") == user]


def test_a_machine_joins_with_a_token(joining: Joining, kubectl: Kubectl, machine: Machine) -> None:
    joining.start("0" * 16)
    eventually("the wrong token is refused", lambda: "no client certificate for this node yet" in joining.log())
    assert not joining.kubeconfig.exists() and kubectl.find("node", joining.name) is None
    joining.process.stop(signal.SIGKILL)

    joining.start(joining.secret)
    eventually("the node is there", lambda: kubectl.find("node", joining.name))
    client = joining.certificates / "kubelet-client-current.pem"
    certificate = x509.load_pem_x509_certificate(client.read_bytes())
    assert certificate.subject.rfc4514_string() == f"CN=system:node:{joining.name},O=system:nodes"
    assert client.is_symlink() and client.stat().st_mode & 0o777 == 0o600
    user = yaml.safe_load(joining.kubeconfig.read_text())["users"][0]["user"]
    assert user == {"client-certificate": str(client), "client-key": str(client)}
    [first] = requests_of(kubectl, KUBELET_CLIENT, f"system:bootstrap:{joining.token_id}")
    [approved] = first["status"]["conditions"]
    assert (approved["type"], approved["reason"]) == ("Approved", "AutoApproved")

    def asked() -> Any:
        return requests_of(kubectl, KUBELET_SERVING, f"system:node:{joining.name}")

    # Its serving certificate waits for a person; nobody listens until then.
    [serving] = eventually("a serving certificate is asked for", asked)
    assert not (serving.get("status") or {}).get("conditions")
    health = ["curl", "-sS", "--cacert", str(machine.pki / "ca.crt"), f"https://{ADDRESS}:{PORT}/healthz"]
    assert machine.run(*health, check=False) == ""
    kubectl("certificate", "approve", serving["metadata"]["name"])
    eventually("it serves", lambda: machine.run(*health, check=False) == "ok")
    pair = joining.certificates / "kubelet-server-current.pem"
    names = x509.load_pem_x509_certificate(pair.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [str(each) for each in names.value.get_values_for_type(x509.IPAddress)] == [ADDRESS]
    assert names.value.get_values_for_type(x509.DNSName) == [joining.name]
    pods = json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{joining.name}/proxy/pods"))
    assert pods["kind"] == "PodList"

    # A client certificate that ends soon is renewed by the node itself, which goes on with it.
    joining.process.stop()
    old = joining.certificates / "kubelet-client-2026-01-01-00-00-00.pem"
    old.write_bytes(ends_soon(machine.pki, joining.name))
    client.unlink()
    client.symlink_to(old)
    joining.process.start()
    eventually("it is renewed", lambda: client.resolve() != old)
    assert requests_of(kubectl, KUBELET_CLIENT, f"system:node:{joining.name}")
    renewed = x509.load_pem_x509_certificate(client.read_bytes())
    assert renewed.not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)
    lease = kubectl.get("lease", joining.name, "-n", "kube-node-lease")["spec"]["renewTime"]
    eventually(
        "the node is heard of",
        lambda: kubectl.get("lease", joining.name, "-n", "kube-node-lease")["spec"]["renewTime"] > lease,
    )
    eventually("it serves on", lambda: machine.run(*health, check=False) == "ok")


def ends_soon(pki: Path, node: str) -> bytes:
    """A good client certificate and its key, in its last minutes."""
    authority = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
    signer: Any = load_pem_private_key((pki / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [(NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, f"system:node:{node}")]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(kind, value) for kind, value in names]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=5))
        .not_valid_after(now + timedelta(minutes=10))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + private


def request(name: str, signer: str, usages: list[str]) -> tuple[bytes, dict[str, Any]]:
    key, text = key_and_request("x", ())
    spec = {"request": base64.b64encode(text).decode(), "signerName": signer, "usages": usages}
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    return key, {**kind, "metadata": {"name": name}, "spec": {**spec, "expirationSeconds": 3600}}


def condition(kubectl: Kubectl, name: str, kind: str) -> Any:
    conditions = (kubectl.get("csr", name).get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind), None)


def test_what_signers_give_and_refuse(kubectl: Kubectl, machine: Machine, tmp_path: Path) -> None:
    name = kubectl.namespace
    asked = {
        "user": (API_CLIENT, ["client auth"]),
        "nameless": (KUBELET_SERVING, ["digital signature", "server auth"]),
        "usages": (KUBELET_CLIENT, ["digital signature", "server auth"]),
        "denied": (API_CLIENT, ["client auth"]),
        "foreign": ("example.com/mine", ["client auth"]),
    }
    keys = {}
    for each, (signer, usages) in asked.items():
        keys[each], body = request(f"{name}-{each}", signer, usages)
        kubectl.apply(body)
    kubectl("certificate", "deny", f"{name}-denied")
    for each in ("user", "nameless", "usages", "foreign"):
        kubectl("certificate", "approve", f"{name}-{each}")
    for each, text in (("nameless", "DNS or IP subjectAltName is required"), ("usages", "usages did not match")):
        failed = eventually(f"{each} fails", lambda each=each: condition(kubectl, f"{name}-{each}", "Failed"))
        assert failed["reason"] == "SignerValidationFailure" and text in failed["message"]

    def issued() -> Any:
        return (kubectl.get("csr", f"{name}-user").get("status") or {}).get("certificate")

    pair = tmp_path / "user.pem"
    pair.write_bytes(base64.b64decode(eventually("it is signed", issued)) + keys["user"])
    certificate = x509.load_pem_x509_certificate(pair.read_bytes())
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(minutes=50) < left <= timedelta(hours=1)
    words = ["curl", "-sS", "--cacert", str(machine.pki / "ca.crt"), "--cert", str(pair), "--key", str(pair)]
    url = f"https://{ADDRESS}:{API}/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    words += ["-H", "content-type: application/json", "-d", body, url]
    answer = json.loads(machine.run(*words))
    assert answer["status"]["userInfo"]["username"] == "system:node:x"
    assert "certificate" not in kubectl.get("csr", f"{name}-denied").get("status", {})
    assert "certificate" not in kubectl.get("csr", f"{name}-foreign").get("status", {})
    assert not condition(kubectl, f"{name}-usages", "Denied")
    kubectl("delete", "csr", *(f"{name}-{each}" for each in asked))
