"""Certificates that near their expiry are renewed by `./cox up`, and the running cluster takes them into use."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509

from tests.e2e.cluster.support import PROJECT, ROOT, Kubectl, command, eventually, node_exec

SERVERS = {
    "apiserver": 6443,
    "controller-manager": 10257,
    "scheduler": 10259,
    "etcd": 2379,
    "registry": 5000,
    "node-1": 10250,
    "node-2": 10250,
}
AGED = """
import functools, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from deploy import distribution, pki

for path in Path("/pki").rglob("*"):
    if path.suffix == ".conf" or (path.suffix == ".crt" and path.name != "ca.crt"):
        path.unlink()
pki.create = functools.partial(pki.create, now=datetime.now(UTC) - timedelta(days=300))
sys.exit(distribution.main(sys.argv[1:]))
"""
"""Makes all certificates but the authorities' anew, as if that had been 300 days ago."""


def expiry(process: str, port: int) -> datetime | None:
    """Of the certificate that a process shows."""
    inspected = json.loads(command(["docker", "inspect", f"{PROJECT}-{process}"]).out)[0]
    addresses = [network["IPAddress"] for network in inspected["NetworkSettings"]["Networks"].values()]
    try:
        shown = ssl.get_server_certificate((addresses[0], port), timeout=5)
    except OSError:
        return None
    return x509.load_pem_x509_certificate(shown.encode()).not_valid_after_utc


def all_expire(*, after: bool, limit: datetime) -> bool:
    shown = [expiry(process, port) for process, port in SERVERS.items()]
    return all(each is not None and (each > limit) is after for each in shown)


def age_certificates() -> None:
    words = json.loads(command(["docker", "inspect", f"{PROJECT}-pki"]).out)[0]["Config"]["Cmd"]
    flags = [word for word in words if word.startswith("--")]
    image = ["--network=none", "--entrypoint=python3", "coxswain/control-plane:latest"]
    aged = command(["docker", "run", "--rm", "--volumes-from", f"{PROJECT}-pki", *image, "-c", AGED, *flags])
    assert aged.code == 0, aged


def client_certificate() -> str:
    return (ROOT / ".cox" / "admin.crt").read_text()


def test_a_running_cluster_takes_renewed_certificates_into_use(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=httpd:v1", "--replicas=2")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("expose", "deployment", "web", "--port=80")
    address = kubectl.get("service", "web")["spec"]["clusterIP"]
    before = {pod["metadata"]["uid"]: pod["status"]["containerStatuses"] for pod in kubectl.pods("app=web")}
    soon = datetime.now(UTC) + timedelta(days=90)

    age_certificates()
    eventually("the aged certificates are in use", lambda: all_expire(after=False, limit=soon), 120)
    old = client_certificate()
    up = command(["./cox", "up"], timeout=300)
    assert up.code == 0, up
    eventually("renewed certificates are in use", lambda: all_expire(after=True, limit=soon), 120)
    assert client_certificate() != old

    # Everybody still speaks to everybody, as who they are: a pod is made, reached, logged and executed into.
    kubectl("run", "new", "--image=busybox:1.35", "--", "sh", "-c", "echo hello; sleep 600")
    kubectl("wait", "--for=condition=Ready", "pod/new", "--timeout=60s")
    assert kubectl("logs", "new") == "hello\n"
    assert "test page v1" in kubectl("exec", "new", "--", "wget", "-qO-", "-T5", f"http://{address}")
    assert "test page v1" in node_exec("node-2", "curl", "-s", "-m", "5", f"http://{address}").out
    after = {pod["metadata"]["uid"]: pod["status"]["containerStatuses"] for pod in kubectl.pods("app=web")}
    assert after == before, "running pods are not touched by a renewal"
