"""Several API servers on one etcd behave as one, whatever happens to them: see tests/history."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from apiserver.storage.etcd import Etcd as EtcdClient
from tests.history.checker import check
from tests.history.clients import Watcher, Worker, World
from tests.history.faults import Faults
from tests.history.truth import Truth
from tests.integration.apiserver.conftest import etcd_tls
from tests.integration.conftest import (
    ApiServer,
    Etcd,
    _load_identity,
    apiserver_command,
    client_of,
    etcd_process,
    free_port,
    wait_ready,
)

SECONDS = float(os.environ.get("COX_HISTORY_SECONDS", "20"))
SEED = int(os.environ.get("COX_HISTORY_SEED", "0")) or random.randrange(1 << 30)
WORKERS, WATCHERS = 10, ("", "a", "b", "")


@pytest.fixture(scope="module")
def own_etcd(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Etcd]:
    server = etcd_process(tmp_path_factory.mktemp("history"), certificates)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def servers(
    apiserver: ApiServer, own_etcd: Etcd, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[ApiServer]]:
    """One process, and two on one port."""
    logs = tmp_path_factory.mktemp("servers")
    made = []
    for workers in (1, 2):
        port = free_port()
        command = [*apiserver_command(own_etcd, certificates, port), f"--workers={workers}"]
        url = f"https://127.0.0.1:{port}"
        made.append(replace(apiserver, command=command, log=logs / f"{workers}.log", url=url, process=None))
    for server in made:
        server.start()
    try:
        for server in made:
            wait_ready(server)
        yield made
    finally:
        for server in made:
            server.stop()


@pytest.fixture
def namespace(servers: list[ApiServer]) -> str:
    name = "history"
    with client_of(servers[0]) as http:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        assert http.post("/api/v1/namespaces", json=body).status_code == 201
    return name


@asynccontextmanager
async def running(*coroutines: object) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(c) for c in coroutines]  # type: ignore[arg-type]
    try:
        yield tasks
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_the_history_of_many_clients_is_one_story(
    servers: list[ApiServer], own_etcd: Etcd, namespace: str, record_property: pytest.RecordProperty
) -> None:
    context = ssl.create_default_context(cafile=str(own_etcd.pki / "ca.crt"))
    _load_identity(context, servers[0].kubeconfig())
    etcd = EtcdClient([own_etcd.endpoint], etcd_tls(own_etcd))
    truth = Truth(etcd, f"/registry/configmaps/{namespace}/".encode())
    await truth.begin()
    world = World([server.url for server in servers], namespace, context)
    # Some know one server only, so that work goes on while the other stands still.
    workers = [Worker(world, SEED + n, world.urls[1:] if n % 3 == 0 else ()) for n in range(WORKERS)]
    # One knows only the server that is left behind: the others may be elsewhere when that happens.
    watchers = [
        Watcher(world, SEED + 100 + n, label, () if n else world.urls[:1], streaming=n == 3)
        for n, label in enumerate(WATCHERS)
    ]
    faults = Faults(own_etcd, etcd, truth, servers[0], servers[1], SEED)
    async with running(truth.follow(), *(w.run() for w in watchers)):
        async with (
            running(faults.run(SECONDS / 12 if SECONDS < 60 else 5)),
            running(*(w.run() for w in workers)) as working,
        ):
            await asyncio.sleep(SECONDS)
            world.ended = True
            await asyncio.wait(working, timeout=40)
        await all_answer(servers)
        final = await truth.complete()
        await all_see(watchers, truth.revision)
        await final_state(servers, truth, namespace)
    for client in (*workers, *watchers):
        await client.session.close()
    await etcd.close()

    history = world.history
    outcomes = Counter((w.kind, w.outcome) for w in history.writes)
    told = f"seed {SEED}, {len(history)} operations and events, {len(truth.versions)} versions up to {final}, "
    told += f"{len(history.watches)} watches, faults {Counter(faults.done)}, {dict(outcomes)}"
    record_property("history", told)
    print(told)
    assert check(history, truth.versions) == [], told
    assert sum(w.outcome == "ok" for w in history.writes) > 100 * min(SECONDS, 10), told
    if "leave_behind" in faults.done[:-1]:
        assert len(history.watches) > len(WATCHERS), f"nobody had to list again: {told}"


async def all_answer(servers: list[ApiServer]) -> None:
    for server in servers:
        await asyncio.to_thread(wait_ready, server)


async def all_see(watchers: list[Watcher], revision: int) -> None:
    """The last change reaches those who watch everything; a bookmark may tell the others."""
    async with asyncio.timeout(30):
        while not all(w.reached(revision) for w in watchers if not w._label):  # noqa: ASYNC110 - they have no event
            await asyncio.sleep(0.05)


async def final_state(servers: list[ApiServer], truth: Truth, namespace: str) -> None:
    last = {v.key: v.state.revision if v.state else 0 for v in truth.versions}
    for server in servers:
        with client_of(server) as http:
            items = await asyncio.to_thread(_listed, http, namespace)
        assert items == {key: revision for key, revision in last.items() if revision}


def _listed(http: httpx.Client, namespace: str) -> dict[str, int]:
    answer = http.get(f"/api/v1/namespaces/{namespace}/configmaps")
    assert answer.status_code == 200, answer.text
    return {o["metadata"]["name"]: int(o["metadata"]["resourceVersion"]) for o in answer.json()["items"]}
