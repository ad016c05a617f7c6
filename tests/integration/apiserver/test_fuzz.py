"""No request, however wrong, makes the server fail or hang: see tests/fuzz. The server is one of the test's own."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import orjson
import pytest
from yarl import URL

from tests.fuzz.requests import Requests, Wire
from tests.integration.conftest import (
    ApiServer,
    _load_identity,
    apiserver_command,
    client_of,
    etcd_process,
    free_port,
    wait_ready,
)

SECONDS = float(os.environ.get("COX_FUZZ_SECONDS", "15"))
SEED = int(os.environ.get("COX_FUZZ_SEED", "0")) or random.randrange(1 << 40)
AT_ONCE = 8
BOUND = 15
"""Seconds. A revision that is far away is waited for a little; nothing else takes time."""

UPSTREAMS = ("failed to create typed patch object", "resourceVersion should not be set on objects to be created")
"""What is answered with 500 by upstream too."""


@pytest.fixture(scope="module")
def own_server(
    apiserver: ApiServer, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    path = tmp_path_factory.mktemp("fuzz")
    etcd = etcd_process(path, certificates)
    etcd.start()
    port = free_port()
    command = apiserver_command(etcd, certificates, port)
    url = f"https://127.0.0.1:{port}"
    server = replace(apiserver, command=command, log=path / "api.log", url=url, process=None)
    server.start()
    try:
        wait_ready(server)
        yield server
    finally:
        server.stop()
        etcd.stop()


def message_of(content: bytes) -> str:
    try:
        return str(orjson.loads(content)["message"])
    except (ValueError, LookupError, TypeError):
        return content.decode(errors="replace")


async def ask(session: aiohttp.ClientSession, url: str, wire: Wire) -> tuple[int, str]:
    """The status, and what a failure says; 0: the connection was closed without one, -1: there was none in time."""
    target = URL(url + wire.path, encoded=True).update_query(wire.query)
    try:
        async with asyncio.timeout(BOUND):
            async with session.request(
                wire.method, target, headers=wire.headers, data=wire.body or None, allow_redirects=False
            ) as answer:
                if answer.status == 200 and "watch" in str(target):  # a watch may have nothing to say
                    return 200, ""
                content = await answer.read()
                return answer.status, message_of(content) if answer.status == 500 else ""
    except TimeoutError:
        return -1, "no answer in time"
    except (aiohttp.ClientError, ValueError):
        return 0, ""


async def test_no_request_makes_the_server_fail(own_server: ApiServer) -> None:
    context = ssl.create_default_context(cafile=str(own_server.pki / "ca.crt"))
    _load_identity(context, own_server.kubeconfig())
    failures: dict[str, str] = {}
    statuses: Counter[int] = Counter()
    end = time.monotonic() + SECONDS
    numbers = iter(range(1 << 60))

    async def client() -> None:
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            while time.monotonic() < end:
                number = next(numbers)
                wire = Requests(SEED + number).one()
                status, text = await ask(session, own_server.url, wire)
                if status == -1:  # a machine may stand still for a while; a request that hangs does so again
                    status, text = await ask(session, own_server.url, wire)
                statuses[status] += 1
                if status in (-1, 500) and not text.startswith(UPSTREAMS):
                    failures.setdefault(
                        f"{status} {wire.method} {wire.path}", f"{text}\n    seed {SEED + number}: {wire.shown()}"
                    )

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    print(statuses)
    assert not failures, "\n".join(f"{what}\n    {how}" for what, how in failures.items())
    with client_of(own_server) as http:
        assert http.get("/readyz").status_code == 200
    assert "Traceback" not in own_server.log.read_text()
    assert {200, 201, 400, 404, 409, 415, 422} <= statuses.keys(), statuses
