"""From one resource's events to the clients that watch it.

Watchers that ask the same (namespace, selectors, encoding) form a group: an event is matched and encoded once for the
group, and the group's lines of a moment are joined once. Each watcher then gets one chunk to send, so that a hundred
watchers under load cost one wake-up for a few events instead of one for each. The first event after a quiet moment is
handed on at once; only what follows within ``INTERVAL`` is gathered, and longer where many watch or much happens, since
a chunk costs the server the same for one event as for ten.

A watcher that does not take its chunks is closed when ``MAX_PENDING`` bytes wait for it; its client watches again from
where it was, and nobody else is held up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from apiserver.storage.cache import Entry, Event, ResourceCache
from common.api.selectors import Selector

INTERVAL = 0.004
INTERVAL_PER_WATCHER = 0.0001
BUSY, BUSY_INTERVAL = 4, 0.012
"""From so many events at a time on, the next are gathered for so long at least."""
MAX_INTERVAL = 0.05
MAX_PENDING = 4 * 1024 * 1024
PIECE = 64 * 1024
"""What is written at once: the transport keeps a copy of all that its client has not taken."""


WORTH_JOINING = 4
"""Watchers of a group for which lines are joined. Joined lines are a copy, and groups are as many as clients like;
single lines are shared by all groups."""


@dataclass(frozen=True)
class Encoder:
    """How a watch's objects are written. ``name`` is its identity: equal names encode alike."""

    name: str
    encode: Callable[[Entry], bytes]

    def line(self, event_type: str, entry: Entry) -> bytes:
        return b'{"type":"%b","object":%b}\n' % (event_type.encode(), self.encode(entry))


@dataclass(frozen=True)
class Scope:
    """What a watch sees."""

    namespace: str
    labels: Selector
    fields: Selector

    def everything(self) -> bool:
        return self.labels.everything and self.fields.everything

    def key(self, encoder: Encoder) -> tuple[str, str, str, str]:
        return self.namespace, str(self.labels), str(self.fields), encoder.name


class Watcher:
    """The chunks that one client has still to be sent."""

    __slots__ = ("_chunks", "_drop", "_size", "_wake", "closed", "dropped", "gone")

    def __init__(self, drop: Callable[[], None] | None = None) -> None:
        """``drop`` ends the connection of a watcher that does not take what is pushed: it may be stuck in a write."""
        self._drop = drop
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._wake: asyncio.Future[None] | None = None
        self.closed = False
        self.dropped = False
        """Closed because it did not take what was pushed."""
        self.gone = False
        """Closed because its client went away."""

    def push(self, *chunks: bytes) -> None:
        if self.closed:
            return
        self._size += sum(map(len, chunks))
        if self._size > MAX_PENDING and self._chunks:
            self.dropped = self.gone = True
            self._chunks.clear()
            self.close()
            if self._drop is not None:
                self._drop()
            return
        self._chunks.extend(chunks)
        self._rouse()

    def close(self) -> None:
        """What is pending is still sent."""
        self.closed = True
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def next(self) -> bytes | None:
        """What is pending, up to about PIECE bytes, or None at the end."""
        while not self._chunks:
            if self.closed:
                return None
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        chunks = self._chunks
        chunk = chunks.popleft()
        if chunks and len(chunk) < PIECE:
            pieces, size = [chunk], len(chunk)
            while chunks and size < PIECE:
                pieces.append(chunks.popleft())
                size += len(pieces[-1])
            chunk = b"".join(pieces)
        self._size -= len(chunk)
        return chunk


@dataclass(eq=False)
class Group:
    """Watchers that see the same."""

    scope: Scope
    encoder: Encoder
    watchers: set[Watcher] = field(default_factory=set)
    lines: list[bytes] = field(default_factory=list)

    def flush(self) -> int:
        """How many events went to watchers."""
        count = len(self.lines)
        if count:
            lines = [b"".join(self.lines)] if count > 1 and len(self.watchers) >= WORTH_JOINING else self.lines
            for watcher in self.watchers:
                watcher.push(*lines)
            self.lines.clear()
        return count * len(self.watchers)


def line_for(event: Event, scope: Scope, encoder: Encoder) -> bytes | None:
    """What a watch sees of a change: a selector turns a modification into an ADDED or a DELETED."""
    entry, previous = event.entry, event.previous
    if scope.everything():
        type_ = event.type
    else:
        now = event.type != "DELETED" and entry.matches(scope.labels, scope.fields)
        before = previous is not None and previous.matches(scope.labels, scope.fields)
        if now:
            type_ = "MODIFIED" if before else "ADDED"
        elif before:
            type_ = "DELETED"
        else:
            return None
    key = (type_, encoder.name)
    line = event.lines.get(key)
    if line is None:
        if type_ == "DELETED" and event.type != "DELETED" and previous is not None:
            entry = _as_of(previous, event.revision)
        line = event.lines[key] = encoder.line(type_, entry)
    return line


def _as_of(entry: Entry, revision: int) -> Entry:
    """An object that left a selector, as it was, with the revision at which it left."""
    obj = entry.parse()
    obj["metadata"]["resourceVersion"] = str(revision)
    return Entry(entry.namespace, entry.name, revision, orjson.dumps(obj), obj, entry.fields)


class Hub:
    """All watchers of one resource."""

    def __init__(self, cache: ResourceCache) -> None:
        self._cache = cache
        self._groups: dict[str, dict[tuple[str, str, str, str], Group]] = {}
        self._dirty: set[Group] = set()
        self._timer: asyncio.Handle | None = None
        self._flushed = 0.0
        self._gathered = 0
        """Events since the last flush."""
        self._pause = INTERVAL
        self.count = 0
        self.sent = self.dropped = 0
        """Events that were handed to watchers, and watchers that did not take them."""
        cache.listeners.append(self._offer)

    def subscribe(
        self, scope: Scope, encoder: Encoder, drop: Callable[[], None] | None = None
    ) -> tuple[Watcher, Callable[[], None]]:
        """A watcher of every change from now on, and how to leave. ``drop`` ends the connection of a slow one."""

        def dropped() -> None:
            self.dropped += 1
            if drop is not None:
                drop()

        watcher = Watcher(dropped)
        groups = self._groups.setdefault(scope.namespace, {})
        key = scope.key(encoder)
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(scope, encoder)
        self.sent += group.flush()  # what came before is not for the new one
        group.watchers.add(watcher)
        self.count += 1

        def leave() -> None:
            if watcher not in group.watchers:
                return
            group.watchers.discard(watcher)
            self.count -= 1
            if not group.watchers and groups.get(key) is group:
                del groups[key]
                if not groups:
                    self._groups.pop(scope.namespace, None)

        return watcher, leave

    def flush(self) -> None:
        """Hands on what has been gathered."""
        self._timer = None
        self._flushed = asyncio.get_running_loop().time()
        least = BUSY_INTERVAL if self._gathered >= BUSY else INTERVAL
        self._pause = min(max(least, INTERVAL + INTERVAL_PER_WATCHER * self.count), MAX_INTERVAL)
        self._gathered = 0
        dirty, self._dirty = self._dirty, set()
        for group in dirty:
            self.sent += group.flush()

    def close_all(self) -> None:
        """Ends every watch: their clients list again."""
        for groups in list(self._groups.values()):
            for group in list(groups.values()):
                for watcher in list(group.watchers):
                    watcher.close()

    def _offer(self, event: Event) -> None:
        namespace = event.entry.namespace
        for space in ("", namespace) if namespace else ("",):
            for group in self._groups.get(space, {}).values():
                if (line := line_for(event, group.scope, group.encoder)) is not None:
                    group.lines.append(line)
                    self._dirty.add(group)
        if not self._dirty:
            return
        self._gathered += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            wait = self._flushed + self._pause - loop.time()
            self._timer = loop.call_later(wait, self.flush) if wait > 0 else loop.call_soon(self.flush)
