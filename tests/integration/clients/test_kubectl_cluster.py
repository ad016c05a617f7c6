"""wait, delete, auth, nodes, certificates and debug."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.clients.conftest import Walker
from tests.integration.clients.kubectl import Kubectl, ends, every
from tests.integration.conftest import eventually

MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
def pod(http: httpx.Client, namespace: str) -> str:
    """The path of pod ``box``, which no node has."""
    body = {
        "metadata": {"name": "box", "labels": {"app": "box"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    assert http.post(f"/api/v1/namespaces/{namespace}/pods", json=body).status_code == 201
    return f"/api/v1/namespaces/{namespace}/pods/box"


@pytest.mark.parametrize("version", every())
def test_wait(walker: Walker, version: str, pod: str, http: httpx.Client) -> None:
    kubectl = walker(version)
    assert "timed out waiting for the condition" in kubectl.refused("wait", "pod/box", "--for=delete", "--timeout=0.2s")
    waits = [
        kubectl.start("wait", "pod/box", "--for=condition=Ready", "--timeout=20s"),
        kubectl.start("wait", "pod", "-l", "app=box", "--for=jsonpath={.status.phase}=Running", "--timeout=20s"),
    ]
    if kubectl.newer("1.31"):
        waits.append(kubectl.start("wait", "configmap/later", "--for=create", "--timeout=20s"))
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert http.patch(f"{pod}/status", json={"status": status}, headers=MERGE).status_code == 200
    kubectl("create", "configmap", "later")
    for waiting in waits:
        said, _ = waiting.communicate(timeout=30)
        assert (waiting.returncode, said.split()[-2:]) == (0, ["condition", "met"]), said
    gone = kubectl.start("wait", "pod/box", "--for=delete", "--timeout=20s")
    http.request("DELETE", pod, json={"gracePeriodSeconds": 0})
    said, _ = gone.communicate(timeout=30)
    assert gone.returncode == 0, said


@pytest.mark.parametrize("version", ends())
def test_delete(walker: Walker, version: str) -> None:
    kubectl = walker(version)

    def make(name: str) -> None:
        kubectl("create", "deployment", name, "--image=httpd")

    for cascade, finalizer in (("foreground", "foregroundDeletion"), ("orphan", "orphan")):
        make(cascade)
        kubectl("delete", "deployment", cascade, f"--cascade={cascade}", "--wait=false")
        metadata = kubectl.get("deployment", cascade)["metadata"]
        assert metadata["finalizers"] == [finalizer]
        assert "deletionTimestamp" in metadata
        kubectl("patch", "deployment", cascade, "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
        assert "NotFound" in kubectl.refused("get", "deployment", cascade)
    make("background")
    dry = kubectl("delete", "deployment", "background", "--dry-run=server")
    assert dry == 'deployment.apps "background" deleted (server dry run)\n'
    assert kubectl("delete", "deployment", "background") == 'deployment.apps "background" deleted\n'
    for name in ("a", "b", "c"):
        kubectl("create", "configmap", name)
    kubectl("label", "configmap", "a", "x=y")
    assert kubectl("delete", "configmap", "-l", "x=y") == 'configmap "a" deleted\n'
    assert kubectl("delete", "configmap", "--field-selector=metadata.name=b") == 'configmap "b" deleted\n'
    assert kubectl("delete", "configmaps,secrets", "--all").splitlines() == ['configmap "c" deleted']
    assert "NotFound" in kubectl.refused("delete", "configmap", "c")
    assert kubectl("delete", "configmap", "c", "--ignore-not-found") == ""


@pytest.mark.parametrize("version", ends())
def test_a_pod_is_deleted_now_or_by_force(walker: Walker, version: str, pod: str) -> None:
    kubectl = walker(version)
    assert kubectl("delete", "pod", "box", "--force").startswith('pod "box" force deleted')
    kubectl("run", "two", "--image=i", "--restart=Never")
    assert kubectl("delete", "pod", "two", "--now") == 'pod "two" deleted\n'


@pytest.mark.parametrize("version", ends())
def test_auth(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    assert kubectl("auth", "can-i", "create", "deployments.apps") == "yes\n"
    assert kubectl.refused("auth", "can-i", "get", "secrets", "--as=joe") == "no\n"
    kubectl("create", "role", "reader", "--verb=get", "--resource=pods", "--resource-name=box")
    kubectl("create", "rolebinding", "readers", "--role=reader", "--group=crew")
    crew = ("--as=joe", "--as-group=crew")
    assert kubectl("auth", "can-i", "get", "pods/box", *crew) == "yes\n"
    listed = [line.split() for line in kubectl("auth", "can-i", "--list", *crew).splitlines()]
    assert ["pods", "[]", "[box]", "[get]"] in listed
    if kubectl.newer("1.28"):  # before, it asks by versions that are served no more
        told = kubectl("auth", "whoami", *crew, "-o", "json")
        assert json.loads(told)["status"]["userInfo"]["groups"] == ["crew", "system:authenticated"]
    refused = kubectl.refused("get", "pods", *crew)
    assert refused == (
        'Error from server (Forbidden): pods is forbidden: User "joe" cannot list resource "pods" in API group "" '
        f'in the namespace "{kubectl.namespace}"\n'
    )
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reader", "namespace": kubectl.namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
    }
    assert "reader reconciled" in kubectl("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    assert len(kubectl.get("role", "reader")["rules"]) == 2


@pytest.fixture
def node(http: httpx.Client, namespace: str) -> Iterator[str]:
    """A node with nobody on it."""
    name = f"node-{namespace}"
    assert http.post("/api/v1/nodes", json={"metadata": {"name": name}}).status_code == 201
    yield name
    http.delete(f"/api/v1/nodes/{name}")


def bound(kubectl: Kubectl, http: httpx.Client, node: str, *names: str) -> None:
    """Pods of a ReplicaSet, running on the node."""
    kubectl("create", "configmap", "owner")
    uid = kubectl("get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}")
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "owner", "uid": uid, "controller": True}
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods"
    for name in names:
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
        metadata = {"name": name, "labels": {"app": "web"}, "ownerReferences": [owner]}
        assert http.post(path, json={"metadata": metadata, "spec": spec}).status_code == 201
        running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        assert http.patch(f"{path}/{name}/status", json={"status": running}, headers=MERGE).status_code == 200


@pytest.mark.parametrize("version", ends())
def test_nodes(walker: Walker, version: str, node: str, http: httpx.Client) -> None:
    kubectl = walker(version)
    kubectl("taint", "node", node, "a=b:NoSchedule")
    assert "already has" in kubectl.refused("taint", "node", node, "a=c:NoSchedule")
    kubectl("taint", "node", node, "a=c:NoSchedule", "--overwrite")
    assert {"effect": "NoSchedule", "key": "a", "value": "c"} in kubectl.get("node", node)["spec"]["taints"]
    kubectl("taint", "node", node, "a-")
    assert kubectl("cordon", node) == f"node/{node} cordoned\n"
    assert kubectl("get", "node", node).splitlines()[1].split()[1].endswith("SchedulingDisabled")
    assert kubectl("uncordon", node) == f"node/{node} uncordoned\n"
    assert kubectl("describe", "node", node).startswith("Name:")
    bound(kubectl, http, node, "one", "two")
    if version == ends()[-1]:  # kubectl sleeps five seconds before it tries again
        kubectl("create", "pdb", "all", "--selector=app=web", "--min-available=2")
        status = {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2}
        path = f"/apis/policy/v1/namespaces/{kubectl.namespace}/poddisruptionbudgets/all/status"
        assert http.patch(path, json={"status": status}, headers=MERGE).status_code == 200
        blocked = kubectl.refused("drain", node, "--grace-period=0", "--timeout=1s")
        assert "Cannot evict pod as it would violate the pod's disruption budget." in blocked
        kubectl("delete", "pdb", "all")
    drained = kubectl("drain", node, "--grace-period=0", "--timeout=20s")
    assert drained.endswith(f"node/{node} drained\n")
    assert kubectl("get", "pods", "-o", "name") == ""


def request(name: str) -> str:
    """A certificate signing request, as its API wants it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


@pytest.mark.parametrize("version", ends())
def test_certificates(walker: Walker, version: str, remove: Callable[[str], None]) -> None:
    kubectl = walker(version)
    names = [f"{kubectl.namespace}-{end}" for end in ("yes", "no")]
    try:
        for name in names:
            spec = {
                "signerName": "kubernetes.io/kube-apiserver-client",
                "request": request("joe"),
                "usages": ["client auth"],
                "expirationSeconds": 3600,
            }
            body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
            kubectl("create", "-f", "-", stdin=json.dumps(body | {"metadata": {"name": name}, "spec": spec}))
        assert kubectl("certificate", "approve", names[0]).endswith(" approved\n")
        assert kubectl("certificate", "deny", names[1]).endswith(" denied\n")
        rows = {line.split()[0]: line.split() for line in kubectl("get", "csr", "--no-headers").splitlines()}
        signer = "kubernetes.io/kube-apiserver-client"
        assert rows[names[0]][2:] == [signer, "kubernetes-admin", "60m", "Approved"]
        assert rows[names[1]][-1] == "Denied"
        assert "Status:" in kubectl("describe", "csr", names[0])
        said = kubectl.refused("certificate", "deny", names[0])
        assert "is already Approved" in said
    finally:
        for name in names:
            remove(f"/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}")


def containers(kubectl: Kubectl, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kubectl.get("pod", "box")["spec"].get(kind, [])
    return found


@pytest.mark.parametrize("version", ends())
def test_debug(walker: Walker, version: str, pod: str) -> None:
    kubectl = walker(version)
    kubectl("debug", "pod/box", "--image=busybox", "--target=c", "--container=look", "--attach=false", "--", "sh")
    (look,) = containers(kubectl, "ephemeralContainers")
    assert (look["name"], look["image"], look["targetContainerName"]) == ("look", "busybox", "c")
    assert look["command"] == ["sh"] or look["args"] == ["sh"]
    kubectl("debug", "pod/box", "--image=busybox", "--copy-to=copy", "--container=more", "--attach=false")
    copied = kubectl.get("pod", "copy")["spec"]["containers"]
    assert [container["name"] for container in copied] == ["c", "more"]
    assert kubectl("describe", "pod", "box").startswith("Name:")
    eventually(lambda: "look" in kubectl("get", "pod", "box", "-o", "jsonpath={.spec.ephemeralContainers[*].name}"))
