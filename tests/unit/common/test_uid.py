"""Identifiers are UUIDs as everyone else makes them."""

from __future__ import annotations

import uuid

from common.api.uid import new_uid


def test_a_uid_is_a_random_uuid() -> None:
    made = {new_uid() for _ in range(1000)}
    assert len(made) == 1000
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)
