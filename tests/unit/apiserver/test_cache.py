"""The watch cache and its watchers, without etcd."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from apiserver.endpoints.views import PlainView, encoder_of
from apiserver.endpoints.watch import Start, _initial
from apiserver.resources.strategy import KindStrategy
from apiserver.storage import cache as cache_module
from apiserver.storage import continuation
from apiserver.storage import store as store_module
from apiserver.storage.cache import Entry, ResourceCache, matching
from apiserver.storage.encoding import encode, head_of, prefix_of, with_revision
from apiserver.storage.store import Store
from apiserver.storage.watchers import MAX_PENDING, PIECE, Hub, Scope, Watcher
from apiserver.types import Resource
from common.api.selectors import EVERYTHING, parse_field_selector, parse_label_selector

PODS = Resource(
    "",
    "v1",
    "pods",
    "Pod",
    "pod",
    True,
    KindStrategy(),
    selectable_fields={"spec.nodeName": lambda obj: (obj.get("spec") or {}).get("nodeName", "")},
)


def value(name: str, namespace: str = "n", node: str = "", **labels: str) -> bytes:
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels}
    return encode({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node}})


@pytest.fixture
def cache() -> ResourceCache:
    return ResourceCache(PODS)


def put(cache: ResourceCache, revision: int, name: str, namespace: str = "n", node: str = "", **labels: str) -> None:
    cache.put(cache.entry_of(namespace, name, revision, value(name, namespace, node, **labels)))


def names(cache: ResourceCache, namespace: str = "", labels: str = "", fields: str = "") -> list[str]:
    found = cache.select(namespace, parse_label_selector(labels), parse_field_selector(fields))
    return [entry.key for entry in found]


def test_the_revision_is_put_in_without_parsing() -> None:
    stored = value("a")
    assert b"resourceVersion" not in stored
    shown = with_revision(head_of("Pod", "v1"), stored, 7)
    assert orjson.loads(shown) == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "7", "name": "a", "namespace": "n", "labels": {}},
        "spec": {"nodeName": ""},
    }


def test_a_value_of_another_form_is_read_too() -> None:
    foreign = b'{"metadata":{"name":"a"},"apiVersion":"v1","kind":"Pod"}'
    assert orjson.loads(with_revision(head_of("Pod", "v1"), foreign, 7))["metadata"]["resourceVersion"] == "7"


def test_keys() -> None:
    assert prefix_of("", "pods") == b"/registry/pods/"
    assert prefix_of("apps", "deployments") == b"/registry/apps/deployments/"


def test_lists_are_in_the_order_of_keys(cache: ResourceCache) -> None:
    for revision, (namespace, name) in enumerate([("b", "x"), ("a-b", "y"), ("a", "z"), ("a", "c")], 1):
        put(cache, revision, name, namespace)
    assert names(cache) == ["a-b/y", "a/c", "a/z", "b/x"]
    assert names(cache, "a") == ["a/c", "a/z"]


def test_selectors_use_the_index_and_agree_with_it(cache: ResourceCache) -> None:
    put(cache, 1, "a", app="x", tier="1", node="n1")
    put(cache, 2, "b", app="x", tier="2", node="n2")
    put(cache, 3, "c", "m", app="y", node="n1")
    assert names(cache, labels="app=x") == ["n/a", "n/b"]
    assert names(cache, labels="app=x,tier!=1") == ["n/b"]
    assert names(cache, fields="spec.nodeName=n1") == ["m/c", "n/a"]
    assert names(cache, "n", fields="spec.nodeName=n1,metadata.name=a") == ["n/a"]
    assert names(cache, labels="app=z") == []
    put(cache, 4, "a", app="y", node="n2")
    assert names(cache, labels="app=x") == ["n/b"]
    assert names(cache, fields="spec.nodeName=n2") == ["n/a", "n/b"]
    cache.delete("n", "b", 5)
    assert names(cache, labels="app=x") == []
    assert cache.delete("n", "b", 6) is None


def test_history_is_bounded(cache: ResourceCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "HISTORY", 3)
    for revision in range(1, 6):
        put(cache, revision, f"p{revision}")
    assert [event.revision for event in cache.history] == [3, 4, 5]
    assert cache.oldest == 2


def test_history_is_bounded_in_bytes(cache: ResourceCache, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache, 1, "p")
    monkeypatch.setattr(cache_module, "HISTORY_BYTES", 3 * len(cache.history[0].entry.data))
    for revision in range(2, 6):
        put(cache, revision, "p")
    assert [event.revision for event in cache.history] == [3, 4, 5]
    assert cache.oldest == 2
    put(cache, 6, "p", app="x" * 10_000)
    assert [event.revision for event in cache.history] == [6], "the last is always there"
    cache.replace([], 6)
    for revision in range(7, 10):
        put(cache, revision, "p")
    assert len(cache.history) == 3


def test_a_new_list_calls_back_with_the_difference(cache: ResourceCache) -> None:
    put(cache, 1, "kept")
    put(cache, 2, "gone")
    put(cache, 3, "changed")
    seen: list[tuple[str, str]] = []
    cache.callbacks.append(lambda type_, obj: seen.append((type_, obj["metadata"]["name"])))
    listed = [("kept", 1), ("changed", 8), ("new", 9)]
    cache.replace([cache.entry_of("n", name, revision, value(name)) for name, revision in listed], 9)
    assert sorted(seen) == [("ADDED", "new"), ("DELETED", "gone"), ("MODIFIED", "changed")]
    assert (cache.oldest, len(cache.history)) == (9, 0)


async def test_watchers_of_one_scope_share_their_lines(cache: ResourceCache) -> None:
    hub = Hub(cache)
    encoder = encoder_of(PlainView(PODS))
    scope = Scope("n", parse_label_selector("on=yes"), EVERYTHING)
    first, leave_first = hub.subscribe(scope, encoder)
    put(cache, 1, "a", on="no")
    put(cache, 2, "a", on="yes")
    second, leave_second = hub.subscribe(scope, encoder)
    put(cache, 3, "a", on="yes", more="x")
    put(cache, 4, "a", on="no")
    put(cache, 5, "b", "other", on="yes")
    chunks = await first.next(), await second.next()
    lines = [[orjson.loads(line)["type"] for line in (chunk or b"").splitlines()] for chunk in chunks]
    assert lines[0] == ["ADDED"] or lines[0] == ["ADDED", "MODIFIED", "DELETED"]
    assert lines[1] == ["MODIFIED", "DELETED"]
    leave_first()
    leave_second()
    assert hub.count == 0


async def test_a_deleted_object_leaves_with_its_last_state(cache: ResourceCache) -> None:
    hub = Hub(cache)
    put(cache, 1, "a", on="yes")
    watcher, _ = hub.subscribe(Scope("", EVERYTHING, EVERYTHING), encoder_of(PlainView(PODS)))
    cache.delete("n", "a", 9)
    event = orjson.loads(await watcher.next() or b"")
    assert event["type"] == "DELETED"
    assert event["object"]["metadata"]["resourceVersion"] == "9"
    assert event["object"]["metadata"]["labels"] == {"on": "yes"}


async def test_a_watcher_that_takes_nothing_is_dropped() -> None:
    watcher = Watcher()
    watcher.push(b"x" * MAX_PENDING)
    assert not watcher.closed
    watcher.push(b"x")
    assert watcher.dropped
    assert await watcher.next() is None


async def test_watchers_of_different_scopes_keep_the_same_bytes(cache: ResourceCache) -> None:
    """A thousand selectors of clients that do not read must not be a thousand copies of what happens."""
    hub = Hub(cache)
    encoder = encoder_of(PlainView(PODS))
    scopes = [Scope("", EVERYTHING, parse_field_selector(f"metadata.name!=x{n}")) for n in range(20)]
    watchers = [hub.subscribe(scope, encoder)[0] for scope in scopes]
    for revision in range(1, 11):
        put(cache, revision, "a", on=str(revision))
    hub.flush()
    kept = {id(chunk) for watcher in watchers for chunk in watcher._chunks}
    assert len(kept) == 10
    lines = (await watchers[7].next() or b"").splitlines()
    assert [orjson.loads(line)["object"]["metadata"]["resourceVersion"] for line in lines] == [
        str(n) for n in range(1, 11)
    ]


def test_a_watch_begins_in_pieces_of_bytes(cache: ResourceCache) -> None:
    for number in range(40):
        put(cache, number + 1, f"p{number}", size="x" * 10_000)
    encoder = encoder_of(PlainView(PODS))
    scope = Scope("", EVERYTHING, EVERYTHING)
    pieces = [
        *_initial(Start(cache.all(), [], 40), scope, encoder),
        *_initial(Start([], list(cache.history), 40), scope, encoder),
    ]
    assert max(map(len, pieces)) < PIECE + 11_000
    assert len(b"".join(pieces).splitlines()) == 80
    assert not list(_initial(Start([], [], 1), scope, encoder))


async def test_a_selector_of_very_many_terms_holds_up_nobody(
    cache: ResourceCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it finds is of the moment at which it began."""
    for number in range(20):
        put(cache, number + 1, f"p{number:02}", on="yes")
    go = threading.Event()

    def waiting(*given: Any) -> list[Entry]:
        assert go.wait(10)
        return matching(*given)

    monkeypatch.setattr(store_module, "matching", waiting)
    feed: Any = SimpleNamespace(revision=20)
    unused: Any = None
    store = Store(cache, unused, feed, unused)
    labels = parse_label_selector(",".join(f"k{n}!=v" for n in range(4000)))
    asked = asyncio.create_task(store.list_cached("n", labels, EVERYTHING, 5))
    await asyncio.sleep(0)
    put(cache, 21, "late", on="yes")
    feed.revision = 21
    go.set()
    page = await asked
    assert [entry.name for entry in page.entries] == [f"p{n:02}" for n in range(5)]
    assert (page.revision, page.stamp, page.remaining) == (20, 20, None)
    assert continuation.decode(page.token) == continuation.Continuation(20, "n/p04\0")
