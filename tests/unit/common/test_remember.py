from __future__ import annotations

from common.remember import LONGEST, remembered


def test_short_texts_are_remembered_and_long_ones_are_not() -> None:
    asked: list[str] = []

    @remembered(2)
    def length(text: str) -> int:
        asked.append(text)
        return len(text)

    long = "x" * (LONGEST + 1)
    assert [length(text) for text in ("a", "a", long, long, "b", "c", "a")] == [1, 1, LONGEST + 1, LONGEST + 1, 1, 1, 1]
    assert asked == ["a", long, long, "b", "c", "a"]
