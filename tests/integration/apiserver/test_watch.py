"""Watches: what they show, where they start, and what they survive."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any

import httpx
import pytest

from tests.integration.conftest import ApiServer, Etcd, client_of, eventually

Change = tuple[str, str]


class Watch:
    """A watch that is read in a thread of its own."""

    def __init__(self, server: ApiServer, path: str, params: dict[str, str]) -> None:
        self._queue: Queue[dict[str, Any] | None] = Queue()
        self._client = client_of(server)
        self._context = self._client.stream("GET", path, params={"watch": "1", **params}, timeout=None)
        self.response = self._context.__enter__()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for line in self.response.iter_lines():
                self._queue.put(json.loads(line))
        except (httpx.HTTPError, httpx.StreamError, OSError):
            pass
        self._queue.put(None)

    def next(self, timeout: float = 10) -> dict[str, Any] | None:
        """The next event, or None at the end of the watch."""
        return self._queue.get(timeout=timeout)

    def take(self, count: int) -> list[Change]:
        found = []
        for _ in range(count):
            event = self.next()
            assert event is not None, f"the watch ended after {found}"
            found.append((event["type"], event["object"]["metadata"]["name"]))
        return found

    def quiet(self) -> bool:
        try:
            self._queue.get(timeout=0.3)
        except Empty:
            return True
        return False

    def close(self) -> None:
        self._client.close()


@contextmanager
def watching(server: ApiServer, path: str, **params: str) -> Iterator[Watch]:
    watch = Watch(server, path, params)
    try:
        yield watch
    finally:
        watch.close()


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def put(http: httpx.Client, path: str, name: str, **labels: str) -> dict[str, Any]:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}
    answer = http.post(path, json=body)
    if answer.status_code == 409:
        answer = http.put(f"{path}/{name}", json=body)
    assert answer.status_code in (200, 201), answer.text
    result: dict[str, Any] = answer.json()
    return result


def revision(http: httpx.Client, path: str) -> str:
    return str(http.get(path).json()["metadata"]["resourceVersion"])


def test_changes_after_a_list(http: httpx.Client, apiserver: ApiServer, path: str) -> None:
    put(http, path, "old")
    with watching(apiserver, path, resourceVersion=revision(http, path)) as watch:
        put(http, path, "a")
        put(http, path, "a", x="y")
        gone = http.get(f"{path}/a").json()["metadata"]["resourceVersion"]
        http.delete(f"{path}/a")
        assert watch.take(2) == [("ADDED", "a"), ("MODIFIED", "a")]
        last = watch.next()
        assert last is not None
        assert last["type"] == "DELETED"
        assert int(last["object"]["metadata"]["resourceVersion"]) > int(gone)
        assert last["object"]["metadata"]["labels"] == {"x": "y"}


@pytest.mark.parametrize("start", [{}, {"resourceVersion": "0"}])
def test_without_a_revision_the_present_comes_first(
    http: httpx.Client, apiserver: ApiServer, path: str, start: dict[str, str]
) -> None:
    put(http, path, "a")
    put(http, path, "b")
    eventually(lambda: len(http.get(path, params={"resourceVersion": "0"}).json()["items"]) >= 2)
    with watching(apiserver, path, **start) as watch:
        found = dict.fromkeys(name for type_, name in watch.take(2) if type_ == "ADDED")
        assert {"a", "b"} == found.keys()
        put(http, path, "c")
        assert watch.take(1) == [("ADDED", "c")]


def test_history_is_replayed(http: httpx.Client, apiserver: ApiServer, path: str) -> None:
    start = revision(http, path)
    put(http, path, "a")
    put(http, path, "a", x="y")
    http.delete(f"{path}/a")
    with watching(apiserver, path, resourceVersion=start) as watch:
        assert watch.take(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_a_selector_turns_changes_into_comings_and_goings(http: httpx.Client, apiserver: ApiServer, path: str) -> None:
    start = revision(http, path)
    with watching(apiserver, path, resourceVersion=start, labelSelector="on=yes") as watch:
        put(http, path, "a", on="no")
        put(http, path, "a", on="yes")
        put(http, path, "a", on="yes", more="x")
        put(http, path, "a", on="no")
        put(http, path, "b", on="yes")
        assert watch.take(4) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]
        assert watch.quiet()


@pytest.mark.parametrize(
    ("accept", "empty"),
    [
        ("application/json", {"kind": "ConfigMapList", "apiVersion": "v1"}),
        (
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"},
        ),
        ("application/json;as=Table;g=meta.k8s.io;v=v1", None),
    ],
)
def test_initial_events_end_with_a_bookmark(
    http: httpx.Client, path: str, accept: str, empty: dict[str, str] | None
) -> None:
    put(http, path, "a")
    params = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with http.stream("GET", path, params={"watch": "1", **params}, headers={"accept": accept}) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["type"] == "ADDED"
        end = json.loads(next(lines))
    assert end["type"] == "BOOKMARK"
    obj = end["object"]["rows"][0]["object"] if empty is None else end["object"]
    marks = obj["metadata"]["annotations"]
    assert marks.pop("k8s.io/initial-events-end") == "true"
    blueprint = {key: json.loads(base64.b64decode(value)) for key, value in marks.items()}
    wanted = {"kubernetes.io/initial-events-list-blueprint": {**empty, "metadata": {}, "items": None}} if empty else {}
    assert blueprint == wanted


def test_timeout_ends_a_watch(http: httpx.Client, apiserver: ApiServer, path: str) -> None:
    with watching(apiserver, path, timeoutSeconds="1") as watch:
        event = watch.next()
        while event is not None:
            event = watch.next()


def test_rows_of_a_table(http: httpx.Client, apiserver: ApiServer, path: str) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    put(http, path, "a")
    lines = http.get(path, params={"watch": "1", "timeoutSeconds": "1"}, headers={"accept": accept}).text.splitlines()
    table = json.loads(lines[0])["object"]
    assert table["kind"] == "Table"
    assert table["rows"][0]["cells"][0] == "a"


def test_nothing_is_missed_when_etcd_dies(http: httpx.Client, apiserver: ApiServer, etcd: Etcd, path: str) -> None:
    with watching(apiserver, path, resourceVersion=revision(http, path)) as watch:
        put(http, path, "before")
        etcd.restart()
        eventually(lambda: put(http, path, "after"), timeout=30)
        seen = watch.take(1)
        while ("ADDED", "after") not in seen:
            seen += watch.take(1)
        assert ("ADDED", "before") in seen
        assert len(seen) == len(set(seen))


def test_an_answer_comes_while_etcd_is_away(http: httpx.Client, etcd: Etcd, path: str) -> None:
    put(http, path, "a")
    etcd.stop(9)
    try:
        answer = http.get(f"{path}/a")
        assert answer.status_code in (500, 503, 504)
        assert answer.json()["message"].startswith("etcdserver: ")
        assert http.get("/livez", params={"exclude": "etcd"}).status_code == 200
        assert http.get("/readyz").status_code == 500
    finally:
        etcd.start()
    eventually(lambda: http.get(f"{path}/a").status_code == 200, timeout=30)
