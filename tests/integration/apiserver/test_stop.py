"""A server that is told to stop ends its watches, though its clients begin new ones at once."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import httpx

from tests.integration.conftest import ApiServer, Etcd, apiserver_command, client_of, free_port, wait_ready

WATCHERS = 12


def test_clients_that_watch_again_do_not_hold_a_stop_up(
    apiserver: ApiServer, etcd: Etcd, certificates: Path, tmp_path: Path, http: httpx.Client
) -> None:
    port = free_port()
    log = tmp_path / "stopping.log"
    command = apiserver_command(etcd, certificates, port)
    server = replace(apiserver, command=command, log=log, url=f"https://127.0.0.1:{port}", process=None)
    server.start()
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
            wait_ready(server)
            watches = [threads.submit(watch, client) for client in clients]
            everybody.wait(20)
        finally:
            server.stop()
        assert all(task.result(20) >= 1 for task in watches)
    assert server.process is not None and server.process.returncode == 0
    said = log.read_text()
    assert "apiserver stops" in said
    assert "ERROR" not in said, said
    assert "graceful shutdown exceeded" not in said, said
