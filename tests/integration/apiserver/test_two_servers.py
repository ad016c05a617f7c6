"""Two API servers on one etcd behave as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import ApiServer, Etcd, apiserver_command, client_of, free_port, wait_ready


@pytest.fixture(scope="module")
def other(apiserver: ApiServer, etcd: Etcd, certificates: Path, scratch: Path) -> Iterator[ApiServer]:
    port = free_port()
    command = apiserver_command(etcd, certificates, port)
    server = replace(
        apiserver,
        command=command,
        log=scratch / "other.log",
        url=f"https://127.0.0.1:{port}",
        process=None,
    )
    server.start()
    try:
        wait_ready(server)
        yield server
    finally:
        server.stop()


def test_a_read_is_never_older_than_a_write_seen_answered(http: httpx.Client, other: ApiServer, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    with client_of(other) as second:
        obj = http.post(path, json={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}).json()
        for number in range(100):
            writer, reader = (http, second) if number % 2 else (second, http)
            obj = writer.put(f"{path}/a", json=obj | {"data": {"n": str(number)}}).json()
            assert reader.get(f"{path}/a").json()["data"] == {"n": str(number)}
            (listed,) = reader.get(path).json()["items"]
            assert listed["data"] == {"n": str(number)}


def test_a_past_before_the_first_list_is_gone(other: ApiServer, namespace: str) -> None:
    with client_of(other) as second:
        answer = second.get(f"/api/v1/namespaces/{namespace}/configmaps", params={"watch": "1", "resourceVersion": "1"})
    assert answer.status_code == 410
    assert answer.json()["reason"] == "Expired"
    assert answer.json()["message"].startswith("too old resource version: 1 (")
