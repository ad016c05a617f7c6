"""metrics-server: from a kubelet's page to points, from points to usage, from usage to objects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from addons.metrics_server import objects
from addons.metrics_server.__main__ import Ticker
from addons.metrics_server.access import Access, Attributes, User, access_review
from addons.metrics_server.api import Asked, parse_path, selectors, table_version, verb_of
from addons.metrics_server.points import Batch, Point, parse
from addons.metrics_server.scraper import KubeletAccess, Scraper
from addons.metrics_server.storage import Storage, Usage
from common.api.status import BadRequest, Forbidden, Unauthorized
from common.client import ClusterConfig
from common.serving import PeerIdentity

PAGE = """# HELP container_cpu_usage_seconds_total x
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="app",namespace="ns",pod="web"} 1.5 60000
container_memory_working_set_bytes{container="app",namespace="ns",pod="web"} 4096 60000
container_start_time_seconds{container="app",namespace="ns",pod="web"} 10.5
container_cpu_usage_seconds_total{container="half",namespace="ns",pod="broken"} 1 60000
container_cpu_usage_seconds_total{container="odd \\"name\\"",namespace="ns",pod="odd"} 1
container_memory_working_set_bytes{container="odd \\"name\\"",namespace="ns",pod="odd"} 1
container_cpu_usage_seconds_total{container="x",namespace="ns",pod="y"} not-a-number
container_cpu_usage_seconds_total{container="x"
node_cpu_usage_seconds_total 100 61000
node_memory_working_set_bytes 8192 61000
resource_scrape_error 0
"""


def test_a_page_is_read_and_halves_are_left_out() -> None:
    batch = parse(PAGE, "n1", 77.0)
    assert batch.nodes == {"n1": Point(0.0, 61.0, 100_000_000_000, 8192)}
    assert batch.pods[("ns", "web")] == {"app": Point(10.5, 60.0, 1_500_000_000, 4096)}
    assert batch.pods[("ns", "odd")] == {'odd "name"': Point(0.0, 77.0, 1_000_000_000, 1)}
    assert ("ns", "broken") not in batch.pods
    assert parse("", "n1", 0.0) == Batch()


def pods(**points: Point) -> Batch:
    return Batch({}, {("ns", "web"): points})


def test_usage_is_the_difference_of_two_samples() -> None:
    storage = Storage(15.0)
    storage.store(Batch({"n": Point(0, 100, 10, 5)}, {}))
    assert storage.node("n") is None and not storage.ready
    storage.store(Batch({"n": Point(0, 110, 5_000_000_010, 7)}, {}))
    assert storage.node("n") == Usage(500_000_000, 7, 110, 10) and storage.ready
    storage.store(Batch({"n": Point(0, 110, 5_000_000_010, 7)}, {}))  # the same again
    assert storage.node("n") == Usage(500_000_000, 7, 110, 10)
    storage.store(Batch({"n": Point(0, 120, 1, 7)}, {}))  # the counter went back
    assert storage.node("n") is None
    storage.store(Batch())
    assert storage.node("n") is None and not storage.ready


async def test_only_who_has_begun_to_scrape_can_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Liveness counts from the first scrape: the first list of nodes may take long right after a cluster's start."""
    now = 1000.0
    monkeypatch.setattr("addons.metrics_server.__main__.time.monotonic", lambda: now)
    hanging = asyncio.Event()

    class Hung(Scraper):
        def __init__(self) -> None:
            pass

        async def scrape(self) -> Batch:
            hanging.set()
            await asyncio.Event().wait()
            raise AssertionError

    ticker = Ticker(Hung(), Storage(15.0), 15.0)
    now += 300
    ticker.timely()
    task = asyncio.create_task(ticker.run())
    await hanging.wait()
    now += 22
    ticker.timely()
    now += 1
    with pytest.raises(RuntimeError, match="time since last tick"):
        ticker.timely()
    task.cancel()


def test_containers_that_began_anew_or_just_began() -> None:
    storage = Storage(15.0)
    storage.store(pods(app=Point(50, 100, 10_000_000_000, 1)))
    storage.store(pods(app=Point(105, 110, 1_000_000_000, 1)))
    assert storage.pod(("ns", "web")) is None  # another container: its 5 seconds are too few
    storage.store(pods(app=Point(105, 117, 6_000_000_000, 1)))
    assert storage.pod(("ns", "web")) == {"app": Usage(500_000_000, 1, 117, 12)}  # since its start
    storage.store(pods(app=Point(105, 127, 7_000_000_000, 1), new=Point(125, 127, 1, 1)))
    assert storage.pod(("ns", "web")) is None  # not all of its containers are known
    storage.store(pods(app=Point(105, 137, 8_000_000_000, 2), new=Point(125, 137, 1_200_000_000, 1)))
    found = storage.pod(("ns", "web"))
    assert found is not None and set(found) == {"app", "new"}
    assert found["new"] == Usage(100_000_000, 1, 137, 12)


def test_amounts_are_written_as_upstream_writes_them() -> None:
    made = objects.pod_metrics("ns", "web", {}, {"b": Usage(12_345_678, 4096, 100.7, 15.02), "a": Usage(0, 0, 99, 75)})
    assert [each["name"] for each in made["containers"]] == ["a", "b"]
    assert made["containers"][1]["usage"] == {"cpu": "12345678n", "memory": "4Ki"}
    assert made["containers"][0]["usage"] == {"cpu": "0", "memory": "0"}
    assert (made["timestamp"], made["window"]) == ("1970-01-01T00:01:39Z", "1m15s")
    assert objects.duration(15.023) == "15.023s" and objects.duration(3661) == "1h1m1s"
    table = objects.table("PodMetrics", [made], [Usage(1, 1024, 1, 1)], "None", "v1")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
    assert table["rows"] == [{"cells": ["web", "1n", "1Ki", "1m15s"]}]


def test_paths_verbs_and_forms() -> None:
    base = "/apis/metrics.k8s.io/v1beta1"
    assert parse_path(f"{base}/namespaces/a/pods/b") == Asked("pods", "a", "b")
    assert parse_path(f"{base}/nodes") == Asked("nodes")
    assert parse_path(f"{base}/services") is None and parse_path(f"{base}/namespaces/a/nodes") is None
    assert verb_of("GET", Asked("pods"), {"watch": ["1"]}) == "watch"
    assert verb_of("GET", Asked("pods", "a", "b"), {}) == "get"
    assert verb_of("DELETE", Asked("pods", "a"), {}) == "deletecollection"
    assert table_version("application/json;as=Table;v=v1;g=meta.k8s.io,application/json") == "v1"
    assert table_version("application/json,application/json;as=Table;v=v1;g=meta.k8s.io") == ""
    with pytest.raises(BadRequest, match="field label not supported"):
        selectors({"fieldSelector": ["spec.nodeName=a"]})
    with pytest.raises(BadRequest):
        selectors({"labelSelector": ["a in b"]})


def test_where_a_kubelet_is() -> None:
    access = KubeletAccess(("InternalIP", "Hostname"), 10250, True, 1, ClusterConfig(""))
    status: dict[str, Any] = {
        "addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "fd00::1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 11250}},
    }
    assert access.url({"status": status}) == "https://[fd00::1]:11250"
    assert access.url({"status": {"addresses": [{"type": "ExternalIP", "address": "h"}]}}) is None


class Server:
    """An API server that knows one token and allows one verb; counts what it is asked."""

    def __init__(self) -> None:
        self.dynamic = self
        self.asked: list[str] = []

    async def send(self, method: str, path: str, *, body: bytes) -> bytes:
        self.asked.append(path.rpartition("/")[2])
        if path.endswith("tokenreviews"):
            known = b'"good"' in body
            user = b'{"authenticated":true,"user":{"username":"jane","groups":["devs"]}}'
            return b'{"status":' + (user if known else b"{}") + b"}"
        return b'{"status":{"allowed":%s}}' % (b"true" if b'"verb":"list"' in body else b"false")


class NoTrust:
    headers = None


async def test_the_api_server_is_asked_once_for_each_answer() -> None:
    server = Server()
    access = Access(server, NoTrust())  # type: ignore[arg-type]
    bearer = [(b"authorization", b"Bearer good")]
    assert (await access.user(None, bearer)).name == "jane"
    jane = await access.user(None, bearer)
    for _ in range(2):
        with pytest.raises(Unauthorized):
            await access.user(None, [(b"authorization", b"bearer bad")])
    for _ in range(2):
        await access.authorize(jane, Attributes("list", "pods", "ns"))
        with pytest.raises(Forbidden, match=r"pods\.metrics\.k8s\.io \"x\" is forbidden"):
            await access.authorize(jane, Attributes("get", "pods", "ns", "x"))
    assert server.asked == ["tokenreviews"] * 2 + ["subjectaccessreviews"] * 2
    await access.authorize(User("root", ("system:masters",)), Attributes("get", "nodes"))
    assert len(server.asked) == 4
    # a certificate names its owner; headers alone name nobody
    peer = PeerIdentity("node", ("system:nodes",))
    assert (await access.user(peer, [(b"x-remote-user", b"root")])).name == "node"
    with pytest.raises(Unauthorized):
        await access.user(None, [(b"x-remote-user", b"root")])


def test_what_is_asked_about() -> None:
    spec = access_review(User("a", ("g",), "u", {"k": ("v",)}), Attributes("get", path="/metrics"))["spec"]
    assert spec["nonResourceAttributes"] == {"verb": "get", "path": "/metrics"}
    assert (spec["uid"], spec["extra"]) == ("u", {"k": ["v"]})
