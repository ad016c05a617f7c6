"""A server that is told to stop: it ends what would never end, waits for what is being done, and for nothing else."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import httpx
import orjson
import pytest

from tests.integration.conftest import (
    ApiServer,
    Etcd,
    apiserver_command,
    client_of,
    eventually,
    free_port,
    wait_ready,
)

WATCHERS = 12
Starting = Callable[..., ApiServer]


@pytest.fixture
def starting(apiserver: ApiServer, etcd: Etcd, certificates: Path, tmp_path: Path) -> Iterator[Starting]:
    """``starting(flag…)``: a server of the test's own, ready."""
    started: list[ApiServer] = []

    def start(*flags: str) -> ApiServer:
        port = free_port()
        command = [*apiserver_command(etcd, certificates, port), *flags]
        url = f"https://127.0.0.1:{port}"
        server = replace(apiserver, command=command, log=tmp_path / "stopping.log", url=url, process=None)
        started.append(server)
        server.start()
        wait_ready(server)
        return server

    yield start
    for server in started:
        server.stop()


@contextlib.contextmanager
def connected(server: ApiServer) -> Iterator[ssl.SSLSocket]:
    """A connection of the admin's, by hand."""
    context = ssl.create_default_context(cafile=str(server.pki / "ca.crt"))
    with client_of(server):  # writes the PEM file
        context.load_cert_chain(server.kubeconfig().with_suffix(".pem"))
    address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    with context.wrap_socket(socket.create_connection(address, timeout=20), server_hostname="127.0.0.1") as raw:
        yield raw


def tell(server: ApiServer) -> None:
    """To stop."""
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)


def ended_well(server: ApiServer) -> None:
    assert server.process is not None
    assert server.process.wait(20) == 0
    said = server.log.read_text()
    assert "apiserver stops" in said
    assert "ERROR" not in said, said
    assert "graceful shutdown exceeded" not in said, said


def test_nobody_waits_for_idle_clients(starting: Starting) -> None:
    """They keep their connections, and look at them again when they have something to ask."""
    server = starting()
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connected(server)) for _ in range(3)]
        for raw in idle:
            raw.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok"):
                answer += raw.recv(4096)
        tell(server)
        ended_well(server)
        assert idle[0].recv(1) == b"", "it was told goodbye"


def test_what_is_being_done_is_done(starting: Starting, http: httpx.Client, namespace: str) -> None:
    server = starting()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    body = orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}})
    with connected(server) as raw:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        raw.sendall(head.encode() + body[:10])
        with client_of(server) as client:
            figure = 'apiserver_current_inflight_requests{request_kind="mutating"} 1.0'
            eventually(lambda: figure in client.get("/metrics").text)
        tell(server)
        address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))

        def listens_no_more() -> bool:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(address, timeout=5):
                return False
            return True

        eventually(listens_no_more)
        raw.sendall(body[10:])
        assert raw.recv(4096).startswith(b"HTTP/1.1 201 Created")
        ended_well(server)
    assert http.get(f"{path}/late").status_code == 200


def test_a_delay_in_which_it_is_told_to_others(starting: Starting, namespace: str) -> None:
    """--shutdown-delay-duration: everything goes on but /readyz, so that whoever balances load sends nothing more."""
    server = starting("--shutdown-delay-duration=6s")
    with client_of(server) as client:
        assert client.get("/readyz/shutdown").text == "ok"
        tell(server)
        eventually(lambda: client.get("/readyz").status_code == 500)
        assert "[-]shutdown failed: reason withheld" in client.get("/readyz?verbose").text
        assert client.get("/livez").status_code == 200
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "still"}}
        assert client.post(f"/api/v1/namespaces/{namespace}/configmaps", json=body).status_code == 201
        with client.stream("GET", "/api/v1/namespaces?watch=1") as watch:  # ended by the server
            assert b'"ADDED"' in b"".join(watch.iter_bytes())
    ended_well(server)


def test_clients_that_watch_again_do_not_hold_a_stop_up(starting: Starting) -> None:
    server = starting()
    everybody = Barrier(WATCHERS + 1)

    def watch(client: httpx.Client) -> int:
        """As a reflector does: ends are normal, and followed by the next watch on the same connection."""
        count = 0
        with client, contextlib.suppress(httpx.HTTPError):
            while True:
                with client.stream("GET", "/api/v1/pods?watch=1") as answer:
                    if answer.status_code != 200:
                        break
                    count += 1
                    if count == 1:
                        everybody.wait(20)
                    for _ in answer.iter_bytes():
                        pass
        return count

    clients = [client_of(server) for _ in range(WATCHERS)]
    with ThreadPoolExecutor(WATCHERS) as threads:
        try:
            watches = [threads.submit(watch, client) for client in clients]
            everybody.wait(20)
        finally:
            server.stop()
        assert all(task.result(20) >= 1 for task in watches)
    ended_well(server)
