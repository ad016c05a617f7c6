"""The watch cache of one resource: what etcd holds, as bytes that are ready to send.

An object is encoded once for each change, not once for each reader: a GET sends ``Entry.data``, a LIST joins them, a
WATCH writes one ready line. Labels and selectable fields are parsed once for each change and indexed, so that a
selector that demands one value looks at the objects that have it and no others.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

import orjson

from apiserver.storage.encoding import head_of, join_key, storage_of, with_revision
from apiserver.types import Object, Resource
from common.api.selectors import Requirement, Selector

HISTORY, HISTORY_BYTES = 2048, 64 * 1024 * 1024
"""How many recent events of a resource, and how many bytes of objects in them, are kept for watches that start in the
past."""
PARSED = 512
"""How many objects of a resource are kept parsed: a parsed object takes several times its bytes."""


class Entry:
    """One object at one revision."""

    __slots__ = ("data", "fields", "key", "labels", "name", "namespace", "parsed", "revision")

    def __init__(
        self, namespace: str, name: str, revision: int, data: bytes, obj: Object, fields: dict[str, str]
    ) -> None:
        self.key = join_key(namespace, name)
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.data = data
        self.labels: Mapping[str, str] = obj["metadata"].get("labels") or {}
        self.fields = fields
        self.parsed: Object | None = None
        """See :meth:`ResourceCache.object_of`."""

    def parse(self) -> Object:
        """A private copy."""
        obj: Object = orjson.loads(self.data)
        return obj

    def matches(self, labels: Selector, fields: Selector) -> bool:
        return (labels.everything or labels.matches(self.labels)) and (fields.everything or fields.matches(self.fields))


class Event:
    """A change. ``entry`` is the object after it (of a deletion: its last state with the deletion's revision)."""

    __slots__ = ("entry", "lines", "previous", "revision", "type")

    def __init__(self, type_: str, entry: Entry, previous: Entry | None) -> None:
        self.type = type_
        self.entry = entry
        self.previous = previous
        self.revision = entry.revision
        self.lines: dict[tuple[str, str], bytes] = {}
        """Encoded watch lines by (event type, encoding): made once, written to every watcher."""


Callback = Callable[[str, Object], None]


class ResourceCache:
    """All objects of one resource, as of the feed's revision."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.storage = storage_of(resource)
        self.head = head_of(resource.kind, resource.api_version)
        self.entries: dict[str, Entry] = {}
        self._names: dict[str, list[str]] = {}
        self._index: dict[tuple[bool, str, str], dict[str, Entry]] = {}
        self.history: deque[Event] = deque()
        self._history_bytes = 0
        self.oldest = 0
        """Watches can start at this revision or later."""
        self.changed = 0
        """The revision of the last change."""
        self.received = self.starts = 0
        """Changes since the process began, and lists that the cache began from."""
        self._parsed: deque[Entry] = deque()
        self.callbacks: list[Callback] = []
        self.listeners: list[Callable[[Event], None]] = []

    # -- what the feed does

    def entry_of(self, namespace: str, name: str, revision: int, value: bytes) -> Entry:
        data = with_revision(self.head, value, revision)
        obj = orjson.loads(data)
        fields = {"metadata.name": name}
        if self.resource.namespaced:
            fields["metadata.namespace"] = namespace
        for field, read in self.resource.selectable_fields.items():
            fields[field] = read(obj)
        return Entry(namespace, name, revision, data, obj, fields)

    def replace(self, entries: Iterable[Entry], revision: int) -> None:
        """Starts again from a list: history ends here."""
        before = self.entries
        self.entries, self._names, self._index = {}, {}, {}
        self._parsed.clear()
        self.history.clear()
        self._history_bytes = 0
        self.starts += 1
        self.oldest = self.changed = revision
        for entry in entries:
            self._put(entry)
            known = before.pop(entry.key, None)
            if known is None or known.revision != entry.revision:
                self._call_back("ADDED" if known is None else "MODIFIED", entry)
        for gone in before.values():
            self._call_back("DELETED", gone)

    def put(self, entry: Entry) -> Event:
        previous = self._put(entry)
        return self._record(Event("ADDED" if previous is None else "MODIFIED", entry, previous))

    def delete(self, namespace: str, name: str, revision: int) -> Event | None:
        """None when the object was not known (created and deleted between two looks)."""
        previous = self.entries.pop(join_key(namespace, name), None)
        if previous is None:
            return None
        self._unindex(previous)
        names = self._names[namespace]
        del names[bisect_left(names, name)]
        if not names:
            del self._names[namespace]
        obj = previous.parse()
        obj["metadata"]["resourceVersion"] = str(revision)
        last = Entry(namespace, name, revision, orjson.dumps(obj), obj, previous.fields)
        return self._record(Event("DELETED", last, previous))

    def _put(self, entry: Entry) -> Entry | None:
        previous = self.entries.get(entry.key)
        self.entries[entry.key] = entry
        if previous is None:
            insort(self._names.setdefault(entry.namespace, []), entry.name)
        elif previous.labels == entry.labels and previous.fields == entry.fields:
            # The common case, a change of status: the same index keys, and one shared copy of what they say.
            entry.labels, entry.fields = previous.labels, previous.fields
        else:
            self._unindex(previous)
        for key in self._index_keys(entry):
            self._index.setdefault(key, {})[entry.key] = entry
        return previous

    def _unindex(self, entry: Entry) -> None:
        for key in self._index_keys(entry):
            bucket = self._index[key]
            bucket.pop(entry.key, None)
            if not bucket:
                del self._index[key]

    @staticmethod
    def _index_keys(entry: Entry) -> Iterator[tuple[bool, str, str]]:
        for label, value in entry.labels.items():
            yield True, label, value
        for field, value in entry.fields.items():
            if not field.startswith("metadata."):
                yield False, field, value

    def _record(self, event: Event) -> Event:
        self.changed = event.revision
        self.received += 1
        self.history.append(event)
        self._history_bytes += len(event.entry.data)
        while len(self.history) > HISTORY or (self._history_bytes > HISTORY_BYTES and len(self.history) > 1):
            dropped = self.history.popleft()
            self.oldest = dropped.revision
            self._history_bytes -= len(dropped.entry.data)
        self._call_back(event.type, event.entry)
        for listener in self.listeners:
            listener(event)
        return event

    def _call_back(self, type_: str, entry: Entry) -> None:
        if self.callbacks:
            obj = entry.parsed or entry.parse()
            for callback in self.callbacks:
                callback(type_, obj)

    # -- what readers do

    def get(self, namespace: str, name: str) -> Entry | None:
        return self.entries.get(f"{namespace}/{name}" if namespace else name)

    def object_of(self, entry: Entry) -> Object:
        """Parsed, shared, and kept for the next who asks: never change it."""
        if entry.parsed is None:
            entry.parsed = entry.parse()
            self._parsed.append(entry)
            if len(self._parsed) > PARSED:
                self._parsed.popleft().parsed = None
        return entry.parsed

    def select(self, namespace: str, labels: Selector, fields: Selector) -> list[Entry]:
        """In the order of etcd's keys. An empty namespace means all."""
        return matching(self.candidates(namespace, labels, fields), labels, fields)

    def candidates(self, namespace: str, labels: Selector, fields: Selector) -> list[Entry]:
        """The objects that are to be looked at for a selection, as of now, in the order of etcd's keys."""
        named = self._indexed(namespace, labels, fields)
        if named is None:
            return self.all(namespace)
        return sorted((e for e in named if not namespace or e.namespace == namespace), key=lambda entry: entry.key)

    def all(self, namespace: str = "") -> list[Entry]:
        entries = self.entries
        if namespace:
            prefix = namespace + "/"
            return [entries[prefix + name] for name in self._names.get(namespace, ())]
        if not self.resource.namespaced:
            return [entries[name] for name in self._names.get("", ())]
        return [
            entries[f"{space}/{name}"] for space in sorted(self._names, key=_as_in_key) for name in self._names[space]
        ]

    def _indexed(self, namespace: str, labels: Selector, fields: Selector) -> Iterable[Entry] | None:
        """The objects that an index names for a selector; None when no index helps."""
        best: Mapping[str, Entry] | None = None
        for is_label, selector in ((True, labels), (False, fields)):
            for requirement in selector.requirements:
                value = _demanded(requirement)
                if value is None:
                    continue
                if not is_label and requirement.key == "metadata.name":
                    if not namespace and self.resource.namespaced:
                        continue
                    entry = self.get(namespace, value)
                    return [] if entry is None else [entry]
                if not is_label and requirement.key == "metadata.namespace":
                    continue
                bucket = self._index.get((is_label, requirement.key, value), {})
                if best is None or len(bucket) < len(best):
                    best = bucket
        return None if best is None else best.values()


def matching(entries: list[Entry], labels: Selector, fields: Selector) -> list[Entry]:
    if labels.everything and fields.everything:
        return entries
    return [entry for entry in entries if entry.matches(labels, fields)]


def _as_in_key(namespace: str) -> str:
    return namespace + "/"


def _demanded(requirement: Requirement) -> str | None:
    """The one value that a requirement demands, if it does."""
    if requirement.operator in ("=", "in") and len(requirement.values) == 1:
        return next(iter(requirement.values))
    return None
