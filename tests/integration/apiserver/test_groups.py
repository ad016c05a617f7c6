"""What the groups' kinds do through the verbs: a PUT that creates, deletes that leave dependents, approvals, scales."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.conftest import Kubectl

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"


def lease(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, **metadata}, "spec": {}}


def job(name: str) -> dict[str, Any]:
    pod = {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": pod}},
    }


def test_a_put_creates_where_upstreams_does(http: httpx.Client, namespace: str) -> None:
    path = LEASES.format(namespace)
    assert http.put(f"{path}/a?dryRun=All", json=lease("a")).status_code == 201
    assert http.get(f"{path}/a").status_code == 404
    created = http.put(f"{path}/a", json=lease("a"))
    assert (created.status_code, created.json()["metadata"]["name"]) == (201, "a")
    again = http.put(f"{path}/a", json=created.json() | {"spec": {"holderIdentity": "h"}})
    assert (again.status_code, again.json()["spec"]) == (200, {"holderIdentity": "h"})
    blind = http.put(f"{path}/a", json=lease("a"))
    assert (blind.status_code, blind.json()["message"]) == (
        422,
        'leases.coordination.k8s.io "a" is invalid: metadata.resourceVersion: Invalid value: 0x0: '
        "must be specified for an update",
    )
    another = http.put(f"{path}/b", json=lease("b", uid="5"))
    assert (another.status_code, another.json()["reason"]) == (409, "Conflict")
    invalid = lease("b") | {"spec": {"leaseDurationSeconds": 0}}
    assert http.put(f"{path}/b", json=invalid).status_code == 422


def test_a_put_elsewhere_finds_nothing(http: httpx.Client, namespace: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert http.put(f"/api/v1/namespaces/{namespace}/configmaps/a", json=body).status_code == 404


def test_a_put_that_creates_needs_the_right_to_create(http: httpx.Client, namespace: str) -> None:
    user = f"u-{uuid.uuid4().hex[:8]}"
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}}
    rules = [{"verbs": ["update"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}]
    assert http.put(f"{rbac}/roles/r", json={**role, "rules": rules}).status_code == 201
    binding = {**role, "kind": "RoleBinding", "roleRef": {"kind": "Role", "name": "r"}}
    subjects = [{"kind": "User", "name": user}]
    assert http.post(f"{rbac}/rolebindings", json={**binding, "subjects": subjects}).status_code == 201

    def put() -> httpx.Response:
        return http.put(f"{LEASES.format(namespace)}/a", json=lease("a"), headers={"impersonate-user": user})

    refused = put()
    assert refused.status_code == 403
    assert f'User "{user}" cannot create resource "leases"' in refused.json()["message"]
    rules[0]["verbs"].append("create")
    assert http.put(f"{rbac}/roles/r", json={**role, "rules": rules}).status_code == 200
    assert put().status_code == 201


def test_a_job_leaves_its_pods_unless_a_policy_is_named(http: httpx.Client, namespace: str) -> None:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    for name in ("a", "b", "c"):
        assert http.post(path, json=job(name)).status_code == 201
    kept = http.delete(f"{path}/a")
    assert kept.json()["metadata"]["finalizers"] == ["orphan"]
    assert "child pods are preserved by default when jobs are deleted" in kept.headers["warning"]
    gone = http.delete(f"{path}/b?propagationPolicy=Background")
    assert (gone.json()["status"], "warning" in gone.headers) == ("Success", False)
    assert http.delete(path).status_code == 200
    assert http.get(f"{path}/c").json()["metadata"]["finalizers"] == ["orphan"]
    for name in ("a", "c"):
        http.patch(
            f"{path}/{name}",
            json={"metadata": {"finalizers": None}},
            headers={"content-type": "application/merge-patch+json"},
        )
        assert http.get(f"{path}/{name}").status_code == 404


@pytest.fixture
def request_name(http: httpx.Client) -> Iterator[str]:
    name = f"r-{uuid.uuid4().hex[:8]}"
    yield name
    http.delete(f"{REQUESTS}/{name}")


def signing_request(name: str) -> dict[str, Any]:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    pem = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    spec = {"request": base64.b64encode(pem).decode(), "signerName": "example.com/x", "usages": ["client auth"]}
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": spec | {"username": "somebody-else"},
        "status": {"certificate": "YQ=="},
    }


def test_the_life_of_a_certificate_request(http: httpx.Client, request_name: str) -> None:
    path = f"{REQUESTS}/{request_name}"
    sent = signing_request(request_name)
    obj = http.post(REQUESTS, json=sent).json()
    assert (obj["spec"]["username"], obj["status"]) == ("kubernetes-admin", {})
    changed = http.put(path, json={**obj, "spec": {**obj["spec"], "usages": ["any"]}}).json()
    assert changed["spec"] == obj["spec"]

    def put(subresource: str, **status: Any) -> httpx.Response:
        current = http.get(path).json()
        return http.put(f"{path}/{subresource}", json={**current, "status": {**current["status"], **status}})

    approved = {"type": "Approved", "status": "True", "reason": "r", "message": "m"}
    by_status = put("status", conditions=[approved])
    assert 'updates may not add a condition of type "Approved"' in by_status.json()["message"]
    conditions = put("approval", conditions=[approved]).json()["status"]["conditions"]
    assert conditions[0]["lastUpdateTime"] and conditions[0]["lastTransitionTime"]
    denied = put("approval", conditions=[*conditions, {**approved, "type": "Denied"}])
    assert denied.json()["details"]["causes"][0]["message"].endswith("mutually exclusive")
    dropped = put("approval", conditions=[])
    assert 'updates may not remove a condition of type "Approved"' in dropped.json()["message"]
    other = http.put(f"{path}/approval", json={**obj, "metadata": {"name": request_name, "uid": "u"}})
    assert (other.status_code, other.json()["reason"]) == (409, "Conflict")
    assert "Precondition failed: UID in precondition: u, UID in object meta: " in other.json()["message"]
    misnamed = http.put(f"{path}/approval", json={**obj, "metadata": {"name": "other"}})
    assert (misnamed.status_code, misnamed.json()["reason"]) == (400, "BadRequest")
    merge = {"Content-Type": "application/merge-patch+json"}
    assert http.patch(f"{path}/approval", json={"metadata": {"name": "other"}}, headers=merge).status_code == 400
    nonsense = put("status", certificate=base64.b64encode(b"x").decode())
    assert nonsense.json()["details"]["causes"][0]["message"] == (
        'Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block'
    )


def test_flow_control_is_there_from_the_start(http: httpx.Client, kubectl: Kubectl) -> None:
    levels = {
        item["metadata"]["name"]: item for item in http.get(f"{FLOW}/prioritylevelconfigurations").json()["items"]
    }
    assert levels["exempt"]["spec"]["type"] == "Exempt"
    assert levels["workload-low"]["spec"]["limited"]["nominalConcurrencyShares"] == 100
    lines = kubectl("get", "flowschemas", "--no-headers").stdout.splitlines()
    shown = {line.split()[0]: line.split()[1:4] for line in lines}
    assert shown["exempt"] == ["exempt", "1", "<none>"]
    assert shown["kube-scheduler"] == ["workload-high", "800", "ByNamespace"]
    assert all(line.split()[-1] == "False" for line in lines)
    exempt = http.get(f"{FLOW}/flowschemas/exempt").json()
    refused = http.put(f"{FLOW}/flowschemas/exempt", json={**exempt, "spec": {**exempt["spec"], "rules": []}})
    assert "spec of 'exempt' must equal the fixed value" in refused.json()["message"]


def test_a_status_leaves_the_labels_of_a_deployment_alone(http: httpx.Client, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    labels = {"a": "b"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": labels}, "spec": spec}
    obj = http.post(path, json=body).json()
    obj["metadata"]["labels"] = {"c": "d"}
    answer = http.put(f"{path}/d/status", json={**obj, "status": {"observedGeneration": 1}}).json()
    assert (answer["metadata"]["labels"], answer["status"]) == (labels, {"observedGeneration": 1})
    more = http.put(f"{path}/d/status", json={**answer, "status": {"replicas": 1, "readyReplicas": 2}})
    causes = more.json()["details"]["causes"]
    assert [(c["field"], c["message"]) for c in causes] == [
        ("status.readyReplicas", "Invalid value: 2: cannot be greater than status.replicas")
    ]


@pytest.mark.parametrize(
    ("resource", "selector", "message"),
    [
        ("apis/events.k8s.io/v1/events", "reportingController=x", None),
        ("apis/events.k8s.io/v1/events", "regarding.fieldPath=x", None),
        ("apis/events.k8s.io/v1/events", "source=x", "field label not supported: source"),
        ("api/v1/events", "source=x", None),
        ("apis/apps/v1/replicasets", "status.replicas=0", '"status.replicas" is not a known field selector'),
        ("apis/batch/v1/jobs", "spec.x=1", 'field label "spec.x" not supported for batchv1.Job'),
        ("apis/storage.k8s.io/v1/storageclasses", "metadata.namespace=x", None),
        ("api/v1/nodes", "metadata.namespace=x", "field label not supported: metadata.namespace"),
    ],
)
def test_fields_are_selected_where_upstream_selects_them(
    http: httpx.Client, resource: str, selector: str, message: str | None
) -> None:
    answer = http.get(f"/{resource}", params={"fieldSelector": selector})
    if message is None:
        assert (answer.status_code, answer.json()["items"]) == (200, [])
    else:
        assert answer.status_code == 400
        assert answer.json()["message"].startswith(message)
