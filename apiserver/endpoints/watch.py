"""GET with watch=true: the changes of a collection, one JSON line each, until the client or the server ends it.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes and
https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
"""

from __future__ import annotations

import asyncio
import random
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from apiserver.endpoints.api import Api
from apiserver.endpoints.list import reach
from apiserver.endpoints.options import ListOptions, parse_revision, read_list_options
from apiserver.endpoints.request import Request, Send, Target
from apiserver.endpoints.sinks import Sink, sink_for
from apiserver.endpoints.views import META, TableView, encoder_of, view_for
from apiserver.storage.cache import Entry, Event
from apiserver.storage.store import Store
from apiserver.storage.watchers import PIECE, Encoder, Scope, Watcher, line_for
from apiserver.types import Resource
from common.api.status import Expired, Timeout

BOOKMARK_SECONDS = 60.0
LONGEST_SECONDS = 10 * 365 * 24 * 3600
"""What a timer can hold."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
INITIAL_EVENTS_LIST_BLUEPRINT = "kubernetes.io/initial-events-list-blueprint"
NO_COLUMNS = b'"columnDefinitions":[]'


@dataclass(frozen=True)
class Start:
    """Where a watch begins: with the objects there are, or with the events after a revision."""

    entries: list[Entry]
    events: list[Event]
    revision: int


async def watch(api: Api, request: Request, target: Target, send: Send, lasts: float) -> None:
    """``lasts`` is for how many seconds, when the client does not say."""
    resource = target.resource
    options = await read_list_options(request, resource, target.name, watch=True)
    view = view_for(request, resource, stream=True)
    encoder = encoder_of(view)
    store = api.store(resource)
    scope = Scope(target.namespace, options.labels, options.fields)
    sink = sink_for(request, send)
    wanted = await _revision(store, options)
    # From here to the subscription nothing may wait: the state and the events after it must meet exactly.
    try:
        start = _start(store, scope, options, wanted)
    except Expired as error:
        await _refuse(sink, error)
        return
    watcher, leave = store.hub.subscribe(scope, encoder, request.abort)
    seconds = max(min(options.timeout_seconds or lasts, LONGEST_SECONDS), 0.0)  # a negative time is up at once
    if isinstance(view, TableView):
        sink = Headed(sink, view)
    stream = Stream(resource, sink, store, watcher, encoder, seconds)
    try:
        await stream.run(scope, start, options)
    finally:
        leave()


async def _refuse(sink: Sink, error: Expired) -> None:
    """What is wrong with where a watch is to start is an event of the watch, as of every watch that ends so."""
    await sink.open()
    await sink.write(b'{"type":"ERROR","object":%b}\n' % orjson.dumps(error.to_status()))
    await sink.close()


async def _revision(store: Store, options: ListOptions) -> int:
    """The revision to start at; waited for, as the present one is when the client names none."""
    revision = parse_revision(options.resource_version)
    if not options.resource_version:
        if not await store.fresh():
            raise Timeout("etcdserver: request timed out", {"retryAfterSeconds": 1})
    elif revision:
        # Behind it, events that the client has seen would come again.
        await reach(store, revision)
    return revision


def _start(store: Store, scope: Scope, options: ListOptions, revision: int) -> Start:
    cache, now = store.cache, store.feed.revision
    if options.initial_events or (revision == 0 and options.initial_events is None):
        return Start(cache.select(scope.namespace, scope.labels, scope.fields), [], now)
    if revision == 0:
        return Start([], [], now)
    if revision < cache.oldest:
        raise Expired(f"too old resource version: {revision} ({cache.oldest})")
    events = [e for e in cache.history if e.revision > revision and _within(e, scope)]
    return Start([], events, max(now, revision))


def _within(event: Event, scope: Scope) -> bool:
    return not scope.namespace or event.entry.namespace == scope.namespace


def _initial(start: Start, scope: Scope, encoder: Encoder) -> Iterator[bytes]:
    """The lines that a watch begins with, in pieces of about PIECE bytes: they may be of any size, and take long."""
    objects = (encoder.line("ADDED", entry) for entry in start.entries)
    events = (line_for(event, scope, encoder) for event in start.events)
    lines, size = [], 0
    for line in chain(objects, events):
        if line is None:
            continue
        lines.append(line)
        size += len(line)
        if size >= PIECE:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


def bookmark(resource: Resource, encoder: Encoder, revision: int, *, initial_end: bool = False) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        if empty := _blueprint(resource, encoder):
            metadata["annotations"] |= {INITIAL_EVENTS_LIST_BLUEPRINT: empty}
    obj: dict[str, object] = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    if encoder.name.startswith("table:"):
        version = encoder.name.split(":")[1]
        partial = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": metadata}
        obj = {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": {"resourceVersion": str(revision)},
            "columnDefinitions": [],
            "rows": [{"cells": [], "object": partial}],
        }
    elif encoder.name.startswith("metadata:"):
        version = encoder.name.split(":")[1]
        obj = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": metadata}
    return b'{"type":"BOOKMARK","object":%b}\n' % orjson.dumps(obj)


def _blueprint(resource: Resource, encoder: Encoder) -> str:
    """The empty list that a client fills with the initial events to have what a LIST would have answered (KEP-3157)."""
    kind, api_version = f"{resource.kind}List", resource.api_version
    if encoder.name.startswith("table:"):
        return ""  # upstream has none for these
    if encoder.name.startswith("metadata:"):
        kind, api_version = "PartialObjectMetadataList", f"{META}/{encoder.name.split(':')[1]}"
    return b64encode(orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": None})).decode()


class Headed:
    """A Table's columns are told with its first rows only, as upstream does: the lines that all watchers share have
    none."""

    def __init__(self, sink: Sink, view: TableView) -> None:
        self._sink = sink
        self._columns: bytes | None = orjson.dumps(view.definitions())

    async def open(self) -> None:
        await self._sink.open()

    async def close(self) -> None:
        await self._sink.close()

    async def gone(self) -> None:
        await self._sink.gone()

    async def write(self, lines: bytes) -> None:
        if self._columns is not None and NO_COLUMNS in lines:
            lines = lines.replace(NO_COLUMNS, NO_COLUMNS[:-2] + self._columns, 1)
            self._columns = None
        await self._sink.write(lines)


class Stream:
    """One watch, from its first line to its end."""

    def __init__(
        self, resource: Resource, sink: Sink, store: Store, watcher: Watcher, encoder: Encoder, seconds: float
    ) -> None:
        self._resource = resource
        self._sink = sink
        self._store = store
        self._watcher = watcher
        self._encoder = encoder
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.call_later(seconds, watcher.close)
        self._bookmarks: asyncio.TimerHandle | None = None

    async def run(self, scope: Scope, start: Start, options: ListOptions) -> None:
        await self._sink.open()
        gone = asyncio.create_task(self._close_when_gone())
        try:
            for piece in _initial(start, scope, self._encoder):
                await self._sink.write(piece)
                await asyncio.sleep(0)  # a client that takes it all at once is not the only one
            if options.initial_events and options.bookmarks:
                await self._sink.write(self._bookmark(start.revision, initial_end=True))
            if options.bookmarks:
                self._bookmarks = self._loop.call_later(BOOKMARK_SECONDS * random.uniform(0.8, 1.0), self._say)
            while (chunk := await self._watcher.next()) is not None:
                await self._sink.write(chunk)
            if not self._watcher.gone:
                await self._sink.close()
        except ConnectionError:
            pass  # the client has gone
        finally:
            gone.cancel()
            self._end.cancel()
            if self._bookmarks is not None:
                self._bookmarks.cancel()

    def _say(self) -> None:
        """A bookmark once a minute: from where the client may go on, though nothing that it watches has changed."""
        self._store.hub.flush()  # a bookmark must not overtake an event
        self._watcher.push(self._bookmark(self._store.feed.revision))
        self._bookmarks = self._loop.call_later(BOOKMARK_SECONDS, self._say)

    def _bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        return bookmark(self._resource, self._encoder, revision, initial_end=initial_end)

    async def _close_when_gone(self) -> None:
        try:
            await self._sink.gone()
        except ConnectionError:
            pass
        self._watcher.gone = True
        self._watcher.close()
