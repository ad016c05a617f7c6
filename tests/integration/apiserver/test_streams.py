"""log, exec and attach through the API server to the far end: a TLS server in the kubelet's place."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.apiserver.far_kubelet import FarKubelet
from tests.integration.conftest import ApiServer, Kubectl, client_of, eventually


@pytest.fixture
def far(apiserver: ApiServer, http: httpx.Client, namespace: str) -> Iterator[FarKubelet]:
    """A node whose kubelet is a FarKubelet, and pod ``web`` bound to it."""
    with FarKubelet(apiserver.pki) as kubelet:
        node = f"far-{uuid.uuid4().hex[:6]}"
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}},
        }
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}
        assert http.post("/api/v1/nodes", json=body).status_code == 201
        answer = http.patch(
            f"/api/v1/nodes/{node}/status",
            json={"status": status},
            headers={"content-type": "application/merge-patch+json"},
        )
        assert answer.status_code == 200, answer.text
        containers = [{"name": name, "image": "busybox"} for name in ("web", "waiting")]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}}
        pod["spec"] = {"containers": containers, "nodeName": node}
        answer = http.post(f"/api/v1/namespaces/{namespace}/pods", json=pod)
        assert answer.status_code == 201, answer.text
        yield kubelet
        http.delete(f"/api/v1/namespaces/{namespace}/pods/web", params={"gracePeriodSeconds": "0"})
        http.delete(f"/api/v1/nodes/{node}")


def upgrade(server: ApiServer, path: str) -> tuple[ssl.SSLSocket, bytes]:
    """A raw connection after its upgrade request, and the head of the answer."""
    context = ssl.create_default_context(cafile=str(server.pki / "ca.crt"))
    with client_of(server):  # writes the admin's PEM file
        context.load_cert_chain(server.kubeconfig().with_suffix(".pem"))
    host, port = "127.0.0.1", int(server.url.rsplit(":", 1)[1])
    raw = context.wrap_socket(socket.create_connection((host, port), timeout=20), server_hostname=host)
    key = base64.b64encode(os.urandom(16)).decode()
    raw.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Authorization: Basic c2VjcmV0\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        data = raw.recv(1)
        assert data, head
        head += data
    return raw, head


def test_exec_passes_bytes_on_in_both_directions(apiserver: ApiServer, far: FarKubelet, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/web/exec?container=web&command=cat&stdin=true&stdout=true&tty=false"
    raw, head = upgrade(apiserver, path)
    with raw:
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"v5.channel.k8s.io" in head
        sent = os.urandom(300_000)
        received = b""
        for start in range(0, len(sent), 50_000):
            raw.sendall(sent[start : start + 50_000])
            while len(received) < min(start + 50_000, len(sent)):
                received += raw.recv(65536)
        assert received == sent
    assert far.paths == [f"/exec/{namespace}/web/web?input=1&output=1&command=cat"]
    assert far.peers == ["kube-apiserver-kubelet-client"]
    assert b"c2VjcmV0" not in far.heads[0], "credentials must end at the API server"


def test_a_refusal_of_the_kubelet_is_passed_on(apiserver: ApiServer, far: FarKubelet, namespace: str) -> None:
    raw, head = upgrade(
        apiserver, f"/api/v1/namespaces/{namespace}/pods/web/exec?container=web&command=refuse&stdout=true"
    )
    with raw:
        assert head.startswith(b"HTTP/1.1 418 ")
        body = b""
        while data := raw.recv(4096):
            body += data
        assert body == b"short"


def test_kubectl_exec(far: FarKubelet, kubectl: Kubectl, namespace: str) -> None:
    done = kubectl("exec", "-n", namespace, "web", "-c", "web", "--", "hello")
    assert done.stdout == "hello\n"


def test_logs(far: FarKubelet, kubectl: Kubectl, namespace: str) -> None:
    done = kubectl("logs", "-n", namespace, "web", "-c", "web", "--tail=5", "--since=1h")
    assert done.stdout == "line 1\nline 2\n"
    assert far.paths == [f"/containerLogs/{namespace}/web/web?sinceSeconds=3600&tailLines=5"]


def test_a_followed_log_comes_line_by_line_and_ends_with_its_reader(
    http: httpx.Client, far: FarKubelet, namespace: str
) -> None:
    with http.stream("GET", f"/api/v1/namespaces/{namespace}/pods/web/log?container=web&follow=true") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain"
        assert next(answer.iter_lines()) == "line 1"


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("", 400, "a container name must be specified for pod web, choose one of: [web waiting]"),
        ("container=nope", 400, "container nope is not valid for pod web"),
        ("container=waiting", 400, 'container "waiting" in pod "web" is waiting to start: ContainerCreating'),
        (
            "container=web&tailLines=-1",
            422,
            'PodLogOptions "" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
        ),
    ],
)
def test_refused_logs(http: httpx.Client, far: FarKubelet, namespace: str, query: str, code: int, message: str) -> None:
    answer = http.get(f"/api/v1/namespaces/{namespace}/pods/web/log?{query}")
    assert answer.status_code == code
    assert answer.json()["message"] == message


def test_a_kubelet_that_is_gone_is_said_so(http: httpx.Client, far: FarKubelet, namespace: str) -> None:
    far.__exit__()

    def refused() -> bool:
        answer = http.get(f"/api/v1/namespaces/{namespace}/pods/web/log?container=web")
        assert answer.status_code == 500
        assert "connect: connection refused" in answer.json()["message"]
        return True

    eventually(refused)


def test_exec_without_an_upgrade_is_a_bad_request(http: httpx.Client, far: FarKubelet, namespace: str) -> None:
    answer = http.post(f"/api/v1/namespaces/{namespace}/pods/web/exec?container=web&command=ls&stdout=true")
    assert (answer.status_code, answer.json()["message"]) == (400, "Upgrade request required")
