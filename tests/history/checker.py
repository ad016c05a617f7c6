"""The laws that a history must keep. ``check`` returns what breaks them, in words.

Truth is the sequence of versions that etcd had. A history is right when

- every version is the work of one write, done once, on the state before it (no lost updates, nothing from nowhere);
- a write that was answered well is in the truth as it was answered, and one that was refused is not;
- a write with a resourceVersion followed directly on that version;
- a consistent read shows one state of the truth, at a revision no older than anything that anybody was told before the
  read began;
- a watch shows every change after its list, once, in order, as its selector sees it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

from tests.history.records import Change, History, Read, State, Version, Watch, Write

MOST = 40


def check(history: History, truth: Sequence[Version]) -> list[str]:
    past = Past(truth)
    problems = [
        *past.gaps(),
        *_writes(history.writes, past),
        *_reads(history, past),
        *(problem for watch in history.watches for problem in _watch(watch, past)),
    ]
    return problems[:MOST]


class Past:
    """The truth, by key and by revision."""

    def __init__(self, truth: Sequence[Version]) -> None:
        self.versions = list(truth)
        self.revisions = [v.revision for v in truth]
        self.by_key: dict[str, list[Version]] = defaultdict(list)
        for version in truth:
            self.by_key[version.key].append(version)
        self._revisions_of = {key: [v.revision for v in versions] for key, versions in self.by_key.items()}

    def gaps(self) -> Iterable[str]:
        if self.revisions != sorted(self.revisions):
            yield "the truth is not in order"
        for key, versions in self.by_key.items():
            count = 0
            for version in versions:
                count = 0 if version.state is None else count + 1
                if version.count != count:
                    yield f"the truth has a gap: {key} at {version.revision} is version {version.count}, not {count}"
                    return

    def before(self, version: Version) -> State | None:
        """The key's state before a version."""
        at = bisect_left(self._revisions_of[version.key], version.revision)
        return self.by_key[version.key][at - 1].state if at else None

    def at(self, key: str, revision: int) -> State | None:
        """The key's state at a revision."""
        at = bisect_right(self._revisions_of.get(key, ()), revision)
        return self.by_key[key][at - 1].state if at else None

    def until(self, key: str, revision: int) -> float:
        """When the key's state at ``revision`` ends."""
        revisions = self._revisions_of.get(key, [])
        at = bisect_right(revisions, revision)
        return revisions[at] if at < len(revisions) else float("inf")

    def all_at(self, revision: int) -> dict[str, State]:
        found = ((key, self.at(key, revision)) for key in self.by_key)
        return {key: state for key, state in found if state is not None}

    def between(self, after: int, until: int) -> Sequence[Version]:
        return self.versions[bisect_right(self.revisions, after) : bisect_right(self.revisions, until)]


# -- writes


def _writes(writes: Sequence[Write], past: Past) -> Iterable[str]:
    by_id = {write.id: write for write in writes}
    done: dict[str, Version] = {}
    deleted: dict[str, Version] = {}
    deletions_of: dict[str, int] = defaultdict(int)
    for version in past.versions:
        before = past.before(version)
        if version.state is None:
            if before is not None:
                deleted[before.uid] = version
            deletions_of[version.key] += 1
            continue
        write = by_id.get(version.state.by)
        if write is None or write.kind == "delete":
            yield f"{version.key} at {version.revision} was written by nobody ({version.state.by})"
            continue
        if write.id in done:
            yield f"write {write.id} was done twice: at {done[write.id].revision} and {version.revision}"
        done[write.id] = version
        yield from _effect(write, before, version.state)
    for write in writes:
        if write.kind == "delete":
            yield from _deletion(write, deleted)
        elif write.outcome == "ok":
            version_of = done.get(write.id)
            if version_of is None:
                yield f"lost: write {write.id} of {write.key} was answered and is not in the truth"
            elif write.answer != version_of.state:
                yield f"write {write.id} was answered with {write.answer}, the truth is {version_of.state}"
        elif write.outcome == "refused" and write.id in done:
            yield f"write {write.id} was refused and done at {done[write.id].revision}"
    for key, count in deletions_of.items():
        possible = sum(w.kind == "delete" and w.key == key and w.outcome != "refused" for w in writes)
        if count > possible:
            yield f"{key} was deleted {count} times by {possible} deletes"


def _effect(write: Write, before: State | None, after: State) -> Iterable[str]:
    """Whether a version is what the write makes of the state before it."""
    if write.kind == "create":
        if before is not None:
            yield f"create {write.id} replaced {before.by} at {before.revision}"
        wanted = dict(write.data)
    elif before is None:
        yield f"{write.kind} {write.id} made {write.key} out of nothing"
        return
    elif write.kind == "put":
        wanted = dict(write.data)
    else:
        wanted = {**before.data, **write.data}
    if dict(after.data) != wanted:
        yield f"lost update: {write.kind} {write.id} at {after.revision} left {dict(after.data)}, not {wanted}"
    if before is not None and before.uid != after.uid:
        yield f"{write.kind} {write.id} changed the uid of {write.key}"
    if write.expected is not None and before is not None and before.revision != write.expected:
        yield f"{write.kind} {write.id} expected revision {write.expected} and followed on {before.revision}"


def _deletion(write: Write, deleted: dict[str, Version]) -> Iterable[str]:
    if write.outcome != "ok" or write.answer is None:
        return
    version = deleted.get(write.answer.uid)
    if version is None:
        yield f"lost: delete {write.id} of {write.key} was answered and did not happen"


# -- reads


def _told(history: History, past: Past) -> list[tuple[float, int]]:
    """(time, revision): from that time on, somebody had been told of that revision. Both only grow."""
    gone = {}
    for version in past.versions:
        if version.state is None and (before := past.before(version)) is not None:
            gone[before.uid] = version.revision
    told = []
    for write in history.writes:
        if write.outcome == "ok" and write.answer is not None:
            revision = gone.get(write.answer.uid, 0) if write.kind == "delete" else write.answer.revision
            told.append((write.end, revision))
    told += [(read.end, max(read.revision, *(s.revision for s in read.states.values()), 0)) for read in history.reads]
    told += [(change.time, change.state.revision) for watch in history.watches for change in watch.changes]
    told.sort()
    growing: list[tuple[float, int]] = []
    for time, revision in told:
        if not growing or revision > growing[-1][1]:
            growing.append((time, revision))
    return growing


def _reads(history: History, past: Past) -> Iterable[str]:
    told = _told(history, past)
    for read in history.reads:
        least = max(read.at_least, 0)
        if read.consistent:
            at = bisect_left(told, (read.start, 0))
            least = max(least, told[at - 1][1] if at else 0)
        yield from _single(read, past, least) if read.key else _list(read, past, least)


def _single(read: Read, past: Past, least: int) -> Iterable[str]:
    seen = read.states.get(read.key)
    if seen is None:
        # It was absent at some revision from ``least`` on.
        if past.at(read.key, least) is not None and not any(
            v.key == read.key and v.state is None for v in past.by_key[read.key] if v.revision > least
        ):
            yield f"stale read: {read.key} was not found, though it was there at {least} and ever since"
        return
    if past.at(read.key, seen.revision) != seen:
        yield f"read of {read.key} showed {seen}, which never was"
    elif past.until(read.key, seen.revision) <= least:
        yield f"stale read: {read.key} at {seen.revision}, though {least} had been told before"


def _list(read: Read, past: Past, least: int) -> Iterable[str]:
    if read.revision < least:
        yield f"stale read: a list at {read.revision}, though {least} had been told before"
    if read.exactly and read.revision != read.exactly:
        yield f"a list at {read.revision} was asked for exactly {read.exactly}"
    wanted = past.all_at(read.revision)
    if read.label:
        wanted = {key: state for key, state in wanted.items() if state.label == read.label}
    if dict(read.states) != wanted:
        differing = {k for k in wanted.keys() | read.states.keys() if wanted.get(k) != read.states.get(k)}
        yield f"a list at {read.revision} differs from the truth in {sorted(differing)}"


# -- watches


def _watch(watch: Watch, past: Past) -> Iterable[str]:
    yield from watch.problems
    last = watch.began
    for change in watch.changes:
        if change.state.revision <= last:
            yield f"a watch went back from {last} to {change.state.revision}"
        last = max(last, change.state.revision)
    wanted = [c for v in past.between(watch.began, watch.reached) if (c := _expected(v, past, watch.label)) is not None]
    seen = [(c.type, c.key, c.state) for c in watch.changes]
    if seen != wanted:
        missed = [w[2].revision for w in wanted if w not in seen]
        extra = [s[2].revision for s in seen if s not in wanted]
        yield f"a watch from {watch.began} to {watch.reached} missed {missed[:5]} and saw too much at {extra[:5]}"


def _expected(version: Version, past: Past, label: str) -> tuple[str, str, State] | None:
    """What a watch with a selector sees of a change."""
    before, after = past.before(version), version.state
    had = before is not None and (not label or before.label == label)
    has = after is not None and (not label or after.label == label)
    if has and after is not None:
        return ("MODIFIED" if had else "ADDED"), version.key, after
    if had and before is not None:
        gone = State(version.revision, before.by, before.label, before.data, before.uid)
        return "DELETED", version.key, gone
    return None


__all__ = ["Change", "Past", "check"]
