"""The clients: each does one thing after the other at one of the servers, and writes down what it saw."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.history.records import Change, History, Read, State, Watch, Write
from tests.history.truth import BY, LABEL, state_of

KEYS = 10
REFUSED = frozenset({400, 403, 404, 409, 422})
BROKEN = (aiohttp.ClientError, TimeoutError, OSError)
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"


@dataclass
class World:
    """What all clients share."""

    urls: Sequence[str]
    namespace: str
    context: ssl.SSLContext
    history: History = field(default_factory=History)
    ended: bool = False
    writes: int = 0

    def path(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace}/configmaps" + (f"/{name}" if name else "")


class Client:
    def __init__(self, world: World, seed: int, urls: Sequence[str] = ()) -> None:
        self.world = world
        self.random = random.Random(seed)
        self._urls = urls or world.urls
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=world.context, limit=0), timeout=aiohttp.ClientTimeout(total=15)
        )

        # A request that is sent again by itself would be two writes with one name.
        self.session._retry_connection = False

    @property
    def url(self) -> str:
        return self.random.choice(self._urls)

    async def call(
        self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None, kind: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """Status and body; status 0 when there was no answer."""
        headers = {"content-type": kind or "application/json"}
        data = None if body is None else orjson.dumps(body)
        try:
            async with self.session.request(
                method, self.url + path, data=data, params=params, headers=headers
            ) as answer:
                return answer.status, orjson.loads(await answer.read())
        except (*BROKEN, orjson.JSONDecodeError):
            return 0, {}


def key_of(obj: dict[str, Any]) -> str:
    return str(obj["metadata"]["name"])


# -- writers and readers


class Worker(Client):
    """Random reads and writes. What it has read last is what its conditional writes rest on."""

    def __init__(self, world: World, seed: int, urls: Sequence[str] = ()) -> None:
        super().__init__(world, seed, urls)
        self._known: dict[str, dict[str, Any]] = {}
        self._last = 0

    async def run(self) -> None:
        kinds: Mapping[Callable[[str], Any], int] = {
            self._create: 14,
            self._put: 18,
            self._patch: 22,
            self._delete: 6,
            self._get: 22,
            self._list: 12,
            self._pages: 3,
            self._list_past: 3,
        }
        choices, weights = list(kinds), list(kinds.values())
        while not self.world.ended:
            (act,) = self.random.choices(choices, weights)
            await act(f"k{self.random.randrange(KEYS)}")

    async def _create(self, key: str) -> None:
        await self._write("create", key)

    async def _put(self, key: str) -> None:
        await self._write("put", key, conditional=self.random.random() < 0.5)

    async def _patch(self, key: str) -> None:
        await self._write("patch", key, conditional=self.random.random() < 0.25)

    async def _delete(self, key: str) -> None:
        await self._write("delete", key)

    async def _write(self, kind: Any, key: str, *, conditional: bool = False) -> None:
        world = self.world
        world.writes += 1
        id_ = f"w{world.writes}"
        label = self.random.choice("ab")
        known = self._known.get(key)
        expected = int(known["metadata"]["resourceVersion"]) if conditional and known is not None else None
        write = Write(id_, kind, key, time.perf_counter(), {id_: "1"}, label, expected)
        world.history.writes.append(write)
        status, obj = await self._send(write)
        write.end = time.perf_counter()
        if status in (200, 201):
            write.outcome = "ok"
            if kind == "delete":
                write.answer = State(0, "", "", {}, obj["details"]["uid"])
            else:
                self._known[key] = obj
                write.answer = state_of(obj)
                self._last = max(self._last, write.answer.revision)
        elif status in REFUSED:
            write.outcome = "refused"

    async def _send(self, write: Write) -> tuple[int, dict[str, Any]]:
        path = self.world.path(write.key)
        if write.kind == "delete":
            return await self.call("DELETE", path)
        metadata: dict[str, Any] = {"annotations": {BY: write.id}}
        if write.expected is not None:
            metadata["resourceVersion"] = str(write.expected)
        if write.kind == "patch":
            if write.expected is None and self.random.random() < 0.3:
                steps = [
                    {"op": "replace", "path": f"/metadata/annotations/{BY}", "value": write.id},
                    {"op": "add", "path": f"/data/{write.id}", "value": "1"},
                ]
                return await self.call("PATCH", path, steps, kind=JSON_PATCH)
            return await self.call("PATCH", path, {"metadata": metadata, "data": dict(write.data)}, kind=MERGE)
        metadata |= {"name": write.key, "labels": {LABEL: write.label}}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(write.data)}
        if write.kind == "create":
            return await self.call("POST", self.world.path(), body)
        return await self.call("PUT", path, body)

    async def _get(self, key: str) -> None:
        start = time.perf_counter()
        status, obj = await self.call("GET", self.world.path(key))
        if status == 200:
            self._known[key] = obj
        if status in (200, 404):
            states = {key: state_of(obj)} if status == 200 else {}
            self.world.history.reads.append(Read(start, time.perf_counter(), 0, states, key))

    async def _list(self, key: str) -> None:
        """Now, with or without a selector, from the cache, or no older than what was seen."""
        label = self.random.choice(["", "a", "b"])
        params = {"labelSelector": f"{LABEL}={label}"} if label else {}
        how = self.random.choice(["now", "now", "cache", "least"])
        if how == "cache":
            params["resourceVersion"] = "0"
        elif how == "least" and self._last:
            params |= {"resourceVersion": str(self._last), "resourceVersionMatch": "NotOlderThan"}
        else:
            how = "now"
        least = self._last if how == "least" else 0
        start = time.perf_counter()
        status, found = await self.call("GET", self.world.path(), params=params)
        if status == 200:
            self._saw(start, found["items"], found, label=label, consistent=how == "now", at_least=least)

    async def _pages(self, key: str) -> None:
        """Page after page of one list: all of one revision, whatever happens between."""
        start = time.perf_counter()
        params = {"limit": "3"}
        status, page = await self.call("GET", self.world.path(), params=params)
        items: list[dict[str, Any]] = []
        first = page
        while status == 200:
            items += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                self._saw(start, items, first)
                return
            status, page = await self.call("GET", self.world.path(), params=params | {"continue": token})

    async def _list_past(self, key: str) -> None:
        if not self._last:
            return
        start, exactly = time.perf_counter(), self._last
        params = {"resourceVersion": str(exactly), "resourceVersionMatch": "Exact"}
        status, found = await self.call("GET", self.world.path(), params=params)
        if status == 200:
            self._saw(start, found["items"], found, consistent=False, exactly=exactly)

    def _saw(self, start: float, items: list[dict[str, Any]], found: dict[str, Any], **more: Any) -> None:
        revision = int(found["metadata"]["resourceVersion"])
        states = {key_of(obj): state_of(obj) for obj in items}
        self.world.history.reads.append(Read(start, time.perf_counter(), revision, states, **more))


# -- watchers


class Gone(Exception):
    """410: list again."""


class Watcher(Client):
    """Lists and watches for ever, as an informer does; every now and then it goes on at another server."""

    def __init__(
        self, world: World, seed: int, label: str, urls: Sequence[str] = (), *, streaming: bool = False
    ) -> None:
        super().__init__(world, seed, urls)
        self._label = label
        self._streaming = streaming
        self.watch: Watch | None = None

    def reached(self, revision: int) -> bool:
        return self.watch is not None and self.watch.reached >= revision

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if self.watch is None:
                    await (self._stream_list() if self._streaming else self._list())
                else:
                    await self._follow(self.watch)
            except Gone:
                self.watch = None
            except BROKEN:
                await asyncio.sleep(0.02)

    def _params(self, **more: str) -> dict[str, str]:
        return ({"labelSelector": f"{LABEL}={self._label}"} if self._label else {}) | more

    async def _list(self) -> None:
        start = time.perf_counter()
        status, found = await self.call("GET", self.world.path(), params=self._params())
        if status != 200:
            await asyncio.sleep(0.05)
            return
        states = {key_of(obj): state_of(obj) for obj in found["items"]}
        self._begin(start, int(found["metadata"]["resourceVersion"]), states)

    def _begin(self, start: float, revision: int, states: dict[str, State]) -> Watch:
        self.world.history.reads.append(Read(start, time.perf_counter(), revision, states, label=self._label))
        self.watch = Watch(self._label, revision, reached=revision)
        self.world.history.watches.append(self.watch)
        return self.watch

    async def _stream_list(self) -> None:
        """The list itself as events, up to a bookmark that says so."""
        start = time.perf_counter()
        states: dict[str, State] = {}
        params = self._params(sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true")
        async for event in self._events(params):
            obj = event["object"]
            if self.watch is not None:
                self._take(self.watch, event)
            elif event["type"] == "BOOKMARK":
                self._begin(start, int(obj["metadata"]["resourceVersion"]), states)
            else:
                states[key_of(obj)] = state_of(obj)

    async def _follow(self, watch: Watch) -> None:
        async for event in self._events(self._params(resourceVersion=str(watch.reached), allowWatchBookmarks="true")):
            self._take(watch, event)

    async def _events(self, params: dict[str, str]) -> Any:
        params |= {"watch": "1", "timeoutSeconds": str(self.random.choice([1, 2, 3]))}
        async with self.session.get(self.url + self.world.path(), params=params) as answer:
            if answer.status == 410:
                raise Gone
            if answer.status != 200:
                await asyncio.sleep(0.05)
                return
            async for line in answer.content:
                if not line.endswith(b"\n"):
                    return  # broken off within a line
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    if event["object"]["code"] == 410:
                        raise Gone
                    return
                yield event

    def _take(self, watch: Watch, event: dict[str, Any]) -> None:
        obj = event["object"]
        revision = int(obj["metadata"]["resourceVersion"])
        if revision < watch.reached or (revision == watch.reached and event["type"] != "BOOKMARK"):
            watch.problems.append(f"{event['type']} at {revision} after {watch.reached}")
        watch.reached = max(watch.reached, revision)
        if event["type"] != "BOOKMARK":
            watch.changes.append(Change(event["type"], key_of(obj), state_of(obj), time.perf_counter()))
