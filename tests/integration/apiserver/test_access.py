"""Who may do what: certificates, tokens, RBAC, reviews and the node authorizer, against the real server."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable

import httpx
import pytest

from tests.integration.conftest import NODE, ApiServer, Kubectl, client_of, eventually

As = Callable[[str | None], httpx.Client]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def create(http: httpx.Client, path: str, body: dict[str, object]) -> dict[str, object]:
    answer = http.post(path, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def pod(name: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }


def bearer(server: ApiServer, token: str) -> httpx.Client:
    client = client_of(server, None)
    client.headers["authorization"] = f"Bearer {token}"
    return client


def token_for(http: httpx.Client, namespace: str, account: str, **spec: object) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    status = create(http, f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", body)["status"]
    assert isinstance(status, dict)
    return str(status["token"])


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/readyz/etcd", "/version"])
def test_health_and_version_need_no_credentials(http_as: As, path: str) -> None:
    assert http_as(None).get(path).status_code == 200


@pytest.mark.parametrize("path", ["/api", "/api/v1/pods", "/metrics", "/openapi/v2", "/nowhere"])
def test_all_else_does(http_as: As, path: str) -> None:
    answer = http_as(None).get(path)
    assert (answer.status_code, answer.json()["message"]) == (401, "Unauthorized")


def test_bad_credentials_are_refused_even_where_none_are_needed(apiserver: ApiServer) -> None:
    with bearer(apiserver, "nonsense") as client:
        assert client.get("/version").status_code == 401


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/api/v1/secrets",
            'secrets is forbidden: User "system:kube-scheduler" cannot list resource "secrets" in API group "" at the '
            "cluster scope",
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments/x",
            'deployments.apps "x" is forbidden: User "system:kube-scheduler" cannot get resource "deployments" in API '
            'group "apps" in the namespace "default"',
        ),
        ("/metrics", 'forbidden: User "system:kube-scheduler" cannot get path "/metrics"'),
    ],
)
def test_what_no_role_allows_is_forbidden_in_upstreams_words(http_as: As, path: str, message: str) -> None:
    answer = http_as("scheduler").get(path)
    assert (answer.status_code, answer.json()["message"]) == (403, message)


@pytest.mark.parametrize(
    ("identity", "path"),
    [
        ("scheduler", "/api/v1/pods"),
        ("scheduler", "/api/v1/nodes"),
        ("controller-manager", "/apis/apps/v1/deployments"),
        ("controller-manager", "/api/v1/secrets"),
        ("proxy", "/apis/discovery.k8s.io/v1/endpointslices"),
        (f"kubelet-{NODE}", "/api/v1/services"),
    ],
)
def test_every_process_may_read_what_it_works_on(http_as: As, identity: str, path: str) -> None:
    assert http_as(identity).get(path).status_code == 200


def test_a_role_holds_for_the_next_request(
    http: httpx.Client, apiserver: ApiServer, namespace: str, kubectl: Kubectl
) -> None:
    kubectl("create", "serviceaccount", "reader", "-n", namespace)
    with bearer(apiserver, token_for(http, namespace, "reader")) as reader:
        path = f"/api/v1/namespaces/{namespace}/pods"
        assert reader.get(path).status_code == 403
        kubectl("create", "role", "r", "--verb=list", "--resource=pods", "-n", namespace)
        kubectl("create", "rolebinding", "r", "--role=r", f"--serviceaccount={namespace}:reader", "-n", namespace)
        eventually(lambda: reader.get(path).status_code == 200)
        assert reader.get("/api/v1/pods").status_code == 403
        kubectl("delete", "rolebinding", "r", "-n", namespace)
        eventually(lambda: reader.get(path).status_code == 403)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/namespaces/{}/nodes"),
        ("GET", "/api/v1/namespaces/{}/namespaces"),
        ("DELETE", "/api/v1/namespaces/{}/namespaces/kube-node-lease"),
        ("POST", "/apis/scheduling.k8s.io/v1/namespaces/{}/priorityclasses"),
        ("GET", "/api/v1/namespaces/{}/nodes/node-a/proxy/pods"),
        ("POST", "/apis/authorization.k8s.io/v1/namespaces/{}/subjectaccessreviews"),
    ],
)
def test_rights_in_a_namespace_do_not_reach_the_clusters_resources(
    http: httpx.Client, apiserver: ApiServer, namespace: str, method: str, path: str
) -> None:
    own_everything(http, namespace)
    with bearer(apiserver, token_for(http, namespace, "default")) as owner:
        owned = f"/api/v1/namespaces/{namespace}"
        eventually(lambda: owner.get(f"{owned}/secrets").status_code == 200 and owner.get(owned).status_code == 200)
        answer = owner.request(method, path.format(namespace), json=None if method == "GET" else {})
        assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound"), answer.text


@pytest.mark.parametrize("path", ["serviceaccounts/default/token", "pods/p/binding", "pods/p/eviction"])
def test_a_right_to_watch_does_nothing_else(
    http: httpx.Client, apiserver: ApiServer, namespace: str, path: str
) -> None:
    own_everything(http, namespace, verbs=["watch"])
    with bearer(apiserver, token_for(http, namespace, "default")) as watcher:
        body = {"metadata": {"name": "p"}, "target": {"name": NODE}} if "binding" in path else {}
        watched = f"/api/v1/watch/namespaces/{namespace}"
        eventually(lambda: watcher.get(f"{watched}/secrets", params={"timeoutSeconds": 1}).status_code == 200)
        answer = watcher.post(f"{watched}/{path}", json=body)
        assert answer.status_code == 403, answer.text


def test_a_right_to_watch_reads_no_single_object(http: httpx.Client, apiserver: ApiServer, namespace: str) -> None:
    own_everything(http, namespace, verbs=["watch"])
    with bearer(apiserver, token_for(http, namespace, "default")) as watcher:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        eventually(lambda: watcher.get(path, params={"watch": 1, "timeoutSeconds": 1}).status_code == 200)
        assert watcher.get(f"{path}/default", params={"watch": 1, "timeoutSeconds": 1}).status_code == 403


def own_everything(http: httpx.Client, namespace: str, verbs: list[str] | None = None) -> None:
    """Gives the namespace's default account a role over all that is in the namespace."""
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": verbs or ["*"]}
    path = f"{RBAC}/namespaces/{namespace}"
    create(http, f"{path}/roles", {"kind": "Role", "metadata": {"name": "all"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"}
    body = {"kind": "RoleBinding", "metadata": {"name": "all"}, "subjects": [subject], "roleRef": ref}
    create(http, f"{path}/rolebindings", body)


def test_resource_names_limit_a_role(
    http: httpx.Client, apiserver: ApiServer, namespace: str, kubectl: Kubectl
) -> None:
    for name in ("mine", "other"):
        kubectl("create", "configmap", name, "-n", namespace)
    kubectl("create", "role", "r", "--verb=get", "--resource=configmaps", "--resource-name=mine", "-n", namespace)
    kubectl("create", "rolebinding", "r", "--role=r", f"--serviceaccount={namespace}:default", "-n", namespace)
    with bearer(apiserver, token_for(http, namespace, "default")) as client:
        base = f"/api/v1/namespaces/{namespace}/configmaps"
        eventually(lambda: client.get(f"{base}/mine").status_code == 200)
        assert client.get(f"{base}/other").status_code == 403


def test_nobody_grants_what_they_lack(
    http: httpx.Client, apiserver: ApiServer, namespace: str, kubectl: Kubectl
) -> None:
    kubectl(
        "create", "rolebinding", "a", "--clusterrole=admin", f"--serviceaccount={namespace}:default", "-n", namespace
    )
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "greedy"},
        "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]}],
    }
    with bearer(apiserver, token_for(http, namespace, "default")) as client:
        path = f"{RBAC}/namespaces/{namespace}/roles"
        eventually(lambda: client.get(path).status_code == 200)
        answer = client.post(path, json=role)
        assert answer.status_code == 403
        assert answer.json()["message"] == (
            f'roles.rbac.authorization.k8s.io "greedy" is forbidden: user "system:serviceaccount:{namespace}:default" '
            f'(groups=["system:serviceaccounts" "system:serviceaccounts:{namespace}" "system:authenticated"]) is '
            "attempting to grant RBAC permissions not currently held:\n"
            '{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}'
        )
        role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
        assert client.post(path, json=role).status_code == 201
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "greedy"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
        }
        answer = client.post(f"{RBAC}/namespaces/{namespace}/rolebindings", json=binding)
        assert answer.status_code == 403
        assert "attempting to grant RBAC permissions not currently held" in answer.json()["message"]


def test_a_token_dies_with_its_pod(http: httpx.Client, apiserver: ApiServer, namespace: str) -> None:
    made = create(http, f"/api/v1/namespaces/{namespace}/pods", pod("bound"))
    uid = made["metadata"]["uid"]  # type: ignore[index]
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "bound", "uid": uid}
    token = token_for(http, namespace, "default", boundObjectRef=ref, expirationSeconds=600)
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["kubernetes.io"]["pod"] == {"name": "bound", "uid": uid}
    assert claims["exp"] - claims["iat"] == 600
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    status = create(http, "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert isinstance(status, dict)
    assert status["authenticated"] is True
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["bound"]
    with bearer(apiserver, token) as client:
        who = create(client, "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
        assert who["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"  # type: ignore[index]
        http.delete(f"/api/v1/namespaces/{namespace}/pods/bound", params={"gracePeriodSeconds": "0"})
        eventually(lambda: client.get("/api").status_code == 401)


def test_a_token_for_another_audience_is_none_for_us(http: httpx.Client, apiserver: ApiServer, namespace: str) -> None:
    token = token_for(http, namespace, "default", audiences=["vault"])
    with bearer(apiserver, token) as client:
        assert client.get("/api").status_code == 401
    review = {"kind": "TokenReview", "spec": {"token": token, "audiences": ["vault", "other"]}}
    status = create(http, "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert status["audiences"] == ["vault"]  # type: ignore[index]


def test_can_i_and_whoami(kubectl: Kubectl, namespace: str) -> None:
    assert kubectl("auth", "can-i", "create", "pods").stdout == "yes\n"
    assert "kubernetes-admin" in kubectl("auth", "whoami").stdout
    assert "*.*" in kubectl("auth", "can-i", "--list").stdout


def test_a_certificate_request_says_who_asked_and_is_approved(http: httpx.Client, kubectl: Kubectl) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    def signing_request(organization: str) -> str:
        names = [(NameOID.COMMON_NAME, "jane"), (NameOID.ORGANIZATION_NAME, organization)]
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in names])
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
        return base64.b64encode(csr.public_bytes(Encoding.PEM)).decode()

    name = f"jane-{uuid.uuid4().hex[:6]}"
    spec = {"signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"], "username": "somebody"}
    body = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {**spec, "request": signing_request("devs")},
    }
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    made = create(http, path, body)
    assert made["spec"]["username"] == "kubernetes-admin"  # type: ignore[index]
    kubectl("certificate", "approve", name)
    conditions = http.get(f"{path}/{name}").json()["status"]["conditions"]
    assert [(c["type"], c["status"]) for c in conditions] == [("Approved", "True")]
    assert kubectl("certificate", "deny", name, check=False).returncode != 0
    body["spec"] = {**spec, "request": signing_request("system:masters")}
    body["metadata"] = {"name": f"{name}-root"}
    answer = http.post(path, json=body)
    assert answer.status_code == 403
    assert answer.json()["message"].endswith("signer with system:masters group is not allowed")
    http.delete(f"{path}/{name}")
