"""A machine becomes a node with a bootstrap token, and its certificates are asked for, approved, signed and renewed."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from kubelet.certificates.x509 import key_and_request
from tests.e2e.node.joining import (
    API_CLIENT,
    KUBELET_CLIENT,
    KUBELET_SERVING,
    PORT,
    Joining,
    alternative_names,
    ends_soon,
    invited,
    requests_of,
)
from tests.e2e.node.machine import ADDRESS, API, Machine
from tests.e2e.node.support import Kubectl, container_status, eventually, pod_of

OTHER = "192.0.2.20"
"""The machine's next address. GATEWAY is where packets for elsewhere would go."""
GATEWAY = "192.0.2.1"


@pytest.fixture
def joining(machine: Machine, kubectl: Kubectl, tmp_path: Path) -> Iterator[Joining]:
    with invited(machine, kubectl, tmp_path) as joining:
        yield joining


def test_a_machine_joins_with_a_token(joining: Joining, kubectl: Kubectl, machine: Machine) -> None:
    joining.start("0" * 16)
    eventually("the wrong token is refused", lambda: "no client certificate for this node yet" in joining.log())
    assert not joining.kubeconfig.exists() and kubectl.find("node", joining.name) is None
    joining.process.stop(signal.SIGKILL)

    joining.start(joining.secret)
    eventually("the node is there", lambda: kubectl.find("node", joining.name))
    # The machine has a kubelet already, at whose address for its health there is no other: that ends nobody.
    eventually("it says so", lambda: "cannot listen on 127.0.0.1:10248" in joining.log())
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
    assert alternative_names(x509.load_pem_x509_certificate(pair.read_bytes())) == {ADDRESS, joining.name}
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


def test_the_serving_certificate_is_renewed_and_follows_the_addresses(
    joining: Joining, kubectl: Kubectl, machine: Machine
) -> None:
    """As it is seen on the port, of one kubelet that is not started again; its address is the default route's."""
    joining.extra = {"node-ip": None, "node-status-update-frequency": "1s"}
    joining.certificates.mkdir()
    old = joining.certificates / "kubelet-server-2026-01-01-00-00-00.pem"
    old.write_bytes(ends_soon(machine.pki, joining.name, ADDRESS))
    (joining.certificates / "kubelet-server-current.pem").symlink_to(old)
    joining.start(joining.secret)
    eventually("it serves with the certificate that is there", joining.shown)
    first = x509.load_pem_x509_certificate(old.read_bytes())
    assert joining.shown() == first
    kubectl.apply(pod_of("talks", joining.name, machine.image, "echo here; exec sleep 600", hostNetwork=True))
    kubectl.running("talks")
    assert kubectl("logs", "talks") == "here\n"

    user = f"system:node:{joining.name}"
    [asked] = eventually("another is asked for", lambda: requests_of(kubectl, KUBELET_SERVING, user))
    kubectl("certificate", "approve", asked["metadata"]["name"])
    eventually("the port shows another", lambda: joining.shown() != first)
    renewed = joining.shown()
    assert renewed is not None and alternative_names(renewed) == {ADDRESS, joining.name}
    assert renewed.not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)
    assert kubectl("logs", "talks") == "here\n"

    machine.run("ip", "addr", "add", f"{OTHER}/24", "dev", "up0")
    machine.run("ip", "route", "add", GATEWAY, "dev", "up0", "src", OTHER)
    try:

        def address() -> Any:
            return [each["address"] for each in kubectl.get("node", joining.name)["status"]["addresses"]]

        eventually("the node tells of its address", lambda: address() == [OTHER, joining.name])

        def asked_anew() -> Any:
            found = requests_of(kubectl, KUBELET_SERVING, user)
            return [each for each in found if each["metadata"]["name"] != asked["metadata"]["name"]]

        [anew] = eventually("a certificate for the new address is asked for", asked_anew)
        assert joining.shown() == renewed
        refused = kubectl.attempt("logs", "talks")
        assert refused.code != 0 and "certificate" in refused.err, refused
        kubectl("certificate", "approve", anew["metadata"]["name"])
        eventually("the port shows it", lambda: joining.shown(OTHER) != renewed)
        last = joining.shown(OTHER)
        assert last is not None and alternative_names(last) == {OTHER, joining.name}
        assert kubectl("logs", "talks") == "here\n"
        eventually("the pod's host has it", lambda: kubectl.status("talks")["hostIP"] == OTHER)
        assert joining.process.running is not None and joining.process.running.poll() is None
        assert container_status(kubectl.status("talks"))["restartCount"] == 0
        assert len(requests_of(kubectl, KUBELET_SERVING, user)) == 2
        kubectl("delete", "pod", "talks")
    finally:
        machine.run("ip", "route", "del", GATEWAY, check=False)
        machine.run("ip", "addr", "del", f"{OTHER}/24", "dev", "up0")


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
