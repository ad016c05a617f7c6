"""The checker of histories: it accepts a right one, and each law can fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.history.checker import check
from tests.history.records import Change, History, Read, State, Version, Watch, Write


def state(revision: int, by: str, data: str, label: str = "a", uid: str = "u1") -> State:
    return State(revision, by, label, dict.fromkeys(data.split(), "1"), uid)


S11, S12, S14 = state(11, "w1", "w1"), state(12, "w2", "w1 w2"), state(14, "w4", "w4", label="b")
TRUTH = [
    Version(11, "k", S11, 1),
    Version(12, "k", S12, 2),
    Version(13, "other", state(13, "w3", "w3", uid="u2"), 1),
    Version(14, "k", S14, 3),
    Version(15, "k", None, 0),
]
OTHER = state(13, "w3", "w3", uid="u2")


def history() -> History:
    """What three clients might have seen of it."""
    return History(
        writes=[
            Write("w1", "create", "k", 1.0, {"w1": "1"}, "a", None, 1.1, "ok", S11),
            Write("w2", "patch", "k", 2.0, {"w2": "1"}, "a", 11, 2.1, "ok", S12),
            Write("w3", "create", "other", 3.0, {"w3": "1"}, "a", None, 3.1, "unknown"),
            Write("w4", "put", "k", 4.0, {"w4": "1"}, "b", None, 4.1, "ok", S14),
            Write("w5", "put", "k", 4.0, {"w5": "1"}, "b", 11, 4.1, "refused"),
            Write("w6", "delete", "k", 5.0, {}, "", None, 5.1, "ok", State(0, "", "", {}, "u1")),
        ],
        reads=[
            Read(1.5, 1.6, 0, {"k": S11}, "k"),
            Read(4.5, 4.6, 14, {"k": S14, "other": OTHER}),
            Read(4.7, 4.8, 14, {"other": OTHER}, label="a"),
            Read(5.5, 5.6, 0, {}, "k"),
            Read(5.7, 5.8, 12, {"k": S12}, consistent=False, exactly=12),
        ],
        watches=[
            Watch("", 11, [Change("MODIFIED", "k", S12), Change("ADDED", "other", OTHER)], 13),
            Watch(
                "a",
                12,
                [Change("ADDED", "other", OTHER), Change("DELETED", "k", replace(S12, revision=14))],
                15,
            ),
        ],
    )


def problems(changed: History, truth: list[Version] | None = None) -> str:
    return "\n".join(check(changed, TRUTH if truth is None else truth))


def test_a_right_history_is_right() -> None:
    assert check(history(), TRUTH) == []


def test_a_write_that_was_answered_and_is_gone() -> None:
    truth = [v for v in TRUTH if v.key != "other"]
    changed = history()
    changed.writes[2].outcome, changed.writes[2].answer = "ok", OTHER
    assert "lost: write w3" in problems(changed, truth)


def test_a_write_that_was_answered_with_something_else() -> None:
    changed = history()
    changed.writes[1].answer = state(12, "w2", "w2")
    assert "was answered with" in problems(changed)


def test_a_lost_update() -> None:
    """A patch on what was there before the last write."""
    truth = [*TRUTH[:3], Version(14, "k", state(14, "w4", "w1"), 3), TRUTH[4]]
    assert "lost update: put w4 at 14" in problems(history(), truth)
    truth = [TRUTH[0], Version(12, "k", state(12, "w2", "w2"), 2), *TRUTH[2:]]
    assert "lost update: patch w2 at 12" in problems(history(), truth)


def test_a_refused_write_that_happened() -> None:
    changed = history()
    changed.writes[1].outcome, changed.writes[1].answer = "refused", None
    assert "write w2 was refused and done at 12" in problems(changed)


def test_a_write_that_happened_twice() -> None:
    truth = [*TRUTH[:4], Version(15, "k", state(15, "w4", "w4", label="b"), 4)]
    assert "write w4 was done twice: at 14 and 15" in problems(history(), truth)


def test_a_write_of_nobody() -> None:
    truth = [*TRUTH[:4], Version(15, "k", state(15, "w99", "w4", label="b"), 4)]
    assert "was written by nobody (w99)" in problems(history(), truth)


def test_a_conditional_write_that_followed_on_another_version() -> None:
    changed = history()
    changed.writes[3].expected = 11
    assert "put w4 expected revision 11 and followed on 12" in problems(changed)


def test_a_create_over_an_object() -> None:
    changed = history()
    changed.writes[3].kind = "create"
    assert "create w4 replaced w2 at 12" in problems(changed)


def test_an_update_out_of_nothing() -> None:
    truth = [*TRUTH, Version(16, "k", state(16, "w7", "w7"), 1)]
    changed = history()
    changed.writes.append(Write("w7", "put", "k", 6.0, {"w7": "1"}, "a", None, 6.1, "unknown"))
    assert "put w7 made k out of nothing" in problems(changed, truth)


def test_a_delete_that_did_not_happen_and_one_of_nobody() -> None:
    assert "lost: delete w6" in problems(history(), TRUTH[:4])
    changed = history()
    changed.writes.pop()
    assert "k was deleted 1 times by 0 deletes" in problems(changed)


def test_a_gap_in_the_truth() -> None:
    assert "the truth has a gap" in problems(history(), [TRUTH[0], *TRUTH[2:]])


@pytest.mark.parametrize(
    ("read", "law"),
    [
        (Read(2.5, 2.6, 0, {"k": S11}, "k"), "stale read: k at 11, though 12"),
        (Read(2.5, 2.6, 0, {}, "k"), ""),  # it is not there later on: the read may have taken that long
        (Read(2.5, 2.6, 0, {"k": state(12, "w2", "w2")}, "k"), "which never was"),
        (Read(5.5, 5.6, 0, {"k": S14}, "k"), "stale read: k at 14"),
        (Read(4.5, 4.6, 13, {"k": S12, "other": OTHER}), "stale read: a list at 13, though 14"),
        (Read(4.5, 4.6, 14, {"k": S12, "other": OTHER}), "differs from the truth in ['k']"),
        (Read(4.5, 4.6, 14, {"k": S14}), "differs from the truth in ['other']"),
        (Read(0.1, 0.2, 13, {"k": S12, "other": OTHER}, consistent=False, at_least=14), "though 14 had been told"),
        (Read(0.1, 0.2, 13, {"k": S12, "other": OTHER}, consistent=False, exactly=12), "asked for exactly 12"),
    ],
)
def test_reads(read: Read, law: str) -> None:
    changed = history()
    changed.reads.append(read)
    found = problems(changed)
    assert law in found and bool(found) == bool(law)


def test_an_object_that_is_not_found_though_it_is_there_ever_since() -> None:
    changed = history()
    changed.reads.append(Read(4.5, 4.6, 0, {}, "other"))
    assert "stale read: other was not found" in problems(changed)


def test_what_a_watch_was_told_counts_for_later_reads() -> None:
    changed = history()
    changed.watches[0].changes[1] = replace(changed.watches[0].changes[1], time=3.5)
    changed.reads.append(Read(3.6, 3.7, 0, {"k": S12}, "k"))
    assert problems(changed) == ""
    changed.reads.append(Read(3.6, 3.7, 12, {"k": S12}))
    assert "stale read: a list at 12, though 13" in problems(changed)


def test_watches() -> None:
    for change in (
        lambda w: w.changes.pop(0),  # a gap
        lambda w: w.changes.append(w.changes[1]),  # once more
        lambda w: w.changes.reverse(),  # out of order
        lambda w: w.changes.__setitem__(0, replace(w.changes[0], type="ADDED")),  # of another type
        lambda w: w.changes.__setitem__(0, replace(w.changes[0], state=state(12, "w2", "w2"))),  # of another object
        lambda w: setattr(w, "reached", 15),  # a bookmark that overtook events
    ):
        changed = history()
        change(changed.watches[0])
        assert "a watch from 11 to" in problems(changed), change


def test_a_selector_that_leaves_shows_as_a_deletion() -> None:
    changed = history()
    changed.watches[1].changes[1] = Change("MODIFIED", "k", S14)
    assert "a watch from 12 to 15 missed [14] and saw too much at [14]" in problems(changed)
