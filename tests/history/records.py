"""What clients saw, and what etcd says has happened. Times are one process's monotonic clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Data = Mapping[str, str]


@dataclass(frozen=True)
class State:
    """An object as somebody saw it. ``by`` names the write that made it so."""

    revision: int
    by: str
    label: str
    data: Data
    uid: str


@dataclass(frozen=True)
class Version:
    """One change of one key in etcd. ``state`` is None for a deletion; ``count`` is etcd's, from 1 at each creation."""

    revision: int
    key: str
    state: State | None
    count: int = 0


@dataclass
class Write:
    id: str
    kind: Literal["create", "put", "patch", "delete"]
    key: str
    start: float
    data: Data
    """Of a patch: what it adds."""
    label: str = ""
    expected: int | None = None
    """The resourceVersion that was sent along."""
    end: float = 0.0
    outcome: Literal["ok", "refused", "unknown"] = "unknown"
    answer: State | None = None
    """Of a write that was answered well; a deletion's answer has only the uid."""


@dataclass
class Read:
    """One object (``key``), or all of them."""

    start: float
    end: float
    revision: int
    """Of a list. 0 for a single object."""
    states: Mapping[str, State]
    key: str = ""
    label: str = ""
    """The label that was selected."""
    consistent: bool = True
    at_least: int = 0
    exactly: int = 0


@dataclass(frozen=True)
class Change:
    """A watch event."""

    type: str
    key: str
    state: State
    time: float = float("inf")


@dataclass
class Watch:
    """What one client saw from one list on, over however many connections."""

    label: str
    began: int
    """The revision of the list."""
    changes: list[Change] = field(default_factory=list)
    reached: int = 0
    """The last revision that an event or a bookmark told."""
    problems: list[str] = field(default_factory=list)
    """What can be seen while it happens."""


@dataclass
class History:
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.writes) + len(self.reads) + sum(len(w.changes) for w in self.watches)
