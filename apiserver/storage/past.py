"""Pages of a list, and lists of the past: what etcd's history is for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from apiserver.storage.cache import Entry, ResourceCache
from apiserver.storage.continuation import Continuation
from apiserver.storage.encoding import UNREADABLE, prefix_of
from apiserver.storage.etcd import Etcd, prefix_end
from common.api.selectors import Selector

PAGE, LONGEST_PAGE = 500, 2_000
"""How many objects etcd is asked for at a time; more each time where few of them are what was asked for (upstream
doubles too)."""

TURN = 64
"""Objects that are parsed, a millisecond or two, before others have their turn."""


@dataclass(frozen=True, slots=True)
class Page:
    """A list, or one page of it."""

    entries: list[Entry]
    revision: int
    token: str = ""
    remaining: int | None = None
    stamp: int = 0
    """Of what the cache has: equal stamps mean equal objects. 0 for a page of history."""


async def list_past(
    etcd: Etcd,
    cache: ResourceCache,
    revision: int,
    start: str,
    namespace: str,
    labels: Selector,
    fields: Selector,
    limit: int,
) -> Page:
    """The objects as they were at ``revision``, from key ``start`` on. Raises CompactedError."""
    root = prefix_of(*cache.storage)
    prefix = root + (f"{namespace}/".encode() if namespace else b"")
    key, end = max(root + start.encode(), prefix), prefix_end(prefix)
    found: list[Entry] = []
    size = min(limit or PAGE, LONGEST_PAGE)
    while True:
        answer = await etcd.range(key, end, limit=size, revision=revision)
        looked_at = 0
        for kv in answer.kvs:
            if limit and len(found) == limit:
                break
            looked_at += 1
            if not looked_at % TURN:
                await asyncio.sleep(0)
            path = kv.key[len(root) :].decode(errors="replace")
            space, _, name = path.partition("/") if cache.resource.namespaced else ("", "", path)
            try:
                entry = cache.entry_of(space, name, kv.mod_revision, kv.value)
            except UNREADABLE:  # the feed says which; it is not there, as in the cache
                continue
            if entry.matches(labels, fields):
                found.append(entry)
        left = answer.count - looked_at  # of the whole range, though the answer may be a part of it
        if not left or (limit and len(found) == limit):
            break
        key = answer.kvs[-1].key + b"\0"
        size = min(2 * size, LONGEST_PAGE)
    if not left:
        return Page(found, revision)
    remaining = left if labels.everything and fields.everything else None
    return Page(found, revision, Continuation(revision, found[-1].key + "\0").encode(), remaining)
