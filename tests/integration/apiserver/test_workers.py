"""Several processes on one port: one dies, all stop."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
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


@pytest.fixture
def several(apiserver: ApiServer, etcd: Etcd, certificates: Path, scratch: Path) -> Iterator[ApiServer]:
    port = free_port()
    command = [*apiserver_command(etcd, certificates, port), "--workers=2"]
    url = f"https://127.0.0.1:{port}"
    server = replace(apiserver, command=command, log=scratch / "workers.log", url=url, process=None)
    server.start()
    try:
        wait_ready(server)
        yield server
    finally:
        server.stop()


def workers_of(server: ApiServer) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()}


def all_ready(server: ApiServer) -> bool:
    """New connections reach every worker in time: none of many is refused, and each is answered."""
    for _ in range(20):
        with client_of(server) as client:
            assert client.get("/readyz").status_code == 200
    return len(workers_of(server)) == 2


def sockets_of(pid: int) -> int:
    return sum(os.readlink(file).startswith("socket:") for file in Path(f"/proc/{pid}/fd").iterdir())


def test_workers_share_a_port_and_a_dead_one_is_replaced(several: ApiServer, namespace: str) -> None:
    eventually(lambda: all_ready(several), timeout=30)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    before = workers_of(several)
    sockets = {pid: sockets_of(pid) for pid in before}
    with ExitStack() as stack:
        for _ in range(24):
            assert stack.enter_context(client_of(several)).get("/readyz").status_code == 200
        assert all(sockets_of(pid) > sockets[pid] for pid in before), "each got some of the connections"
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(workers_of(several)) == 2 and victim not in workers_of(several), timeout=20)
    assert len(before & workers_of(several)) == 1, "the other goes on"
    eventually(lambda: all_ready(several), timeout=30)
    for number in range(20):  # a connection each: both workers answer, and each sees what the other wrote
        with client_of(several) as client:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}}
            assert client.post(path, json=body).status_code == 201
        with client_of(several) as client:
            assert len(client.get(path).json()["items"]) == number + 1


def test_all_workers_stop_with_their_parent(several: ApiServer) -> None:
    eventually(lambda: all_ready(several), timeout=30)
    workers = workers_of(several)
    with client_of(several) as client, client.stream("GET", "/api/v1/pods?watch=1") as watch:
        assert watch.status_code == 200
        assert several.process is not None
        several.process.send_signal(signal.SIGTERM)
        assert b"".join(watch.iter_bytes()) is not None  # a watch ends, whole
        assert several.process.wait(20) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    with pytest.raises(httpx.ConnectError), client_of(several) as client:
        client.get("/readyz")


def test_workers_do_not_outlive_a_parent_that_is_killed(several: ApiServer) -> None:
    eventually(lambda: all_ready(several), timeout=30)
    workers = workers_of(several)
    os.kill(several.pid, signal.SIGKILL)
    eventually(lambda: not any(_runs(pid) for pid in workers), timeout=30)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_port_that_is_taken_is_said(apiserver: ApiServer, api_port: int, etcd: Etcd, certificates: Path) -> None:
    command = [*apiserver_command(etcd, certificates, api_port), "--workers=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=Path(__file__).parents[3])
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{api_port}" in done.stderr
