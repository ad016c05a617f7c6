"""Watches in other forms: over WebSocket, as Tables, as metadata; and what becomes of a client that does not read."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidHandshake
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.integration.conftest import ApiServer, client_of, eventually

TABLE = "application/json;as=Table;v={};g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadata;v={};g=meta.k8s.io"


def tls_of(server: ApiServer) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(server.pki / "ca.crt"))
    with client_of(server):  # writes the admin's PEM file
        context.load_cert_chain(server.kubeconfig().with_suffix(".pem"))
    return context


def websocket(server: ApiServer, path: str, **more: Any) -> ClientConnection:
    url = server.url.replace("https://", "wss://") + path
    return connect(url, **{"ssl": tls_of(server), "compression": None, "open_timeout": 60, **more})


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def create(http: httpx.Client, path: str, name: str, size: int = 0) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": "y" * size}}
    assert http.post(path, json=body).status_code == 201


def told(frames: Iterator[Any]) -> dict[str, Any]:
    """The next event about an object of the test's own."""
    for frame in frames:
        event: dict[str, Any] = json.loads(frame)
        if event["object"]["metadata"].get("name") != "kube-root-ca.crt":
            return event
    raise AssertionError("the watch has ended")


def test_a_websocket_gets_an_event_in_each_frame(http: httpx.Client, apiserver: ApiServer, path: str) -> None:
    create(http, path, "a")
    create(http, path, "b")
    with websocket(apiserver, f"{path}?watch=1&resourceVersion=0&fieldSelector=metadata.name!=z") as client:
        frames = iter(client)
        first = next(frames)
        assert isinstance(first, str), "text frames"
        names = {json.loads(first)["object"]["metadata"]["name"], told(frames)["object"]["metadata"]["name"]}
        assert names == {"a", "b"}
        create(http, path, "c")
        event = told(frames)
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "c")
        pong = client.ping()
        assert pong.wait(5)


def test_a_websocket_ends_in_time(apiserver: ApiServer, path: str) -> None:
    with websocket(apiserver, f"{path}?watch=1&timeoutSeconds=1") as client:
        for _ in client:
            pass
        assert client.close_code == 1000


def test_a_token_as_a_subprotocol(http: httpx.Client, apiserver: ApiServer, namespace: str, path: str) -> None:
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    answer = http.post(f"{account}/token", json={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"})
    token = base64.urlsafe_b64encode(answer.json()["status"]["token"].encode()).decode().rstrip("=")
    nobody = ssl.create_default_context(cafile=str(apiserver.pki / "ca.crt"))
    bearer = Subprotocol(f"base64url.bearer.authorization.k8s.io.{token}")
    path = f"{path}?watch=1&timeoutSeconds=1"

    with pytest.raises(Exception, match="403"):  # known, and not allowed
        websocket(apiserver, path, ssl=nobody, subprotocols=[bearer, Subprotocol("v4.channel.k8s.io")])
    with pytest.raises(Exception, match="401"):  # a browser could not be answered
        websocket(apiserver, path, ssl=nobody, subprotocols=[bearer])
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    binding = {"metadata": {"name": "v"}, "subjects": [subject], "roleRef": role}
    http.post(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", json=binding)

    def allowed() -> bool:
        offered = [bearer, Subprotocol("v4.channel.k8s.io")]
        try:
            with websocket(apiserver, path, ssl=nobody, subprotocols=offered) as client:
                return client.subprotocol == "v4.channel.k8s.io"
        except InvalidHandshake:  # not yet
            return False

    eventually(allowed)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_the_versions_of_metadata(http: httpx.Client, path: str, version: str) -> None:
    create(http, path, "a")
    params = {"watch": "1", "timeoutSeconds": "1", "fieldSelector": "metadata.name=a"}
    for other in ("v1", version):  # both at once on one resource
        lines = http.get(path, params=params, headers={"accept": METADATA.format(other)}).text.splitlines()
        assert json.loads(lines[0])["object"]["apiVersion"] == f"meta.k8s.io/{other}"
        assert json.loads(lines[0])["object"]["kind"] == "PartialObjectMetadata"


def test_a_table_tells_its_columns_once(http: httpx.Client, path: str) -> None:
    create(http, path, "a")
    create(http, path, "b")
    params = {"watch": "1", "timeoutSeconds": "1", "includeObject": "None"}
    lines = http.get(path, params=params, headers={"accept": TABLE.format("v1")}).text.splitlines()
    tables = [json.loads(line)["object"] for line in lines]
    assert [column["name"] for column in tables[0]["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert [table["columnDefinitions"] for table in tables[1:]] == [[]] * (len(tables) - 1)
    assert "object" not in tables[0]["rows"][0]


@pytest.mark.parametrize(
    ("accept", "message"),
    [
        ("application/yaml", "only the following media types are accepted: application/json;stream=watch"),
        (
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
    ],
)
def test_forms_a_watch_has_not(http: httpx.Client, path: str, accept: str, message: str) -> None:
    answer = http.get(path, params={"watch": "1"}, headers={"accept": accept})
    assert answer.status_code == 406
    assert message in answer.text


def test_a_watcher_that_does_not_read_is_cut_off_alone(http: httpx.Client, apiserver: ApiServer, path: str) -> None:
    host, port = "127.0.0.1", int(apiserver.url.rsplit(":", 1)[1])
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((host, port))
    start = http.get(path).json()["metadata"]["resourceVersion"]
    with (
        tls_of(apiserver).wrap_socket(raw, server_hostname=host) as stuck,
        websocket(apiserver, f"{path}?watch=1&resourceVersion={start}", max_size=2**24) as reader,
    ):
        stuck.sendall(f"GET {path}?watch=1&resourceVersion={start} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = stuck.recv(12)
        assert head == b"HTTP/1.1 200"
        frames, seen = iter(reader), 0

        def cut_off() -> bool:
            nonlocal seen
            create(http, path, f"big-{seen}", 900_000)
            seen += 1
            assert told(frames)["object"]["metadata"]["name"] == f"big-{seen - 1}"
            return dropped(http) > 0

        eventually(cut_off, timeout=30, every=0)
        assert seen < 30, "what waits for a client is bounded"


def dropped(http: httpx.Client) -> float:
    lines = http.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith('apiserver_terminated_watchers_total{resource="configmaps"}')]
    return float(found[0].split()[-1]) if found else 0.0
