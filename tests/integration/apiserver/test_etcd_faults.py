"""etcd gone, silent, compacted, set back, or with rubbish in it: answers in bounded time, and the truth afterwards.

Each test has an etcd and an API server of its own, since it ill-treats them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from apiserver.storage import compaction, transactions
from apiserver.storage.etcd import Etcd as EtcdClient
from tests.integration.apiserver.conftest import etcd_tls
from tests.integration.conftest import (
    ApiServer,
    Etcd,
    apiserver_command,
    client_of,
    etcd_process,
    eventually,
    free_port,
    wait_ready,
)

MAPS = "/api/v1/namespaces/default/configmaps"
BOUND = 12.0
"""Seconds within which a request is answered whatever etcd does: two calls of etcd, and some."""


@pytest.fixture
def own_etcd(tmp_path: Path, certificates: Path) -> Iterator[Etcd]:
    server = etcd_process(tmp_path, certificates)
    server.start()
    yield server
    if server.process is not None and server.process.poll() is None:
        server.process.send_signal(signal.SIGCONT)
    server.stop()


def started(command: list[str], template: ApiServer, log: Path, port: int) -> ApiServer:
    server = replace(template, command=command, log=log, url=f"https://127.0.0.1:{port}", process=None)
    server.start()
    wait_ready(server)
    return server


@pytest.fixture
def own_server(apiserver: ApiServer, own_etcd: Etcd, certificates: Path, tmp_path: Path) -> Iterator[ApiServer]:
    port = free_port()
    server = started(apiserver_command(own_etcd, certificates, port), apiserver, tmp_path / "api.log", port)
    yield server
    server.stop()


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_a_silent_etcd_is_answered_for_in_time_and_forgiven(own_server: ApiServer, own_etcd: Etcd) -> None:
    with client_of(own_server) as http, ThreadPoolExecutor(8) as pool:
        assert http.post(MAPS, json=config_map("a")).status_code == 201
        own_etcd.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
        before = time.monotonic()
        answers = [
            pool.submit(http.get, f"{MAPS}/a"),
            pool.submit(http.get, MAPS),
            pool.submit(http.post, MAPS, json=config_map("b")),
            pool.submit(http.put, f"{MAPS}/a", json=config_map("a", x="1")),
            pool.submit(http.delete, f"{MAPS}/a"),
            pool.submit(http.get, f"{MAPS}?watch=1"),
        ]
        for answer in answers:
            found = answer.result(BOUND + 10)
            assert found.status_code in (500, 503, 504), found.text
            status = found.json()
            assert status["kind"] == "Status" and status["reason"] in ("Timeout", "ServiceUnavailable", "InternalError")
        assert time.monotonic() - before < BOUND
        assert http.get(f"{MAPS}/a?resourceVersion=0").status_code == 200, "the cache is still there"
        assert http.get("/livez?exclude=etcd").status_code == 200, "no restart would help"
        assert http.get("/readyz").status_code == 500
        own_etcd.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
        eventually(lambda: http.get("/readyz").status_code == 200, timeout=30)
        assert http.put(f"{MAPS}/c", json=config_map("c")).status_code == 404
        assert http.post(MAPS, json=config_map("c")).status_code == 201


def test_calls_and_the_watch_go_to_another_endpoint(
    apiserver: ApiServer, certificates: Path, tmp_path: Path, own_etcd: Etcd
) -> None:
    """Three members; the one that is used stops answering, then another one dies."""
    members = cluster(tmp_path, certificates, 3)
    for member in members:
        member.start()
    port = free_port()
    command = apiserver_command(members[0], certificates, port)
    servers = ",".join(m.endpoint for m in members)
    command = [a if not a.startswith("--etcd-servers=") else f"--etcd-servers={servers}" for a in command]
    server = started(command, apiserver, tmp_path / "api.log", port)
    try:
        with client_of(server) as http:
            for number, member in enumerate(members[:2]):
                assert http.post(MAPS, json=config_map(f"before{number}")).status_code == 201
                assert member.process is not None
                # One falls silent and comes back, the next one dies: two of three are always there.
                member.process.send_signal(signal.SIGSTOP if number == 0 else signal.SIGKILL)
                eventually(lambda n=number: written(http, f"after{n}"), timeout=20)
                eventually(lambda n=number: seen(http, f"after{n}"), timeout=20)
                for again in range(10):
                    assert written(http, f"more{number}-{again}")
                    assert seen(http, f"more{number}-{again}")
                if number == 0:
                    member.process.send_signal(signal.SIGCONT)
                    eventually(lambda m=member: healthy(m), timeout=20)
    finally:
        server.stop()
        for member in members:
            if member.process is not None and member.process.poll() is None:
                member.process.send_signal(signal.SIGCONT)
            member.stop(signal.SIGKILL)


def cluster(path: Path, certificates: Path, count: int) -> list[Etcd]:
    peers = [f"http://127.0.0.1:{free_port()}" for _ in range(count)]
    initial = ",".join(f"m{n}={peer}" for n, peer in enumerate(peers))
    made = []
    for number, peer in enumerate(peers):
        (path / f"m{number}").mkdir()
        member = etcd_process(path / f"m{number}", certificates, name=f"m{number}", peer=peer, initial_cluster=initial)
        made.append(member)
    return made


def healthy(member: Etcd) -> bool:
    async def ask() -> bool:
        client = EtcdClient([member.endpoint], etcd_tls(member), timeout=1)
        try:
            await client.range(b"/registry/", count_only=True)
        finally:
            await client.close()
        return True

    return asyncio.run(ask())


def written(http: httpx.Client, name: str) -> bool:
    answer = http.post(MAPS, json=config_map(name))
    assert answer.status_code in (201, 409), answer.text
    return True


def seen(http: httpx.Client, name: str) -> bool:
    answer = http.get(MAPS)
    assert answer.status_code == 200, answer.text
    assert name in {o["metadata"]["name"] for o in answer.json()["items"]}
    return True


def test_a_value_that_is_no_object_hurts_itself_alone(own_server: ApiServer, own_etcd: Etcd) -> None:
    with client_of(own_server) as http:
        for name in ("a", "poison", "z"):
            assert http.post(MAPS, json=config_map(name)).status_code == 201
        listed = http.get(MAPS).json()
        put_raw(own_etcd, b"/registry/configmaps/default/poison", b"k8s\x00 not for us")
        poisoned = eventually(lambda: "poison" not in names(http.get(MAPS)) and http.get(MAPS).json())
        now = {"resourceVersion": poisoned["metadata"]["resourceVersion"], "resourceVersionMatch": "Exact"}
        assert {"a", "z"} <= names(http.get(MAPS, params=now)), "from etcd's history"
        first = http.get(MAPS, params={"limit": 1}).json()
        rest = http.get(MAPS, params={"limit": 500, "continue": first["metadata"]["continue"]})
        assert "z" in names(rest)
        with http.stream(
            "GET", MAPS, params={"watch": 1, "resourceVersion": listed["metadata"]["resourceVersion"]}
        ) as w:
            event = orjson.loads(next(w.iter_lines()))
        assert (event["type"], event["object"]["metadata"]["name"]) == ("DELETED", "poison")
        assert http.get(f"{MAPS}/poison").status_code == 404
        for answer in (http.put(f"{MAPS}/poison", json=config_map("poison")), http.delete(f"{MAPS}/poison")):
            assert answer.status_code == 500
            assert answer.json()["reason"] == "InternalError"
            assert "unable to decode" in answer.json()["message"]
        assert http.post(MAPS, json=config_map("b")).status_code == 201


def names(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {o["metadata"]["name"] for o in answer.json()["items"]}


def put_raw(etcd: Etcd, key: bytes, value: bytes) -> None:
    async def put() -> None:
        client = EtcdClient([etcd.endpoint], etcd_tls(etcd))
        await client.txn(transactions.when([], [transactions.put(key, value)]))
        await client.close()

    asyncio.run(put())


def test_an_etcd_that_was_set_back_is_believed(own_server: ApiServer, own_etcd: Etcd, tmp_path: Path) -> None:
    data = Path(next(a for a in own_etcd.command if a.endswith("/etcd") and a.startswith(str(tmp_path))))
    with client_of(own_server) as http:
        assert http.post(MAPS, json=config_map("kept")).status_code == 201
        own_etcd.stop(signal.SIGKILL)
        subprocess.run(["cp", "-a", str(data), f"{data}.backup"], check=True)
        own_etcd.start()
        eventually(lambda: http.get("/readyz").status_code == 200, timeout=30)
        for number in range(20):
            assert http.post(MAPS, json=config_map(f"lost{number}")).status_code == 201
        own_etcd.stop(signal.SIGKILL)
        subprocess.run(f"rm -rf {data} && mv {data}.backup {data}", shell=True, check=True)
        own_etcd.start()

        def believed() -> bool:
            found = names(http.get(MAPS))
            assert "kept" in found
            assert not any(name.startswith("lost") for name in found)
            return True

        eventually(believed, timeout=30)
        assert http.post(MAPS, json=config_map("lost3")).status_code == 201
        assert http.get(f"{MAPS}/lost4").status_code == 404


@pytest.mark.parametrize("later", [0, 40])
def test_an_etcd_that_was_set_back_unseen(own_server: ApiServer, own_etcd: Etcd, tmp_path: Path, later: int) -> None:
    """What was written to the backup makes up for what was lost: etcd's revision alone tells nothing."""
    data = Path(next(a for a in own_etcd.command if a.endswith("/etcd") and a.startswith(str(tmp_path))))
    with client_of(own_server) as http:
        assert http.post(MAPS, json=config_map("kept")).status_code == 201
        own_etcd.stop(signal.SIGKILL)
        subprocess.run(["cp", "-a", str(data), f"{data}.backup"], check=True)
        own_etcd.start()
        eventually(lambda: http.get("/readyz").status_code == 200, timeout=30)
        for number in range(10):
            assert http.post(MAPS, json=config_map(f"lost{number}")).status_code == 201
        for number in range(5):  # what was seen last is a deletion
            assert http.delete(f"{MAPS}/lost{number}").status_code == 200
        os.kill(own_server.pid, signal.SIGSTOP)
        own_etcd.stop(signal.SIGKILL)
        subprocess.run(f"rm -rf {data} && mv {data}.backup {data}", shell=True, check=True)
        own_etcd.start()
        for number in range(later):
            put_raw(own_etcd, b"/registry/configmaps/default/raw%d" % number, orjson.dumps(config_map(f"raw{number}")))
        os.kill(own_server.pid, signal.SIGCONT)
        stale: list[str] = []

        def believed() -> bool:
            found = names(http.get(MAPS))
            lost = [name for name in found if name.startswith("lost")]
            stale.extend(lost)
            return "kept" in found and not lost and len(found - {"kept"}) >= later

        eventually(believed, timeout=30)
        assert later or not stale, "what is no more was shown as what is there now"


async def test_one_of_several_compacts(etcd_client: EtcdClient) -> None:
    """Each of three servers comes by; what is compacted is what the last one saw, and only once a round."""
    compacted: list[int] = []

    class Counting:
        txn = etcd_client.txn

        async def compact(self, revision: int) -> None:
            compacted.append(revision)

    states = [(0, 0)] * 3
    rounds = []
    for _ in range(4):
        states = list(await asyncio.gather(*(compaction.compact_once(Counting(), *s) for s in states)))  # type: ignore[arg-type]
        rounds.append(len(compacted))
    # The first round learns what others did before; in each later one, one of the three compacts.
    assert [b - a for a, b in pairwise(rounds)] == [1, 1, 1]
    assert compacted == sorted(set(compacted))
