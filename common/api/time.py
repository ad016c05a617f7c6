"""Times as the API writes them: RFC 3339 in UTC, whole seconds (Time) or microseconds (MicroTime)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache


def now() -> datetime:
    """The present as a Time: UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def now_micro() -> datetime:
    """The present as a MicroTime: UTC, microseconds."""
    return datetime.now(UTC)


def now_text() -> str:
    """The present as a Time, written. The text is made once a second."""
    return _text_of(int(time.time()))


@lru_cache(maxsize=2)
def _text_of(second: int) -> str:
    return to_rfc3339(datetime.fromtimestamp(second, UTC))


def to_rfc3339(moment: datetime) -> str:
    """A Time: ``2026-01-02T03:04:05Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_rfc3339_micro(moment: datetime) -> str:
    """A MicroTime: ``2026-01-02T03:04:05.000006Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime:
    """Any RFC 3339 time. Digits beyond microseconds are dropped. Raises ValueError."""
    if "." in text:
        head, _, tail = text.partition(".")
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)
