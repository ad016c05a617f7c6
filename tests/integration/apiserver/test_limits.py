"""What one client may take: requests in flight, time, bytes; and that the others notice nothing.

The server of these tests has small limits, so that few requests reach them.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.integration.conftest import ApiServer, Etcd, apiserver_command, client_of, eventually, free_port, wait_ready

MAX_BODY = 3 * 1024 * 1024
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
READER = "scheduler"
"""A user who may read pods, and is no master."""


@pytest.fixture(scope="module")
def small(apiserver: ApiServer, etcd: Etcd, certificates: Path, scratch: Path) -> Iterator[ApiServer]:
    """Two requests that read, one that changes, three seconds each."""
    port = free_port()
    flags = ["--max-requests-inflight=2", "--max-mutating-requests-inflight=1", "--request-timeout=3s"]
    command = [*apiserver_command(etcd, certificates, port), *flags, "--min-request-timeout=1"]
    server = replace(apiserver, command=command, log=scratch / "small.log", url=f"https://127.0.0.1:{port}")
    server.start()
    try:
        wait_ready(server)
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def slow_body(server: ApiServer, identity: str, path: str) -> Iterator[socket.socket]:
    """A POST whose body does not end."""
    context = ssl.create_default_context(cafile=str(server.pki / "ca.crt"))
    with client_of(server, identity):  # writes the PEM file
        context.load_cert_chain(server.kubeconfig(identity).with_suffix(".pem"))
    host, port = "127.0.0.1", int(server.url.rsplit(":", 1)[1])
    with context.wrap_socket(socket.create_connection((host, port), timeout=20), server_hostname=host) as raw:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        raw.sendall(head.encode() + b"{")
        yield raw


def read_to_end(raw: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := raw.recv(65536):
            data += piece
    return data


def in_flight(server: ApiServer, kind: str) -> float:
    with client_of(server) as client:
        lines = client.get("/metrics").text.splitlines()
    name = f'apiserver_current_inflight_requests{{request_kind="{kind}"}}'
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_too_many_requests(small: ApiServer) -> None:
    review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    with slow_body(small, READER, review), client_of(small, READER) as client, client_of(small) as master:
        eventually(lambda: in_flight(small, "mutating") == 1)
        refused = client.post(review, json={"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        status = refused.json()
        assert (status["reason"], status["message"]) == (
            "TooManyRequests",
            "Too many requests, please try again later.",
        )
        assert status["details"] == {"retryAfterSeconds": 1}
        assert client.get("/api/v1/pods").status_code == 200, "reading has room of its own"
        assert master.post(review, json={"spec": {}}).status_code != 429, "masters need no room"
        assert client.get("/livez").status_code == 200


def test_watches_take_no_room(small: ApiServer) -> None:
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(client_of(small, READER))
        for _ in range(4):
            params = {"watch": "1", "timeoutSeconds": "10"}
            assert stack.enter_context(client.stream("GET", "/api/v1/pods", params=params)).status_code == 200
        assert client.get("/api/v1/pods").status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(small: ApiServer) -> None:
    with slow_body(small, "admin", CONFIG_MAPS) as raw:
        answer = read_to_end(raw)  # the server closes: the rest of the body could come at any time
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 504 ")
    status = orjson.loads(body)
    assert (status["reason"], status["code"]) == ("Timeout", 504)
    assert status["message"] == "Timeout: request did not complete within the allotted timeout"
    with client_of(small) as client:
        metrics = client.get("/metrics").text
    assert 'apiserver_request_terminations_total{code="504",component="apiserver"' in metrics
    eventually(lambda: in_flight(small, "mutating") == 0)


@pytest.mark.parametrize(
    ("timeout", "code", "message"),
    [
        ("100ms", 504, "Timeout: request did not complete within the allotted timeout"),
        ("-", 400, 'invalid timeout specified in the request URL - time: invalid duration "-"'),
        ("soon", 400, 'invalid timeout specified in the request URL - time: invalid duration "soon"'),
    ],
)
def test_the_time_that_a_client_gives(http: httpx.Client, timeout: str, code: int, message: str) -> None:
    params = {"timeout": timeout, "resourceVersion": "999999999"}  # which is waited for
    answer = http.get(CONFIG_MAPS, params=params)
    assert (answer.status_code, answer.json()["message"]) == (code, message)


@pytest.mark.parametrize("timeout", ["0s", "-1s", "10h", "1m30s", ""])
def test_times_that_change_nothing(http: httpx.Client, timeout: str) -> None:
    assert http.get(CONFIG_MAPS, params={"timeout": timeout}).status_code == 200


def test_a_watch_that_names_no_time_ends(small: ApiServer) -> None:
    began = time.monotonic()
    with client_of(small) as client:
        assert client.get("/api/v1/pods", params={"watch": "1"}).status_code == 200
    assert time.monotonic() - began < 15


def big(size: int) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"x": "y" * size}}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(http: httpx.Client, chunked: bool) -> None:
    data = orjson.dumps(big(MAX_BODY))
    content: Any = (data[at : at + 65536] for at in range(0, len(data), 65536)) if chunked else data
    answer = http.post(CONFIG_MAPS, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["message"] == f"Request entity too large: limit is {MAX_BODY}"
    assert answer.headers["connection"] == "close"


def test_no_compressed_body_is_unpacked(http: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = http.post(CONFIG_MAPS, content=gzip.compress(orjson.dumps(big(10 * MAX_BODY))), headers=headers)
    assert answer.status_code == 400


def test_many_at_once_leave_nothing_behind(small: ApiServer) -> None:
    """Whatever becomes of requests, what they took is given back."""
    with client_of(small, READER) as client, ThreadPoolExecutor(6) as pool:
        codes = set(pool.map(lambda _: client.get("/api/v1/pods").status_code, range(60)))
    assert codes <= {200, 429}
    assert 200 in codes
    assert in_flight(small, "readOnly") == 1


def test_an_answer_is_in_flight_until_it_is_taken(small: ApiServer, namespace: str, http: httpx.Client) -> None:
    """Whoever takes a byte now and then has no more time than others, and its answer counts as long as it is kept."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for number in range(16):
        body = big(900_000) | {"metadata": {"name": f"big-{number}"}}
        assert http.post(path, json=body).status_code == 201
    assert len(http.get(path).content) > 14_000_000, "whoever takes it gets it"
    context = ssl.create_default_context(cafile=str(small.pki / "ca.crt"))
    context.load_cert_chain(small.kubeconfig("admin").with_suffix(".pem"))
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    plain.settimeout(20)
    plain.connect(("127.0.0.1", int(small.url.rsplit(":", 1)[1])))
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert raw.recv(1)

        def in_flight_while_taking() -> bool:
            raw.recv(1)
            return in_flight(small, "readOnly") == 2

        eventually(in_flight_while_taking)
        eventually(lambda: in_flight(small, "readOnly") == 1)
        assert len(read_to_end(raw)) < 14_000_000


def test_as_many_connections_as_the_machine_allows(apiserver: ApiServer, etcd: Etcd, scratch: Path) -> None:
    """A shell's default of 1,024 files would be a cluster's limit; and at the limit those who are in stay served."""
    port = free_port()
    own = apiserver_command(etcd, apiserver.pki, port)
    command = ["prlimit", "--nofile=64:96", *own]
    server = replace(apiserver, command=command, log=scratch / "few.log", url=f"https://127.0.0.1:{port}")
    server.start()
    try:
        wait_ready(server)
        limits = Path(f"/proc/{server.pid}/limits").read_text().splitlines()
        soft, hard = next(line for line in limits if line.startswith("Max open files")).split()[3:5]
        assert (soft, hard) == ("96", "96")
        with client_of(server) as client, contextlib.ExitStack() as crowd:
            assert client.get("/api/v1/namespaces").status_code == 200
            for _ in range(120):
                crowd.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            assert client.get("/api/v1/namespaces").status_code == 200
        wait_ready(server)
    finally:
        server.stop()
