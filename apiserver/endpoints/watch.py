"""GET with watch=true: the changes of a collection, one JSON line each, until the client or the server ends it.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes and
https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from apiserver.endpoints.api import Api
from apiserver.endpoints.list import reach
from apiserver.endpoints.options import ListOptions, list_options, parse_revision
from apiserver.endpoints.request import Request, Send, Target, warning_header
from apiserver.endpoints.views import encoder_of, view_for
from apiserver.storage.cache import Entry, Event
from apiserver.storage.store import Store
from apiserver.storage.watchers import Encoder, Scope, Watcher, line_for
from apiserver.types import Resource
from common.api.status import Expired, FieldError, Timeout, field_forbidden, invalid

BOOKMARK_SECONDS = 60.0
TIMEOUT_SECONDS = (1800, 3600)
"""A watch that names no timeout ends after a random time between these, as upstream's --min-request-timeout."""
LONGEST_SECONDS = 10 * 365 * 24 * 3600
"""What a timer can hold."""
BATCH = 200
"""Initial objects that are sent in one piece."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True)
class Start:
    """Where a watch begins: with the objects there are, or with the events after a revision."""

    entries: list[Entry]
    events: list[Event]
    revision: int


async def watch(api: Api, request: Request, target: Target, send: Send) -> None:
    resource = target.resource
    options = list_options(request, resource, target.name)
    _check_initial_events(options)
    encoder = encoder_of(view_for(request, resource))
    store = api.store(resource)
    scope = Scope(target.namespace, options.labels, options.fields)
    wanted = await _revision(store, options)
    # From here to the subscription nothing may wait: the state and the events after it must meet exactly.
    start = _start(store, scope, options, wanted)
    watcher, leave = store.hub.subscribe(scope, encoder)
    try:
        await _stream(request, send, store, watcher, encoder, scope, start, options, resource)
    finally:
        leave()


def _check_initial_events(options: ListOptions) -> None:
    errors: list[FieldError] = []
    if options.initial_events is not None and options.match != "NotOlderThan":
        errors.append(
            field_forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )
        )
    if options.initial_events is None and options.match:
        errors.append(field_forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden for watch"))
    if errors:
        raise invalid("ListOptions", "", "meta.k8s.io", errors)


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
    """The lines that a watch begins with, in pieces."""
    for at in range(0, len(start.entries), BATCH):
        yield b"".join(encoder.line("ADDED", entry) for entry in start.entries[at : at + BATCH])
    lines = [line for event in start.events if (line := line_for(event, scope, encoder)) is not None]
    for at in range(0, len(lines), BATCH):
        yield b"".join(lines[at : at + BATCH])


def bookmark(resource: Resource, encoder: Encoder, revision: int, *, initial_end: bool = False) -> bytes:
    metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
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
    elif encoder.name == "metadata":
        obj = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return b'{"type":"BOOKMARK","object":%b}\n' % orjson.dumps(obj)


async def _stream(
    request: Request,
    send: Send,
    store: Store,
    watcher: Watcher,
    encoder: Encoder,
    scope: Scope,
    start: Start,
    options: ListOptions,
    resource: Resource,
) -> None:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-cache, private")]
    headers += [warning_header(text) for text in request.warnings]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    # The client is to see the headers though nothing has happened yet.
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    loop = asyncio.get_running_loop()
    seconds = min(options.timeout_seconds or random.uniform(*TIMEOUT_SECONDS), LONGEST_SECONDS)
    timers = {"end": loop.call_later(seconds, watcher.close)}

    def say() -> None:
        """A bookmark once a minute: from where the client may go on, though nothing that it watches has changed."""
        store.hub.flush()  # a bookmark must not overtake an event
        watcher.push(bookmark(resource, encoder, store.feed.revision))
        timers["bookmark"] = loop.call_later(BOOKMARK_SECONDS, say)

    gone = asyncio.create_task(_close_when_gone(request, watcher))
    try:
        for piece in _initial(start, scope, encoder):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if options.initial_events and options.bookmarks:
            line = bookmark(resource, encoder, start.revision, initial_end=True)
            await send({"type": "http.response.body", "body": line, "more_body": True})
        if options.bookmarks:
            timers["bookmark"] = loop.call_later(BOOKMARK_SECONDS * random.uniform(0.8, 1.0), say)
        while (chunk := await watcher.next()) is not None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not watcher.gone:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        gone.cancel()
        for timer in timers.values():
            timer.cancel()


async def _close_when_gone(request: Request, watcher: Watcher) -> None:
    await request.disconnected()
    watcher.gone = True
    watcher.close()
